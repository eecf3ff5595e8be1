// What is known of the photo in the viewer, and why it was found.

import { photo } from "./asking.js";
import { icon, make } from "./dom.js";
import { foundBy, strengthBars } from "./tile.js";
import { bytes, dayAndTime, folderOf, nameOf, number } from "./wording.js";

const NEAR = 1; // km around a photo that "photos near here" takes

/** Return the contents of the panel for a hit; `ask` is called with a filter: (name, value). */
export function details(hit, question, ask) {
  const parts = [why(hit, question), facts(hit, ask)];
  const more = make("div", { class: "more-details" });
  const dropped = new AbortController();
  photo(hit.id, dropped.signal).then(
    (all) => more.replaceChildren(...[words(all), exif(all)].filter(Boolean)),
    () => undefined, // what the hit itself says is shown already
  );
  return { parts: [...parts.filter(Boolean), more], drop: () => dropped.abort() };
}

function why(hit, question) {
  if (!hit.why?.length || !question) return null;
  const list = make("ul", { class: "reasons" });
  if (hit.why.includes("visual") && hit.strength) {
    const said = { strong: "Looks very much like it", likely: "Looks like it", weak: "Looks a little like it" };
    list.append(make("li", {}, strengthBars(hit.strength), make("span", { text: said[hit.strength] })));
  }
  const found = foundBy(hit);
  if (found) list.append(make("li", {}, icon("search"), make("span", { text: upper(found) })));
  if (!list.children.length) return null;
  return make("section", {}, make("h3", { text: "Why it matches" }), list);
}

function facts(hit, ask) {
  const list = make("dl", { class: "facts" });
  const add = (name, text, act) => {
    if (!text) return;
    const value = act
      ? make("button", { type: "button", class: "fact", text, onclick: act })
      : make("span", { text });
    list.append(make("dt", { text: name }), make("dd", {}, value));
  };
  const taken = dayAndTime(hit.moment);
  const folder = folderOf(hit.path);
  const size = `${number(hit.width)} × ${number(hit.height)}, ${hit.format}, ${bytes(hit.size)}`;
  add("Name", nameOf(hit.path));
  add("Taken", hit.moment_from === "name" ? `${taken} (by its name)` : taken, taken && (() => ask("after", monthOf(hit))));
  add("Folder", folder, () => ask("in", folder));
  add("Camera", hit.camera, () => ask("camera", hit.camera));
  add("Lens", hit.lens, () => ask("lens", hit.lens));
  if (hit.latitude !== null && hit.latitude !== undefined) {
    const at = `${hit.latitude.toFixed(5)},${hit.longitude.toFixed(5)}`;
    add("Place", hit.place);
    add("Position", at.replace(",", ", "), () => ask("near", `${at},${NEAR}`));
  }
  add("Size", size);
  for (const tag of hit.tags ?? []) add("Tag", tag, () => ask("tag", tag));
  return make("section", {}, make("h3", { class: "unseen", text: "About the photo" }), list);
}

function monthOf(hit) {
  const month = hit.moment.slice(0, 7);
  return `${month}..${month}`;
}

function words(all) {
  if (!all.words?.length) return null;
  const list = make("dl", { class: "facts" });
  for (const { kind, text } of all.words) {
    list.append(make("dt", { text: upper(kind) }), make("dd", {}, make("span", { text })));
  }
  return make("section", {}, make("h3", { text: "Written in it" }), list);
}

// What stands above already is not said again.
const SAID = new Set(
  ["Taken", "Camera", "Lens", "Place", "Position", "Size", "Format", "File size"],
);

function exif(all) {
  const left = (all.exif ?? []).filter((one) => !SAID.has(one.name));
  if (!left.length) return null;
  const list = make("dl", { class: "facts" });
  for (const { name, value } of left) {
    list.append(make("dt", { text: name }), make("dd", {}, make("span", { text: value })));
  }
  return make("section", {}, make("h3", { text: "EXIF" }), list);
}

function upper(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
