// What the page says in place of photos, above them and below them.

import { byId, icon, make } from "./dom.js";
import { isQuestion, leavesOutWeak } from "./state.js";
import { counted, nameOf, number } from "./wording.js";

/** Return the sentence that says how many photos there are. */
export function countText(results) {
  const { state: of, total, more, count } = results;
  if (!isQuestion(of)) return counted(total ?? count);
  if (!count) return more ? "" : "No photos found";
  const found = more ? `${number(count)}+ photos` : counted(count);
  return leavesOutWeak(of) ? `${found} found` : found;
}

/** Say how many photos there are; what is said already is not read out again. */
export function showCount(text) {
  const place = byId("count");
  if (place.textContent !== text) place.textContent = text;
}

/** Show grey shapes where photos will be. */
export function showSkeleton(grid) {
  const skeleton = make("div", { class: "skeleton", "aria-hidden": "true" });
  for (let at = 0; at < 24; at += 1) skeleton.append(make("span"));
  grid.replaceChildren(skeleton);
}

/** Show a message in place of the photos; nothing to take it away. An alert is read out at once. */
export function showMessage(content, { alert = false } = {}) {
  const place = byId("message");
  if (alert) place.setAttribute("role", "alert");
  else place.removeAttribute("role");
  place.hidden = !content;
  place.replaceChildren(...(content ? [content] : []));
}

function message(title, lines, buttons = [], drawing = null) {
  return make(
    "div",
    { class: "message-inner" },
    drawing && icon(drawing),
    make("h2", { text: title }),
    ...lines.map((text) => make("p", { text })),
    buttons.length ? make("div", { class: "message-buttons" }, ...buttons) : null,
  );
}

function button(text, onclick) {
  return make("button", { type: "button", class: "button", text, onclick });
}

/** Return what is said where there is no photo to show; null where there is one. */
export function emptyMessage(results, on) {
  if (results.count || results.more) return null;
  const of = results.state;
  const filtered = results.understood.length > 0 || Object.keys(of.filters).length > 0;
  const clear = button("Clear the filters", on.clearFilters);
  if (!isQuestion(of)) {
    if (filtered) return message("No photo passes these filters", [], [clear]);
    return message(
      "No photos here yet",
      ["Index a folder of photos, and they appear here:", "clipsearch index ~/Pictures"],
      [],
      "picture",
    );
  }
  const said = of.q ? `Nothing here matches “${of.q}”` : "Nothing here matches";
  const buttons = results.weak ? [button("Show the closest photos", on.showAll)] : [];
  if (filtered) buttons.push(clear);
  const lines = results.weak
    ? [`${counted(results.weak)} ${results.weak === 1 ? "was" : "were"} looked at; none comes close.`]
    : filtered ? ["No photo passes these filters."] : [];
  return message(said, lines, buttons, "search");
}

/** Return what is said when photos can't be had. */
export function errorMessage(error, on) {
  if (error.status === 401) return tokenMessage();
  const retry = button("Try again", on.retry);
  if (error.offline) {
    const lines = ["It may have been stopped. This page tries again by itself."];
    return message("The server does not answer", lines, [retry], "broken");
  }
  if (error.status === 400) return message("That can't be asked", [error.message], [], "search");
  return message("That did not work", [error.message], [retry], "broken");
}

function tokenMessage() {
  const field = make("input", {
    name: "token", type: "password", required: true, autocomplete: "off", id: "token",
  });
  // What was asked is asked again then.
  const kept = [...new URLSearchParams(location.search)].map(([name, value]) =>
    make("input", { type: "hidden", name, value }),
  );
  const form = make(
    "form",
    { class: "token", action: "/", method: "get" },
    ...kept,
    make("label", { for: "token", text: "Token" }),
    field,
    make("button", { class: "button", text: "Open" }),
  );
  const inner = message(
    "This library needs a token",
    ["It was printed where `clipsearch serve` was started."],
    [],
    "key",
  );
  inner.append(form);
  return inner;
}

/** Show what the server said of the answer, and what was left out of it. */
export function showNotes(results) {
  const lines = [...results.notes];
  for (const { path, reason, photos } of results.leftOut) {
    lines.push(`${nameOf(path)} is ${reason}: ${counted(photos)} left out`);
  }
  byId("notes").replaceChildren(...lines.map((text) => make("p", { text })));
}

/** Show what stands below the last photo. */
export function showEnd(results, on) {
  const end = byId("end");
  if (results.failed && results.count) {
    end.replaceChildren(make("p", { text: results.failed.message }), button("Try again", on.retry));
  } else if (results.more || !results.count) {
    end.replaceChildren();
  } else if (results.weak && leavesOutWeak(results.state)) {
    const text = `Show ${counted(results.weak, "weaker match")}`;
    end.replaceChildren(button(text, on.showAll));
  } else {
    end.replaceChildren();
  }
}
