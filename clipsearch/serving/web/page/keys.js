// The keys, and the page that lists them.

import { byId, iconButton, make } from "./dom.js";

const SETTING = "clipsearch-single-keys";
const LIST = [
  ["Everywhere", [
    ["/", "Go to the search box"],
    ["f", "Open or close the filters"],
    ["?", "Show these keys"],
  ]],
  ["Among the photos", [
    ["← → ↑ ↓", "Go to another photo"],
    ["Home, End", "First and last of the row; with Ctrl of all"],
    ["Enter", "Open the photo"],
    ["x", "Choose the photo"],
    ["m", "More like this one"],
    ["l", "Less like this one"],
    ["Esc", "Let go of what is chosen"],
  ]],
  ["With a photo open", [
    ["← →", "Previous and next"],
    ["+ − 0", "Larger, smaller, whole"],
    ["i", "Details"],
    ["m, l", "More, less like this"],
    ["c", "Copy its path"],
    ["Esc", "Back to the photos"],
  ]],
];

/** Return whether single letters do something: who speaks to the browser may turn that off. */
export function singleKeys() {
  try {
    return localStorage.getItem(SETTING) !== "off";
  } catch {
    return true;
  }
}

/** Make the page that lists the keys; returns what opens it. */
export function keysPage() {
  const dialog = byId("keys");
  const close = iconButton("close", "Close", () => dialog.close());
  dialog.append(
    make("div", { class: "sheet-head" }, make("h2", { id: "keys-title", text: "Keys" }), close),
  );
  for (const [title, keys] of LIST) {
    const list = make("dl", { class: "keys" });
    for (const [key, what] of keys) {
      list.append(make("dt", {}, make("kbd", { text: key })), make("dd", { text: what }));
    }
    dialog.append(make("section", {}, make("h3", { text: title }), list));
  }
  const box = make("input", { type: "checkbox" });
  box.checked = singleKeys();
  box.addEventListener("change", () => {
    try {
      localStorage.setItem(SETTING, box.checked ? "on" : "off");
    } catch {
      // Where nothing may be kept, the keys stay as they are.
    }
  });
  dialog.append(make("label", { class: "setting" }, box, make("span", { text: "Single letters are keys" })));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  return () => dialog.showModal();
}

/** Return whether a key goes into a text, and so is none of ours. */
export function isTyping(event) {
  const { target } = event;
  return target instanceof HTMLElement && target.matches("input, select, textarea");
}
