// One photo in the grid.

import { thumbOf } from "./asking.js";
import { icon, make } from "./dom.js";
import { nameOf, spoken } from "./wording.js";

export const DRAGGED = "application/x-clipsearch-photo";

/** Return what shows how well a photo matches: one to three bars. */
export function strengthBars(strength) {
  const bars = make("span", { class: "strength", "data-strength": strength, "aria-hidden": "true" });
  bars.append(make("i"), make("i"), make("i"));
  return bars;
}

/** Return the text that says by what words a photo was found; "" if by what is seen alone. */
export function foundBy(hit) {
  if (!hit.why?.includes("words") || !hit.matched) return "";
  return hit.matched === nameOf(hit.path) ? "found by its name" : `found by “${hit.matched}”`;
}

function looks({ hit, of }) {
  const { id, content_hash, path, strength, matched, alike } = hit;
  return JSON.stringify([id, content_hash, path, strength, matched, alike, of]);
}

/** Return "October 2025" as it fits into some pixels: "Oct 2025", or "Oct". */
function labelFor(label, room) {
  const [, month, year] = /^(\p{L}+) (\d{4})$/u.exec(label) ?? [];
  if (!month || room > 132) return label;
  return room > 76 ? `${month.slice(0, 3)} ${year}` : month.slice(0, 3);
}

export class Tile {
  /** Make the tile of an item of the results; `on` has what is to be done: choose, fold. */
  constructor(item, on) {
    this.item = item;
    this.picture = make("img", { alt: "", decoding: "async", draggable: "false" });
    this.picture.addEventListener("load", () => this.element.classList.add("is-loaded"));
    this.picture.addEventListener("error", () => this.#broken());
    this.link = make("a", { class: "photo", tabindex: "-1", draggable: "true" }, this.picture);
    this.link.addEventListener("dragstart", (event) => this.#drag(event));
    this.choose = make(
      "button",
      {
        type: "button",
        class: "choose",
        tabindex: "-1",
        "aria-pressed": "false",
        onclick: () => on.choose(this.item.hit),
      },
      icon("check"),
    );
    this.label = make("h2", { class: "label" });
    this.element = make("div", { role: "gridcell", class: "tile" }, this.label, this.link, this.choose);
    this.#describe(on);
  }

  #describe(on) {
    const { hit, of } = this.item;
    const name = nameOf(hit.path);
    this.link.setAttribute("aria-label", spoken(hit));
    this.link.title = name;
    this.choose.setAttribute("aria-label", `Choose ${name}`);
    this.choose.title = "Choose (x)";
    this.element.classList.toggle("is-unfolded", of !== null);
    const caption = make("span", { class: "caption", "aria-hidden": "true" });
    caption.append(make("span", { class: "name", text: name }));
    const why = foundBy(hit);
    if (why) caption.append(make("span", { class: "why", text: why }));
    this.link.append(caption);
    if (hit.strength) this.link.append(strengthBars(hit.strength));
    if (hit.alike?.length && of === null) {
      const more = hit.alike.length;
      this.fold = make("button", {
        type: "button",
        class: "fold",
        tabindex: "-1",
        text: `+${more}`,
        title: "Copies and photos of the same moment",
        "aria-label": `Show ${more} more like ${name}`,
        "aria-expanded": "false",
        onclick: () => on.fold(this.item.hit),
      });
      this.element.append(this.fold);
    }
  }

  /** Return whether it looks as an item should: so no picture is fetched and faded in again. */
  shows(item) {
    return this.item === item || looks(this.item) === looks(item);
  }

  /** Place it in its row. */
  place({ left, width, height, above, room }) {
    const style = this.element.style;
    style.left = `${left}px`;
    style.top = `${above}px`;
    style.width = `${width}px`;
    style.height = `${height}px`;
    this.label.textContent = labelFor(this.item.label, room);
    this.label.hidden = !this.item.label;
    this.label.style.maxWidth = `${room}px`;
  }

  /** Say where it leads, and whether it is chosen or unfolded. */
  update({ href, chosen, unfolded }) {
    this.link.href = href;
    this.element.classList.toggle("is-chosen", chosen);
    this.choose.setAttribute("aria-pressed", String(chosen));
    if (this.fold) {
      this.fold.setAttribute("aria-expanded", String(unfolded));
      this.fold.textContent = unfolded ? "−" : `+${this.item.hit.alike.length}`;
    }
  }

  /** Fetch the picture, unless that has begun. */
  load() {
    if (!this.picture.getAttribute("src")) this.picture.src = thumbOf(this.item.hit);
  }

  /** Let go of a picture that is still on its way: others are waited for. */
  unload() {
    if (!this.picture.complete) this.picture.removeAttribute("src");
  }

  #broken() {
    if (!this.picture.getAttribute("src")) return;
    this.element.classList.add("is-broken");
    this.link.append(icon("broken"));
  }

  #drag(event) {
    event.dataTransfer.setData(DRAGGED, String(this.item.hit.id));
    event.dataTransfer.effectAllowed = "copyLink";
    event.dataTransfer.setDragImage(this.picture, 40, 40);
  }
}
