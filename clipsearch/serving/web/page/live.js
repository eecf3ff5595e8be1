// Follows the library while the page is seen: how far an index run is, and whether photos came.

import { get } from "./api.js";
import { byId, make } from "./dom.js";
import { counted, number } from "./wording.js";

const EVERY = 2000; // milliseconds
const AFTER_A_FAILURE = 5000;
const PHASES = {
  waiting: "Waiting for another run",
  scanning: "Looking for new photos",
  "loading model": "Loading the model",
  "fetching model": "Fetching the model",
  encoding: "Indexing new photos",
  saving: "Saving",
  completing: "Reading more of the photos",
  "making thumbnails": "Making thumbnails",
};

export class Live {
  /** `on` has changed({photos, before}) when the library is another, and reached(yes). */
  constructor(on) {
    this.on = on;
    this.revision = null;
    this.photos = null;
    this.busy = byId("busy");
    this.text = make("span");
    this.bar = make("progress", { max: 1, "aria-label": "Progress of indexing" });
    this.busy.append(this.text, this.bar);
    document.addEventListener("visibilitychange", () => this.#soon(0));
    this.#soon(EVERY);
  }

  #soon(milliseconds) {
    clearTimeout(this.timer);
    if (document.visibilityState === "visible") {
      this.timer = setTimeout(() => this.look(), milliseconds);
    }
  }

  /** Ask once how the library is, and again after a while. */
  async look() {
    clearTimeout(this.timer);
    try {
      this.#take(await get("/api/state"));
      this.on.reached(true);
      this.#soon(EVERY);
    } catch (error) {
      if (error.offline) this.on.reached(false);
      if (error.status !== 401) this.#soon(AFTER_A_FAILURE); // which a token alone changes
    }
  }

  #take({ photos, revision, indexing }) {
    const before = this.photos;
    const changed = this.revision !== null && revision !== this.revision;
    this.revision = revision;
    this.photos = photos;
    this.#showProgress(indexing);
    if (changed) this.on.changed({ photos, before });
  }

  #showProgress(indexing) {
    this.busy.hidden = !indexing;
    if (!indexing) return;
    const { phase, done, total } = indexing;
    const name = PHASES[phase] ?? phase;
    this.text.textContent = total ? `${name}: ${number(done)} of ${counted(total)}` : `${name} …`;
    if (total) this.bar.value = done / total;
    else this.bar.removeAttribute("value");
  }
}
