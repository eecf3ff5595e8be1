// Photos that are chosen, to ask for more or less like them.

import { byId, iconButton, make } from "./dom.js";
import { number } from "./wording.js";

const MOST = 50; // pictures of one question: a server takes 100 parts

export class Selection {
  /** `on` has changed(), and asked(ids, weight). */
  constructor(on) {
    this.on = on;
    this.ids = new Set();
    this.choosing = false; // whether a tap chooses, and does not open
    this.element = byId("selection");
    this.text = make("p", { role: "status" });
    const shown = { shown: true };
    this.buttons = [
      iconButton("more", "More like these", () => this.#ask(1), shown),
      iconButton("less", "Less like these", () => this.#ask(-1), shown),
      iconButton("close", "Let go of all", () => this.clear()),
    ];
    this.element.append(this.text, ...this.buttons);
    this.button = iconButton("choose", "Choose", () => this.choose(!this.choosing), {
      shown: true,
      "aria-pressed": "false",
      title: "Choose photos to search by several",
    });
  }

  /** Begin or end that a tap chooses. */
  choose(choosing) {
    this.choosing = choosing;
    this.button.setAttribute("aria-pressed", String(choosing));
    document.body.classList.toggle("is-choosing", choosing || this.ids.size > 0);
    if (!choosing) this.clear();
  }

  has(id) {
    return this.ids.has(id);
  }

  /** Choose a photo, or let go of it. */
  toggle(id) {
    if (!this.ids.delete(id) && this.ids.size < MOST) this.ids.add(id);
    this.#show();
  }

  clear() {
    const were = this.element.contains(document.activeElement);
    this.ids.clear();
    this.choosing = false;
    this.button.setAttribute("aria-pressed", "false");
    this.#show();
    if (were) this.button.focus();
  }

  #show() {
    const count = this.ids.size;
    this.element.hidden = !count;
    this.text.textContent = count ? `${number(count)} chosen` : "";
    document.body.classList.toggle("is-choosing", this.choosing || count > 0);
    this.on.changed();
  }

  #ask(weight) {
    const ids = [...this.ids];
    this.clear();
    this.on.asked(ids, weight);
  }
}
