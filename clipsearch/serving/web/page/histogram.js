// How many photos there are of each month or year: to be clicked, and brushed for a time.

import { make } from "./dom.js";
import { counted, month } from "./wording.js";

const MOST_MONTHS = 48; // more, and the bars are years

/** Return the bars for [{month, count}]: [{from, to, count}], with empty ones between. */
export function bars(dates) {
  if (!dates.length) return [];
  const counts = new Map(dates.map((one) => [one.month, one.count]));
  const months = monthsFrom(dates[0].month, dates.at(-1).month);
  if (months.length <= MOST_MONTHS) {
    return months.map((one) => ({ from: one, to: one, count: counts.get(one) ?? 0 }));
  }
  const years = new Map();
  for (const one of months) {
    const year = one.slice(0, 4);
    years.set(year, (years.get(year) ?? 0) + (counts.get(one) ?? 0));
  }
  return [...years].map(([year, count]) => ({ from: `${year}-01`, to: `${year}-12`, count }));
}

function monthsFrom(first, last) {
  const found = [];
  let [year, number] = first.split("-").map(Number);
  for (let one = first; one <= last && found.length < 4000; ) {
    found.push(one);
    number += 1;
    if (number > 12) [year, number] = [year + 1, 1];
    one = `${String(year).padStart(4, "0")}-${String(number).padStart(2, "0")}`;
  }
  return found;
}

/** Return {from, to} in months of an `after` filter such as 2021-05..2022-04; null for others. */
export function chosenMonths(after) {
  const found = /^(\d{4}-\d\d)\.\.(\d{4}-\d\d)$/.exec(after ?? "");
  return found ? { from: found[1], to: found[2] } : null;
}

/**
 * Return the histogram of some dates: its element, and what marks a time in it, {from, to} in months
 * or null. `choose` is called with another. The bars are for a pointer; two lists beside them do the
 * same for all.
 */
export function histogram(dates, choose) {
  const all = bars(dates);
  const most = Math.max(1, ...all.map((bar) => bar.count));
  const plot = make("div", { class: "bars", "aria-hidden": "true" });
  const drawn = all.map((bar) => {
    const inner = make("i");
    // The root, so that a month with few photos is still seen beside one with many.
    inner.style.height = bar.count ? `${Math.max(6, 100 * Math.sqrt(bar.count / most))}%` : "0";
    const name = bar.from === bar.to ? month(bar.from) : bar.from.slice(0, 4);
    return make("span", { class: "bar", title: `${name}: ${counted(bar.count)}` }, inner);
  });
  plot.append(...drawn);
  brush(plot, all, drawn, choose);
  const ends = make("div", { class: "bar-ends", "aria-hidden": "true" });
  ends.append(
    make("span", { text: all[0].from.slice(0, 4) }),
    make("span", { text: all.at(-1).to.slice(0, 4) }),
  );
  const chosen = lists(dates, all, choose);
  const mark = (time) => {
    all.forEach((bar, at) => {
      const isIn = !time || (bar.to >= time.from && bar.from <= time.to);
      drawn[at].classList.toggle("is-in", isIn);
    });
    chosen.mark(time);
  };
  return { element: make("div", { class: "histogram" }, plot, ends, chosen.element), mark };
}

function brush(plot, all, drawn, choose) {
  let start = null;
  let range = null;
  const at = (event) => {
    const box = plot.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    return Math.min(all.length - 1, Math.max(0, Math.floor(share * all.length)));
  };
  const show = (event) => {
    range = [start, at(event)].sort((one, other) => one - other);
    drawn.forEach((bar, index) => bar.classList.toggle("is-in", index >= range[0] && index <= range[1]));
  };
  plot.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    start = at(event);
    plot.setPointerCapture(event.pointerId);
    show(event);
  });
  plot.addEventListener("pointermove", (event) => start !== null && show(event));
  plot.addEventListener("pointerup", () => {
    if (start === null) return;
    start = null;
    choose({ from: all[range[0]].from, to: all[range[1]].to });
  });
  plot.addEventListener("pointercancel", () => {
    start = null;
  });
}

function lists(dates, all, choose) {
  const byYear = all.some((bar) => bar.from !== bar.to);
  const known = byYear ? all.filter((bar) => bar.count) : dates.map((one) => ({ from: one.month, to: one.month }));
  const name = (bar) => (byYear ? bar.from.slice(0, 4) : month(bar.from, true));
  const list = (label, end, empty) => {
    const select = make("select", { "aria-label": label, "data-key": `dates:${end}` });
    select.append(make("option", { value: "", text: empty }));
    for (const bar of known) select.append(make("option", { value: bar[end], text: name(bar) }));
    return select;
  };
  const from = list("From", "from", "from");
  const to = list("To", "to", "to");
  const changed = () => {
    if (!from.value && !to.value) return choose(null);
    const [first, last] = [from.value || all[0].from, to.value || all.at(-1).to];
    return choose(first <= last ? { from: first, to: last } : { from: first, to: first });
  };
  from.addEventListener("change", changed);
  to.addEventListener("change", changed);
  const dash = make("span", { text: "–", "aria-hidden": "true" });
  const mark = (time) => {
    for (const [select, value] of [[from, time?.from], [to, time?.to]]) {
      select.value = value ?? "";
      if (select.selectedIndex < 0) select.value = ""; // a month without photos
    }
  };
  return { element: make("div", { class: "from-to" }, from, dash, to), mark };
}
