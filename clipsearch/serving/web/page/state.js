// What is shown has an address: this reads it from the query string, and writes it there.

import { asksForWords } from "./grammar.js";

export const ONCE = [
  "in", "after", "before", "camera", "lens", "near", "type", "min-width", "orientation",
];
export const OFTEN = ["tag", "missing"];

/** Return the state with nothing asked, with some changes. */
export function state(changes = {}) {
  return {
    q: "", // words, with filters as on the command line
    terms: [], // pictures in the question: {photo: 12 | picture: "ab12…", weight: 1 | -1}
    filters: {}, // by their names; those of OFTEN are lists
    sort: "", // "": by relevance for a question, by date without one
    all: false, // weak matches too
    unfolded: false, // copies and bursts each on their own
    photo: null, // the id of the photo in the viewer
    ...changes,
  };
}

/** Return the state that a query string says; what can't be meant is passed over. */
export function read(search) {
  const given = new URLSearchParams(search);
  const found = state({ q: given.get("q") ?? "" });
  for (const [name, value] of given) {
    const term = name === "like" || name === "less" ? termOf(value, name === "like" ? 1 : -1) : null;
    if (term) found.terms.push(term);
    if (ONCE.includes(name) && value) found.filters[name] = value;
    if (OFTEN.includes(name) && value) (found.filters[name] ??= []).push(value);
  }
  if (["relevance", "date", "path"].includes(given.get("sort"))) found.sort = given.get("sort");
  found.all = given.get("all") === "1";
  found.unfolded = given.get("unfolded") === "1";
  found.photo = /^\d{1,15}$/.test(given.get("photo") ?? "") ? Number(given.get("photo")) : null;
  return found;
}

function termOf(value, weight) {
  if (/^\d{1,15}$/.test(value)) return { photo: Number(value), weight };
  return /^[0-9a-f]{64}$/.test(value) ? { picture: value, weight } : null;
}

/** Return the query string of a state, "?" included, or "/" for nothing at all. */
export function address(of) {
  const said = new URLSearchParams();
  if (of.q.trim()) said.set("q", of.q.trim());
  for (const term of of.terms) {
    said.append(term.weight > 0 ? "like" : "less", String(term.photo ?? term.picture));
  }
  for (const [name, value] of filterPairs(of)) said.append(name, value);
  if (of.sort) said.set("sort", of.sort);
  if (of.all) said.set("all", "1");
  if (of.unfolded) said.set("unfolded", "1");
  if (of.photo !== null) said.set("photo", String(of.photo));
  const text = said.toString();
  return text ? `/?${text}` : "/";
}

/** Return the address of what is listed, whatever the viewer shows. */
export function listAddress(of) {
  return address({ ...of, photo: null });
}

/** Return each filter as a pair of name and value. */
export function filterPairs(of) {
  return [...ONCE, ...OFTEN].flatMap((name) =>
    [of.filters[name] ?? []].flat().map((value) => [name, value]),
  );
}

/** Return the state with a filter set, or added where there may be several; null takes it away. */
export function withFilter(of, name, value) {
  const filters = { ...of.filters };
  if (value === null) delete filters[name];
  else if (OFTEN.includes(name)) filters[name] = [...new Set([...(filters[name] ?? []), value])];
  else filters[name] = value;
  return { ...of, filters, photo: null };
}

/** Return the state without one value of a filter. */
export function withoutFilter(of, name, value) {
  const left = [of.filters[name] ?? []].flat().filter((one) => one !== value);
  const filters = { ...of.filters, [name]: left };
  if (!left.length) delete filters[name];
  return { ...of, filters, photo: null };
}

/** Return whether photos are ranked by how well they answer, and not just listed. */
export function isQuestion(of) {
  return of.terms.length > 0 || asksForWords(of.q);
}

/** Return whether weak matches are left out: never of pictures alone, where the next best are meant. */
export function leavesOutWeak(of) {
  return !of.all && asksForWords(of.q);
}

/** Return whether two terms are of the same picture. */
export function samePicture(one, other) {
  return one.photo === other.photo && one.picture === other.picture;
}

/** Return the state with a picture in its question, or with its weight changed. */
export function withTerm(of, term) {
  const others = of.terms.filter((one) => !samePicture(one, term));
  return { ...of, terms: [...others, term], photo: null };
}
