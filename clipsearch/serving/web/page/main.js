// Puts the parts of the page together: what is asked, shown and remembered.

import { Refused } from "./api.js";
import { photo as photoById } from "./asking.js";
import { Box } from "./box.js";
import { showChips, withoutFilters } from "./chips.js";
import { afterPaint, byId, debounced, iconButton, make } from "./dom.js";
import { Panel } from "./filters.js";
import { firstCount } from "./first.js";
import { asksForWords } from "./grammar.js";
import { Grid } from "./grid.js";
import { isTyping, keysPage, singleKeys } from "./keys.js";
import { Live } from "./live.js";
import {
  countText, emptyMessage, errorMessage, showCount, showEnd, showMessage, showNotes, showSkeleton,
} from "./messages.js";
import { libraryChanged } from "./pictures.js";
import { Results } from "./results.js";
import { Selection } from "./selection.js";
import { address, isQuestion, listAddress, read, withFilter, withTerm } from "./state.js";
import { Viewer } from "./viewer.js";
import { counted } from "./wording.js";

const REMEMBERED = 8; // answers that back and forward show at once
const MOST_AT_ONCE = 1000; // photos of the first page, where the reader was far down
const SAID_FOR = 4000; // milliseconds

let now = read(location.search);
let results = new Results(now);
let dropped = new AbortController();
const remembered = new Map(); // address of a list -> its Results

const grid = new Grid(byId("photos"), {
  wanted: () => afterPaint(() => more()),
  choose: (hit) => selection.toggle(hit.id),
  fold: (hit) => fold(hit),
  address: (hit) => address({ ...now, photo: hit.id }),
  isChosen: (hit) => selection.has(hit.id),
  isUnfolded: (hit) => results.unfolded.has(hit.id),
  moved: debounced(() => keepPlace(), 150),
});
const selection = new Selection({
  changed: () => grid.refresh(),
  asked: (ids, weight) => {
    change((of) => ids.reduce((sum, photo) => withTerm(sum, { photo, weight }), of));
  },
});
const box = new Box({
  asked: (of, { typed }) => go(of, { typed }),
  state: () => now,
  leave: () => grid.focus(grid.active),
  said,
});
const panel = new Panel({ changed: change, state: () => now });
const viewer = new Viewer({
  moved: (step) => toNeighbour(step),
  closed: () => closeViewer(),
  more: (hit) => likeThis(hit, 1),
  less: (hit) => likeThis(hit, -1),
  filter: (name, value) => change((of) => withFilter(of, name, value)),
  question: () => isQuestion(now),
  said,
});
const live = new Live({ changed: (news) => libraryIsAnother(news), reached });
const showKeys = keysPage();

// ---- where we are --------------------------------------------------------------------------

/** Show another state, and put it into the history. */
function go(of, { typed = false } = {}) {
  const target = address(of);
  const entry = { typed };
  // What is typed letter by letter is one step of the history.
  if (typed && history.state?.typed) history.replaceState(entry, "", target);
  else if (target !== address(now)) {
    keepPlace();
    history.pushState(entry, "", target);
  } else if (history.state?.typed) history.replaceState(entry, "", target);
  return show(of, { typed });
}

/** Show what a function makes of the state, with the words that are being typed. */
function change(next) {
  return go(next({ ...now, q: box.typed() }));
}

addEventListener("popstate", () => show(read(location.search), { back: true }));

async function show(of, { typed = false, back = false, anew = false } = {}) {
  const isAnother = anew || listAddress(of) !== listAddress(now);
  now = of;
  box.show(of, { typed });
  document.title = of.q ? `${of.q} – clipsearch` : "clipsearch";
  showOrder();
  if (isAnother) await load({ back });
  else grid.refresh();
  await showViewer();
}

function keepPlace() {
  if (now.photo !== null) return;
  history.replaceState({ ...history.state, at: grid.anchor() }, "");
}

// ---- photos --------------------------------------------------------------------------------

async function load({ back = false } = {}) {
  dropped.abort();
  dropped = new AbortController();
  const { signal } = dropped;
  const at = back ? history.state?.at : null;
  const key = listAddress(now);
  const known = back ? remembered.get(key) : null;
  if (known) return arrived(known, at);
  const asked = new Results(now);
  document.body.classList.add("is-loading");
  if (!results.count) {
    showMessage(null);
    showSkeleton(grid.element);
  }
  try {
    await asked.next(signal, firstCount(at));
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return undefined;
    return failed(asked, error);
  }
  return signal.aborted ? undefined : arrived(asked, at);
}

function arrived(found, at) {
  document.body.classList.remove("is-loading");
  results = found;
  remembered.delete(listAddress(found.state));
  remembered.set(listAddress(found.state), found);
  if (remembered.size > REMEMBERED) remembered.delete(remembered.keys().next().value);
  byId("news").replaceChildren();
  grid.element.replaceChildren();
  grid.show(found.items, { finished: !found.more });
  if (at) grid.goTo(at);
  else if (scrollY) scrollTo({ top: 0, behavior: "instant" });
  showAround();
}

function failed(asked, error) {
  document.body.classList.remove("is-loading");
  results = asked;
  grid.element.replaceChildren();
  grid.show([], { finished: true });
  showAround();
  showCount("");
  const message = errorMessage(error, { retry: () => show(now, { anew: true }) });
  showMessage(message, { alert: true });
}

function showAround() {
  showCount(countText(results));
  showChips(now, results.understood, change);
  showNotes(results);
  showMessage(emptyMessage(results, { showAll, clearFilters }));
  showEnd(results, { showAll, retry: () => more(true) });
  panel.update();
}

async function more(again = false) {
  if (!results.more || results.loading || (results.failed && !again)) return;
  const of = results;
  try {
    await of.next(dropped.signal);
  } catch (error) {
    if (error.name === "AbortError" || of !== results) return;
  }
  if (of !== results) return;
  grid.append({ finished: !of.more });
  showCount(countText(of));
  showEnd(of, { showAll, retry: () => more(true) });
}

async function fold(hit) {
  const at = grid.items.findIndex((item) => item.hit.id === hit.id);
  try {
    await results.toggleFold(hit, dropped.signal);
  } catch (error) {
    if (error.name !== "AbortError") said(error.message, { error: true });
    return;
  }
  grid.show(results.items, { finished: !results.more, keepPlace: true });
  grid.active = at;
  grid.refresh();
  grid.tiles.get(hit.id)?.fold?.focus({ preventScroll: true });
}

function showAll() {
  change((of) => ({ ...of, all: true, photo: null }));
}

function clearFilters() {
  change(withoutFilters);
}

// ---- one photo -----------------------------------------------------------------------------

async function showViewer() {
  if (now.photo === null) {
    const last = viewer.hit;
    viewer.close();
    if (last) grid.focus(Math.max(0, indexOf(last.id)));
    return;
  }
  const at = indexOf(now.photo);
  let hit = results.items[at]?.hit;
  if (!hit) {
    try {
      hit = await photoById(now.photo);
    } catch (error) {
      said(error instanceof Refused ? error.message : "There is no such photo.", { error: true });
      return closeViewer();
    }
    if (now.photo !== hit.id) return undefined;
  }
  const neighbour = (index) => (at < 0 ? null : (results.items[index]?.hit ?? null));
  if (at >= 0 && at > results.items.length - 10) more();
  return viewer.show(hit, { before: neighbour(at - 1), after: neighbour(at + 1), place: hit.place });
}

function indexOf(id) {
  return results.items.findIndex((item) => item.hit.id === id);
}

function openPhoto(id) {
  keepPlace();
  history.pushState({ ...history.state, opened: true }, "", address({ ...now, photo: id }));
  show({ ...now, photo: id });
}

function toNeighbour(step) {
  const next = results.items[indexOf(now.photo) + step]?.hit;
  if (!next || indexOf(now.photo) < 0) return;
  history.replaceState(history.state, "", address({ ...now, photo: next.id }));
  show({ ...now, photo: next.id });
}

function closeViewer() {
  if (history.state?.opened) history.back();
  else {
    history.replaceState(history.state, "", address({ ...now, photo: null }));
    show({ ...now, photo: null });
  }
}

function likeThis(hit, weight) {
  const term = { photo: hit.id, weight };
  // More like this is a new question; less takes from the one that is asked.
  const of = weight > 0 ? { ...now, q: "", terms: [], all: false, sort: "", filters: now.filters } : now;
  go(withTerm(of, term));
}

// ---- what comes by itself ------------------------------------------------------------------

let unreached = false;

function reached(yes) {
  if (yes && unreached && (results.failed || !results.count)) show(now, { anew: true });
  unreached = !yes;
  document.body.classList.toggle("is-offline", !yes);
  if (!yes) said("The server does not answer. Trying again …", { error: true, stays: true });
  else if (byId("said").dataset.stays) said("");
}

function libraryIsAnother({ photos, before }) {
  libraryChanged();
  remembered.clear();
  panel.update({ anew: true });
  const atTheTop = scrollY < 80 && !viewer.open && !selection.ids.size;
  if (atTheTop) return refreshQuietly();
  const came = before === null ? 0 : photos - before + (Number(byId("news").dataset.came) || 0);
  return offerNews(came);
}

async function refreshQuietly() {
  const of = results;
  const asked = new Results(now);
  try {
    await asked.next(dropped.signal, Math.min(MOST_AT_ONCE, Math.max(60, of.count)));
  } catch {
    return; // the next change is tried again
  }
  if (of !== results || listAddress(now) !== listAddress(asked.state)) return;
  const focused = grid.element.contains(document.activeElement);
  const { active } = grid;
  results = asked;
  remembered.set(listAddress(now), asked);
  byId("news").replaceChildren();
  delete byId("news").dataset.came;
  grid.show(asked.items, { finished: !asked.more, keepPlace: true });
  if (focused) grid.focus(active, { scroll: false });
  showAround();
}

function offerNews(came) {
  const place = byId("news");
  place.dataset.came = came;
  const text = came > 0 ? `${counted(came, "new photo")}` : "The photos have changed";
  const see = () => {
    delete place.dataset.came;
    place.replaceChildren();
    scrollTo({ top: 0, behavior: "instant" });
    show(now, { anew: true });
  };
  place.replaceChildren(iconButton("up", text, see, { shown: true, class: "button" }));
}

let quiet;

function said(text, { error = false, stays = false } = {}) {
  const place = byId("said");
  // Within a dialog, for what lies outside of it is not read out.
  (viewer.open ? viewer.dialog : document.body).append(place);
  place.textContent = text;
  place.classList.toggle("is-error", error);
  if (stays) place.dataset.stays = "1";
  else delete place.dataset.stays;
  clearTimeout(quiet);
  if (!stays && text) quiet = setTimeout(() => said(""), SAID_FOR);
}

// ---- what is clicked and pressed -----------------------------------------------------------

function showOrder() {
  const asked = isQuestion(now);
  const sort = make("select", { "aria-label": "Order" });
  const orders = asked
    ? [["", "Best first"], ["date", "Newest first"], ["path", "By path"]]
    : [["", "Newest first"], ["path", "By path"]];
  for (const [value, text] of orders) {
    const option = make("option", { value, text });
    option.selected = value === now.sort;
    sort.append(option);
  }
  sort.addEventListener("change", () => change((of) => ({ ...of, sort: sort.value, photo: null })));
  const parts = [sort];
  if (asksForWords(now.q)) {
    const weak = make("input", { type: "checkbox", id: "show-weak" });
    weak.checked = now.all;
    weak.addEventListener("change", () => change((of) => ({ ...of, all: weak.checked, photo: null })));
    parts.unshift(make("label", { class: "setting" }, weak, make("span", {}, "Show weak", make("span", { class: "wide", text: " matches" }))));
  }
  const focused = byId("order").contains(document.activeElement) ? document.activeElement.id || "sort" : null;
  byId("order").replaceChildren(...parts);
  if (focused) (byId(focused) ?? sort).focus();
}

byId("photos").addEventListener("click", (event) => {
  const link = event.target.closest("a.photo");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  const { id, index } = link.parentElement.dataset;
  grid.active = Number(index);
  if (selection.choosing || selection.ids.size) selection.toggle(Number(id));
  else openPhoto(Number(id));
});

byId("photos").addEventListener("focusin", (event) => {
  const tile = event.target.closest(".tile");
  if (!tile || grid.active === Number(tile.dataset.index)) return;
  grid.active = Number(tile.dataset.index);
  grid.refresh();
});

byId("photos").addEventListener("keydown", (event) => {
  if (event.altKey || event.metaKey) return;
  const tile = event.target.closest(".tile");
  const index = tile ? Number(tile.dataset.index) : grid.active;
  const item = grid.items[index];
  const target = grid.toward(event.key, index, event.ctrlKey);
  if (target !== null) {
    event.preventDefault();
    grid.focus(target);
  } else if (event.key === "Escape" && selection.ids.size) selection.clear();
  else if (item && singleKeys() && !event.ctrlKey) photoKey(event, item.hit);
});

function photoKey(event, hit) {
  if (event.key === "x" || (event.key === " " && event.target.matches("a"))) selection.toggle(hit.id);
  else if (event.key === "m") likeThis(hit, 1);
  else if (event.key === "l" && isQuestion(now)) likeThis(hit, -1);
  else return;
  event.preventDefault();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event) || !singleKeys()) return;
  if (viewer.open || byId("keys").open) return;
  const act = {
    "/": () => box.words.select(),
    f: () => panel.toggle(),
    "?": showKeys,
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

byId("home").addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(read(""));
  scrollTo({ top: 0, behavior: "instant" });
});

byId("tools").append(panel.button, selection.button, iconButton("keys", "Keys (?)", showKeys, { id: "keys-button" }));
// What sticks below the bar at the top stands where the bar ends, however much is in it.
new ResizeObserver(() => {
  document.documentElement.style.setProperty("--top", `${byId("top").offsetHeight}px`);
}).observe(byId("top"));
history.scrollRestoration = "manual";
box.show(now);
showOrder();
load({ back: true }).then(showViewer);
live.look();
