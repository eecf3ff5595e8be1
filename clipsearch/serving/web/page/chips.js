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

/** Show a chip for each filter of a state; `understood` is what the server made of the typed ones. */
export function showChips(of, understood, ask) {
  const list = byId("chips");
  const typed = filterParts(of.q);
  const said = understood.length === typed.length ? understood : typed.map((part) => part.text);
  const chips = typed.map((part, at) =>
    chip(said[at], () => ask({ ...of, q: without(of.q, part), photo: null })),
  );
  for (const [name, value] of filterPairs(of)) {
    chips.push(chip(filterText(name, value), () => ask(withoutFilter(of, name, value)), value));
  }
  if (chips.length > 1) {
    const clear = () => ask({ ...of, q: wordsAlone(of.q, typed), filters: {}, photo: null });
    chips.push(make("li", {}, make("button", { type: "button", class: "text-button", text: "Clear filters", onclick: clear })));
  }
  list.replaceChildren(...chips);
  list.hidden = !chips.length;
}

function wordsAlone(q, parts) {
  return parts.reduceRight((text, part) => without(text, part), q);
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
