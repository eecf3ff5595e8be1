// One photo on the whole screen.

import { thumbOf } from "./asking.js";
import { details } from "./details.js";
import { byId, icon, iconButton, make } from "./dom.js";
import { dayAndTime, folderOf, nameOf, spoken } from "./wording.js";
import { Zoom } from "./zoom.js";

const ENLARGED = 1.6; // from this size on the photo itself is fetched

export class Viewer {
  /**
   * `on` has moved(step) to a neighbour, closed(), more(hit), less(hit), filter(name, value),
   * question() → whether one is asked, and said(text).
   */
  constructor(on) {
    this.on = on;
    this.dialog = byId("viewer");
    this.hit = null;
    this.zoom = null;
    this.#build();
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      on.closed();
    });
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
  }

  #build() {
    this.picture = make("div", { class: "picture" });
    this.before = iconButton("left", "Previous photo", () => this.on.moved(-1), { class: "icon-button beside is-before" });
    this.after = iconButton("right", "Next photo", () => this.on.moved(1), { class: "icon-button beside is-after" });
    this.stage = make("div", { class: "stage" }, this.picture, this.before, this.after);
    this.panel = make("aside", { class: "details", "aria-label": "About this photo", tabindex: "0", hidden: true });
    this.title = make("h2", { class: "viewer-title", tabindex: "-1" });
    this.caption = make("p", { class: "viewer-caption" });
    this.announced = make("p", { class: "unseen", role: "status" });
    const head = make(
      "div",
      { class: "viewer-head" },
      iconButton("close", "Close (Esc)", () => this.on.closed()),
      make("div", { class: "viewer-names" }, this.title, this.caption),
      this.#sizes(),
    );
    this.dialog.append(head, this.stage, this.panel, this.#actions(), this.announced);
    this.zoom = new Zoom(this.stage, {
      swiped: (step) => this.on.moved(step),
      changed: (scale) => this.#sized(scale),
    });
  }

  #sizes() {
    this.smaller = iconButton("zoomOut", "Zoom out (-)", () => this.zoom.by(-1), { disabled: true });
    return make(
      "div",
      { class: "viewer-sizes" },
      this.smaller,
      iconButton("zoomIn", "Zoom in (+)", () => this.zoom.by(1)),
    );
  }

  #actions() {
    const shown = { shown: true };
    this.info = iconButton("info", "Details", () => this.#toggleDetails(), { ...shown, "aria-expanded": "false" });
    this.less = iconButton("less", "Less like this", () => this.on.less(this.hit), shown);
    this.download = make("a", { class: "icon-button" }, icon("download"), make("span", { text: "Download" }));
    return make(
      "div",
      { class: "viewer-actions", role: "group", "aria-label": "What to do with this photo" },
      iconButton("more", "More like this", () => this.on.more(this.hit), shown),
      this.less,
      iconButton("folder", "Show folder", () => this.on.filter("in", folderOf(this.hit.path)), shown),
      this.download,
      iconButton("copy", "Copy path", () => this.#copy(), shown),
      this.info,
    );
  }

  get open() {
    return this.dialog.open;
  }

  /** Show a photo; `before` and `after` are its neighbours, or null. */
  show(hit, { before, after, place }) {
    const isNew = !this.dialog.open;
    if (isNew) {
      this.dialog.showModal();
      this.#holdThePage();
    }
    if (this.hit?.id !== hit.id || isNew) this.#fill(hit);
    this.before.disabled = !before;
    this.after.disabled = !after;
    this.caption.textContent = [dayAndTime(hit.moment), place].filter(Boolean).join(" · ");
    this.less.disabled = !this.on.question();
    this.less.title = this.less.disabled ? "Ask something first: less like this needs a question" : "";
    for (const one of [after, before]) if (one) new Image().src = thumbOf(one, true);
    if (isNew) this.title.focus();
    else if (document.activeElement?.disabled || document.activeElement === document.body) {
      this.title.focus();
    }
  }

  // Without its scroll bar the page would be wider, and all rows be laid out anew.
  #holdThePage() {
    const root = document.documentElement;
    document.body.style.paddingRight = `${innerWidth - root.clientWidth}px`;
    root.classList.add("has-viewer");
  }

  #fill(hit) {
    this.hit = hit;
    const name = nameOf(hit.path);
    this.title.textContent = name;
    this.dialog.setAttribute("aria-label", name);
    this.announced.textContent = spoken(hit);
    this.download.href = `/photos/${hit.id}?download=true`;
    this.download.setAttribute("download", name);
    this.#fillPicture(hit, name);
    if (!this.panel.hidden) this.#fillDetails();
  }

  // The small picture stands there at once, at the size of the large one, which then covers it.
  #fillPicture(hit, name) {
    const frame = make("div", { class: "frame" });
    frame.style.aspectRatio = `${hit.width || 4} / ${hit.height || 3}`;
    frame.style.setProperty("--ratio", (hit.width || 4) / (hit.height || 3));
    const small = make("img", { src: thumbOf(hit), alt: "", class: "small", draggable: "false" });
    const large = make("img", { alt: name, class: "large", decoding: "async", draggable: "false" });
    large.addEventListener("load", () => frame.classList.add("is-loaded"));
    large.addEventListener("error", () => this.#broken(frame, hit));
    large.src = thumbOf(hit, true);
    frame.append(small, large);
    this.picture.replaceChildren(frame);
    this.large = large;
    this.zoom.hold(frame);
  }

  #broken(frame, hit) {
    frame.classList.add("is-broken");
    const text = "This photo can't be shown now: its file is gone, away, or can't be decoded.";
    frame.replaceChildren(make("p", { text }), make("p", { class: "path", text: hit.path }));
  }

  #sized(scale) {
    if (this.smaller) this.smaller.disabled = scale <= 1;
    if (scale < ENLARGED || !this.hit || !this.large?.isConnected) return;
    const whole = `/photos/${this.hit.id}`;
    if (this.large.getAttribute("src") !== whole) {
      const larger = new Image();
      const { large } = this;
      larger.onload = () => {
        if (large.isConnected) large.src = whole;
      };
      larger.src = whole;
    }
  }

  #toggleDetails() {
    this.panel.hidden = !this.panel.hidden;
    this.info.setAttribute("aria-expanded", String(!this.panel.hidden));
    this.dialog.classList.toggle("has-details", !this.panel.hidden);
    if (!this.panel.hidden) this.#fillDetails();
    this.zoom.reset();
  }

  #fillDetails() {
    this.dropDetails?.();
    const { parts, drop } = details(this.hit, this.on.question(), (name, value) => this.on.filter(name, value));
    this.dropDetails = drop;
    this.panel.replaceChildren(...parts);
    this.panel.scrollTop = 0;
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowLeft: () => this.on.moved(-1),
      ArrowRight: () => this.on.moved(1),
      "+": () => this.zoom.by(1),
      "=": () => this.zoom.by(1),
      "-": () => this.zoom.by(-1),
      0: () => this.zoom.reset(),
      i: () => this.#toggleDetails(),
      m: () => this.on.more(this.hit),
      l: () => this.on.question() && this.on.less(this.hit),
      c: () => this.#copy(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  async #copy() {
    const done = await copied(this.hit.path, this.dialog);
    this.on.said(done ? "The path is copied." : "This browser does not let the path be copied.", { error: !done });
  }

  /** Close it; where the keyboard is then, the caller says. */
  close() {
    if (!this.dialog.open) return;
    this.dropDetails?.();
    this.dialog.close();
    document.documentElement.classList.remove("has-viewer");
    document.body.style.paddingRight = "";
    this.picture.replaceChildren();
    this.hit = null;
  }
}

// Without TLS, and not on this machine, a browser has no clipboard; the older way does then.
async function copied(text, within) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make("textarea", { class: "unseen", "aria-hidden": "true" });
    const focused = document.activeElement;
    within.append(area);
    area.value = text;
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return done;
  }
}
