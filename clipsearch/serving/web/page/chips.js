// The filters that hold, each with a button that takes it away.

import { byId, icon, make } from "./dom.js";
import { filterParts, without } from "./grammar.js";
import { filterPairs, withoutFilter } from "./state.js";
import { month, nameOf } from "./wording.js";

/** Return what a filter of the panel says, for a person. */
export function filterText(name, value) {
  switch (name) {
    case "in": return `in ${nameOf(value)}`;
    case "after": return rangeText(value);
    case "before": return `before ${value}`;
    case "near": return `near ${value}`;
    case "min-width": return `at least ${value} pixels wide`;
    case "missing": return `without ${value === "position" ? "a position" : `a ${value}`}`;
    case "tag": return `tagged ${value}`;
    default: return String(value);
  }
}

/** Return "July 2021 – May 2022" for 2021-07..2022-05. */
function rangeText(value) {
  const [from, to] = value.includes("..") ? value.split("..") : [value, null];
  const name = (text) => (/^\d{4}-\d\d$/.test(text) ? month(text) : text);
  if (to === null) return `from ${name(from)} on`;
  if (from === to) return name(from);
  if (!from) return `until ${name(to)}`;
  return to ? `${name(from)} – ${name(to)}` : `from ${name(from)} on`;
}

/**
 * Show a chip for each filter of a state; `understood` is what the server made of the typed ones.
 * `change` is called with what makes another state of the one that is shown by then.
 */
export function showChips(of, understood, change) {
  const list = byId("chips");
  const typed = filterParts(of.q);
  const said = understood.length === typed.length ? understood : typed.map((part) => part.text);
  const chips = typed.map((part, at) =>
    chip(said[at], () => change((now) => ({ ...now, q: withoutPart(now.q, part.text), photo: null }))),
  );
  for (const [name, value] of filterPairs(of)) {
    const remove = () => change((now) => withoutFilter(now, name, value));
    chips.push(chip(filterText(name, value), remove, value));
  }
  if (chips.length > 1) {
    const clear = () => change(withoutFilters);
    chips.push(make("li", {}, make("button", { type: "button", class: "text-button", text: "Clear filters", onclick: clear })));
  }
  // What is there already stays: it may be being clicked.
  const shown = JSON.stringify([said, of.filters]);
  if (list.dataset.shown === shown) return;
  list.dataset.shown = shown;
  const focused = list.contains(document.activeElement);
  list.replaceChildren(...chips);
  list.hidden = !chips.length;
  if (focused) (list.querySelector("button") ?? byId("words")).focus();
}

/** Return a state without any filter, typed ones included. */
export function withoutFilters(of) {
  const q = filterParts(of.q).reduceRight((text, part) => without(text, part), of.q);
  return { ...of, q, filters: {}, photo: null };
}

function withoutPart(q, text) {
  const part = filterParts(q).find((one) => one.text === text);
  return part ? without(q, part) : q;
}

function chip(text, remove, title) {
  const button = make(
    "button",
    { type: "button", class: "chip", title, "aria-label": `Remove the filter: ${text}`, onclick: remove },
    make("span", { text }),
    icon("close"),
  );
  return make("li", {}, button);
}
