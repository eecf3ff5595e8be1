// The search box: words, and pictures that are dropped, pasted, picked or dragged into it.

import { byId, debounced, icon, iconButton, make } from "./dom.js";
import { addPicture, storedPicture } from "./pictures.js";
import { samePicture, withTerm } from "./state.js";
import { DRAGGED } from "./tile.js";

const TYPING = 200; // milliseconds without a key before it is asked

export class Box {
  /** `on` has asked(state, {typed}), state() → the state shown, and said(text, {error}). */
  constructor(on) {
    this.on = on;
    this.form = byId("box");
    this.words = byId("words");
    this.terms = byId("terms");
    this.file = byId("file");
    this.ask = debounced(() => this.#askWords(true), TYPING);
    this.form.prepend(icon("search"));
    this.clear = iconButton("close", "Clear the question", () => this.#clearAll(), { hidden: true });
    this.form.append(
      this.clear,
      iconButton("picture", "Search by a picture", () => this.file.click()),
    );
    this.#listen();
  }

  #listen() {
    this.words.addEventListener("input", () => {
      this.#showClear();
      this.ask();
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask.cancel();
      this.#askWords(false);
    });
    this.words.addEventListener("keydown", (event) => this.#key(event));
    this.file.addEventListener("change", () => {
      this.#addFiles(this.file.files);
      this.file.value = "";
    });
    document.addEventListener("paste", (event) => this.#pasted(event));
    this.#listenForDrops();
  }

  #askWords(typed) {
    const of = this.on.state();
    if (this.words.value.trim() === of.q.trim() && typed) return;
    this.on.asked({ ...of, q: this.typed(), photo: null }, { typed });
  }

  /** Return the words as they stand in the box; whoever asks with them asks at once. */
  typed() {
    this.ask.cancel();
    return this.words.value.trim();
  }

  #key(event) {
    if (event.key === "Backspace" && !this.words.selectionEnd && this.on.state().terms.length) {
      event.preventDefault();
      this.remove(this.on.state().terms.at(-1));
    } else if (event.key === "Escape" && this.words.value) {
      event.preventDefault();
      this.words.value = "";
      this.#showClear();
      this.ask();
    } else if (event.key === "ArrowDown" || event.key === "Escape") {
      event.preventDefault();
      this.on.leave();
    }
  }

  #clearAll() {
    this.words.value = "";
    this.ask.cancel();
    this.on.asked({ ...this.on.state(), q: "", terms: [], photo: null }, { typed: false });
    this.words.focus();
  }

  #showClear() {
    this.clear.hidden = !this.words.value && !this.on.state().terms.length;
  }

  #pasted(event) {
    const files = [...(event.clipboardData?.files ?? [])].filter(isPicture);
    if (!files.length) return;
    event.preventDefault();
    this.#addFiles(files);
  }

  #listenForDrops() {
    const curtain = byId("drop");
    let depth = 0;
    const over = (on) => {
      curtain.hidden = !on;
      if (!on) depth = 0;
    };
    addEventListener("dragenter", (event) => {
      if (!brings(event)) return;
      event.preventDefault();
      depth += 1;
      if (event.dataTransfer.types.includes(DRAGGED)) this.form.classList.add("is-wanted");
      else over(true);
    });
    addEventListener("dragleave", (event) => {
      if (!brings(event)) return;
      depth -= 1;
      if (depth <= 0) over(false);
    });
    addEventListener("dragover", (event) => {
      if (!brings(event)) return;
      // A photo of the grid is meant only where it is let go over the box.
      if (event.dataTransfer.types.includes(DRAGGED) && !this.#isOver(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
    });
    addEventListener("dragend", () => this.form.classList.remove("is-wanted"));
    addEventListener("drop", (event) => {
      over(false);
      this.form.classList.remove("is-wanted");
      if (!brings(event)) return;
      event.preventDefault();
      const id = event.dataTransfer.getData(DRAGGED);
      if (id && this.#isOver(event)) this.add({ photo: Number(id), weight: 1 });
      else if (!id) this.#addFiles(event.dataTransfer.files);
    });
  }

  #isOver(event) {
    return event.target instanceof Node && this.form.contains(event.target);
  }

  async #addFiles(files) {
    const pictures = [...files];
    if (!pictures.length) return;
    this.form.classList.add("is-sending");
    try {
      const keys = [];
      for (const file of pictures) keys.push(await addPicture(file));
      let of = { ...this.on.state(), q: this.typed() };
      for (const picture of keys) of = withTerm(of, { picture, weight: 1 });
      this.on.asked(of, { typed: false });
    } catch (error) {
      this.on.said(`That picture can't be searched by: ${error.message}`, { error: true });
    } finally {
      this.form.classList.remove("is-sending");
    }
  }

  /** Add a picture to the question, or give it another weight. */
  add(term) {
    this.on.asked(withTerm({ ...this.on.state(), q: this.typed() }, term), { typed: false });
  }

  /** Take a picture out of the question. */
  remove(term) {
    const of = { ...this.on.state(), q: this.typed() };
    const terms = of.terms.filter((one) => !samePicture(one, term));
    this.on.asked({ ...of, terms, photo: null }, { typed: false });
    this.words.focus();
  }

  /** Show the question of a state; what is being typed is left alone. */
  show(of, { typed = false } = {}) {
    if (!typed && this.words.value.trim() !== of.q.trim()) this.words.value = of.q;
    this.terms.replaceChildren(...of.terms.map((term) => this.#chip(term)));
    this.terms.hidden = !of.terms.length;
    this.words.placeholder = of.terms.length ? "and words" : "Search your photos";
    this.#showClear();
  }

  #chip(term) {
    const more = term.weight > 0;
    const preview = make("img", { alt: "", width: 32, height: 32, draggable: "false" });
    if (term.photo !== undefined) preview.src = `/thumbs/${term.photo}?size=small`;
    else showStored(term.picture, preview);
    const toggle = make(
      "button",
      {
        type: "button",
        class: "weight",
        "aria-label": more ? "More like this picture: change to less" : "Less like this picture: change to more",
        title: more ? "More like this" : "Less like this",
        onclick: () => this.add({ ...term, weight: -term.weight }),
      },
      preview,
      icon(more ? "plus" : "minus"),
    );
    const remove = iconButton("close", "Remove this picture", () => this.remove(term));
    return make("li", { class: more ? "term" : "term is-less" }, toggle, remove);
  }
}

function brings(event) {
  const types = event.dataTransfer?.types ?? [];
  return types.includes(DRAGGED) || types.includes("Files");
}

function isPicture(file) {
  return file.type.startsWith("image/");
}

async function showStored(key, preview) {
  const one = await storedPicture(key);
  if (!one?.preview) return;
  preview.src = URL.createObjectURL(one.preview);
  preview.addEventListener("load", () => URL.revokeObjectURL(preview.src), { once: true });
}
