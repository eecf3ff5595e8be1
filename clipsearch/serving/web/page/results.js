// The photos of a state, loaded page by page: only ever added at the end.

import { MOST_HITS, photos, search } from "./asking.js";
import { firstCount, takeEarly } from "./first.js";
import { asksForWords } from "./grammar.js";
import { isQuestion } from "./state.js";
import { month } from "./wording.js";

const LEAST = 200; // of a further page: each is as long as all before it together,
const MOST = 1000; // so that who goes far down waits seldom

export class Results {
  constructor(of) {
    this.state = of;
    this.items = []; // {hit, label, of}: `of` is the id of the photo that it was unfolded from
    this.more = true; // whether a further page is there
    this.total = null; // photos in all, of a list
    this.weak = 0; // photos that match too little and are not shown
    this.understood = [];
    this.notes = [];
    this.leftOut = [];
    this.loading = null; // the promise of the page that is on its way
    this.failed = null; // why there is no further page
    this.unfolded = new Set();
    this.#offset = 0;
    this.#known = new Set();
  }

  #offset;
  #known;

  /** Load the next page; returns how many photos came. Raises Refused. */
  next(signal, k = this.#usual()) {
    this.loading ??= this.#load(k, signal).finally(() => {
      this.loading = null;
    });
    return this.loading;
  }

  #usual() {
    return this.#offset ? Math.min(MOST, Math.max(LEAST, this.#offset)) : firstCount(null);
  }

  async #load(k, signal) {
    if (isQuestion(this.state)) k = Math.min(k, MOST_HITS - this.#offset);
    try {
      const page = { k, offset: this.#offset };
      const said = await (takeEarly(this.state, page) ?? search(this.state, page, signal));
      this.failed = null;
      return this.#take(said, k);
    } catch (error) {
      if (error.name !== "AbortError") this.failed = error;
      throw error;
    }
  }

  #take(said, k) {
    this.#offset += k;
    this.more = said.more && !(isQuestion(this.state) && this.#offset >= MOST_HITS);
    this.weak = said.weak ?? 0;
    this.total = said.total ?? this.total;
    this.notes = said.notes ?? [];
    this.leftOut = said.left_out ?? [];
    this.understood = said.query?.understood ?? [];
    const before = this.items.length;
    for (const hit of said.hits) {
      // The library may have changed between two pages: nothing is shown twice.
      if (this.#known.has(hit.id)) continue;
      this.#known.add(hit.id);
      this.items.push({ hit, label: this.#labelOf(hit), of: null });
    }
    return this.items.length - before;
  }

  #labelOf(hit) {
    const before = this.items.at(-1)?.hit;
    if (isQuestion(this.state) && (this.state.sort || "relevance") === "relevance") {
      if (!before || hit.strength !== "weak" || this.marked) return "";
      this.marked = true;
      return asksForWords(this.state.q) ? "Weaker matches" : "Less alike";
    }
    if (this.state.sort === "path") return "";
    const label = (one) => month(one.moment) || "No date";
    // Those without a date are the last: where the first has none, nothing is told apart.
    if (!before && !hit.moment) return "";
    return before && label(before) === label(hit) ? "" : label(hit);
  }

  /** Show the copies and the burst that are folded behind a photo, or fold them again. */
  async toggleFold(hit, signal) {
    const at = this.items.findIndex((item) => item.hit.id === hit.id);
    if (this.unfolded.delete(hit.id)) {
      this.items = this.items.filter((item) => item.of !== hit.id);
      return;
    }
    const shown = (await photos(hit.alike, signal)).map((one) => ({
      hit: { alike: [], ...one },
      label: "",
      of: hit.id,
    }));
    this.unfolded.add(hit.id);
    this.items.splice(at + 1, 0, ...shown.filter((one) => !this.#known.has(one.hit.id)));
  }

  /** How many photos came, without those that were unfolded. */
  get count() {
    return this.items.filter((item) => item.of === null).length;
  }
}
