// The panel of filters: what there is to choose from, with how many photos each would leave.

import { facets } from "./asking.js";
import { byId, icon, iconButton, make } from "./dom.js";
import { chosenMonths, histogram } from "./histogram.js";
import { listAddress, withFilter, withoutFilter } from "./state.js";
import { counted, number } from "./wording.js";

const SHOWN = 6; // values of a list before "more"
const LISTS = [
  // what it is called, its list in the facets, the filter it sets
  ["Folders", "folders", "in"],
  ["Places", "places", "near"],
  ["Cameras", "cameras", "camera"],
  ["Lenses", "lenses", "lens"],
  ["Tags", "tags", "tag"],
  ["Type", "types", "type"],
  ["Shape", "orientations", "orientation"],
];

const upper = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export class Panel {
  /** `on` has state(), and changed(function), of the state shown to the one to be shown. */
  constructor(on) {
    this.on = on;
    this.element = byId("panel");
    this.longer = new Set(); // lists that are shown whole
    this.shown = null; // the address whose facets these are
    this.dates = make("section", { "aria-label": "Date", hidden: true });
    this.lists = make("div");
    this.content = make("div", { class: "panel-content" }, this.dates, this.lists);
    const head = make(
      "div",
      { class: "panel-head" },
      make("h2", { text: "Filters" }),
      iconButton("close", "Close the filters", () => this.toggle(false)),
    );
    this.done = make("button", { type: "button", class: "button", onclick: () => this.toggle(false) });
    this.element.append(head, this.content, make("div", { class: "panel-foot" }, this.done));
    this.covers = matchMedia("(max-width: 900px)"); // whether it lies over the photos
    this.covers.addEventListener("change", () => this.#holdTheRest());
    document.addEventListener("pointerdown", (event) => {
      if (this.#isOver && !this.element.contains(event.target)) this.toggle(false);
    });
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.toggle(false);
    });
    this.button = iconButton("filters", "Filters", () => this.toggle(), {
      shown: true,
      "aria-expanded": "false",
      "aria-controls": "panel",
      id: "filters-button",
    });
  }

  get #isOver() {
    return this.covers.matches && !this.element.hidden;
  }

  // What it lies over is out of reach, for the keyboard too.
  #holdTheRest() {
    for (const one of [byId("top"), document.querySelector("main")]) one.inert = this.#isOver;
  }

  /** Open or close it. */
  toggle(open = this.element.hidden, { focus = true } = {}) {
    this.element.hidden = !open;
    this.#holdTheRest();
    this.button.setAttribute("aria-expanded", String(open));
    if (open) this.update();
    if (focus) (open ? this.element.querySelector("button") : this.button).focus();
  }

  /** Count anew for the state that is shown, if the panel is open; `anew` if photos changed. */
  async update({ anew = false } = {}) {
    if (this.element.hidden) return;
    const of = this.on.state();
    const about = listAddress({ ...of, sort: "", all: false, unfolded: false, terms: [] });
    if (about === this.shown && !anew) return;
    this.dropped?.abort();
    this.dropped = new AbortController();
    try {
      const { signal } = this.dropped;
      // The bars of a time that is chosen stand among all the others, so that it can be changed.
      const dated = of.filters.after ? withFilter(of, "after", null) : null;
      const [found, dates] = await Promise.all([facets(of, signal), dated && facets(dated, signal)]);
      this.shown = about;
      this.#show(of, found, dates ?? found);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.shown = null;
      this.data = null;
      this.dates.hidden = true;
      this.lists.replaceChildren(make("p", { class: "quiet", text: error.message }));
    }
  }

  #show(of, found, dates) {
    const data = JSON.stringify([of.filters, found, dates, [...this.longer]]);
    if (data === this.data) return; // a list that may be open stays
    this.data = data;
    const focused = document.activeElement?.dataset?.key;
    this.#showDates(of, dates.dates);
    const parts = [found.undated && dates.dates.length ? this.#undated(of, found.undated) : null];
    for (const [title, name, filter] of LISTS) {
      parts.push(this.#list(of, { title, name, filter }, found));
    }
    const some = parts.filter(Boolean);
    if (!some.length && this.dates.hidden) {
      some.push(make("p", { class: "quiet", text: "No photos to choose from." }));
    }
    this.lists.replaceChildren(...some);
    this.done.textContent = `Show ${counted(found.total)}`;
    if (focused) this.content.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  // The histogram stays while its bars do: a list of it may be open, or a brush under way.
  #showDates(of, dates) {
    this.dates.hidden = !dates.length;
    if (!dates.length) return;
    const key = JSON.stringify(dates);
    if (key !== this.bars?.key) {
      const choose = (range) =>
        this.on.changed((now) => withFilter(now, "after", range && `${range.from}..${range.to}`));
      this.bars = { key, ...histogram(dates, choose) };
      this.dates.replaceChildren(make("h3", { text: "Date" }), this.bars.element);
    }
    this.bars.mark(chosenMonths(of.filters.after));
  }

  #undated(of, count) {
    const on = (of.filters.missing ?? []).includes("date");
    return this.#choice({
      key: "missing:date",
      text: "No date",
      count,
      on,
      act: () => this.#toggleFilter("missing", "date"),
    });
  }

  #list(of, { title, name, filter }, found) {
    const chosen = [of.filters[filter] ?? []].flat();
    // What all photos have, as the folder that all lie in, tells nothing apart.
    const values = (found[name] ?? []).filter(
      (one) => one.count < found.total || chosen.includes(one.path ?? one.value),
    );
    if (!values.length) return null;
    const whole = this.longer.has(name);
    const list = make("ul", { class: "choices" });
    for (const one of whole ? values : values.slice(0, SHOWN)) {
      const value = one.path ?? one.value;
      const on = chosen.includes(value);
      const act = () => this.#toggleFilter(filter, value);
      const text = one.name || (name === "orientations" ? upper(value) : value);
      const key = `${filter}:${value}`;
      list.append(make("li", {}, this.#choice({ key, text, count: one.count, on, act, title: value })));
    }
    const section = make("section", { "aria-label": title }, make("h3", { text: title }), list);
    if (values.length > SHOWN) section.append(this.#longer(name, whole, values.length));
    const others = whole ? found.others?.[name] : 0;
    if (others) section.append(make("p", { class: "quiet", text: `and ${number(others)} more` }));
    return section;
  }

  #toggleFilter(name, value) {
    this.on.changed((now) => {
      const on = [now.filters[name] ?? []].flat().includes(value);
      return on ? withoutFilter(now, name, value) : withFilter(now, name, value);
    });
  }

  #longer(name, whole, count) {
    const toggle = () => {
      if (!this.longer.delete(name)) this.longer.add(name);
      this.update({ anew: true });
    };
    const text = whole ? "Fewer" : `All ${number(count)}`;
    return make("button", { type: "button", class: "text-button", text, "data-key": `more:${name}`, onclick: toggle });
  }

  #choice({ key, text, count, on, act, title }) {
    return make(
      "button",
      {
        type: "button",
        class: "choice",
        "aria-pressed": String(on),
        "aria-label": `${text}, ${counted(count)}`,
        "data-key": key,
        title,
        onclick: act,
      },
      make("span", { class: "name", text }),
      on ? icon("close") : make("span", { class: "count", text: number(count) }),
    );
  }
}
