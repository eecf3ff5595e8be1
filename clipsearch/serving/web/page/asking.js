// The questions that the page asks, as the server takes them.

import { get, post } from "./api.js";
import { storedEmbedding } from "./pictures.js";
import { filterPairs, isQuestion, leavesOutWeak } from "./state.js";

export const MOST_HITS = 10_000; // of a question; a list has no end

/** Return a page of what a state asks for. */
export async function search(of, { k, offset }, signal) {
  const asked = isQuestion(of);
  const options = { k, offset };
  if (of.sort) options.sort = of.sort;
  if (asked) {
    options.relevant = leavesOutWeak(of);
    options.fold = !of.unfolded;
  }
  if (!of.terms.length) {
    const query = new URLSearchParams(filterPairs(of));
    if (of.q.trim()) query.set("q", of.q.trim());
    for (const [name, value] of Object.entries(options)) query.set(name, value);
    return get("/api/search", query, signal);
  }
  const terms = await Promise.all(of.terms.map(asTerm));
  const body = { terms, ...of.filters, ...options };
  if (of.q.trim()) body.q = of.q.trim();
  if (body["min-width"]) body["min-width"] = Number(body["min-width"]);
  // What is asked with is known: it needs not be among the answers.
  return post("/api/similar", body, signal);
}

async function asTerm({ photo, picture, weight }) {
  if (photo !== undefined) return { photo, weight };
  return { embedding: await storedEmbedding(picture), weight };
}

/** Return how many photos pass the filters, by month, camera and so on. */
export function facets(of, signal) {
  const query = new URLSearchParams(filterPairs(of));
  if (of.q.trim()) query.set("q", of.q.trim());
  return get("/api/facets", query, signal);
}

/** Return all that is known of a photo. */
export function photo(id, signal) {
  return get(`/api/photos/${id}`, null, signal);
}

/** Return some photos by their ids, in that order; those that are gone are left out. */
export async function photos(ids, signal) {
  const found = await get("/api/photos", new URLSearchParams({ ids: ids.join(",") }), signal);
  return found.photos ?? found.hits ?? [];
}

/** Return the address of a small picture that fills so many pixels of the screen, or a large one. */
export function thumbOf(hit, large = false) {
  const small = hit.thumb ?? `/thumbs/${hit.id}?v=${(hit.content_hash ?? "").slice(0, 12)}`;
  return large ? `${small}&size=large` : small;
}
