// A picture that can be enlarged and moved: by wheel, by two fingers, by a double click, by keys.

const MOST = 8; // times the size that fits
const STEP = 1.5;
const SWIPE = 60; // pixels
const DOUBLE = 320; // milliseconds between the two taps of a double one

export class Zoom {
  /** `on` has swiped(-1 | 1), and changed(scale) when the size is another. */
  constructor(stage, on) {
    this.stage = stage;
    this.on = on;
    this.pointers = new Map();
    this.reset();
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("dblclick", (event) => this.#toggle(event));
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      stage.addEventListener(end, (event) => this.#up(event));
    }
  }

  /** Take another element to move, at the size that fits. */
  hold(element) {
    this.element = element;
    this.reset();
  }

  /** Show the picture whole again. */
  reset() {
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.#show();
  }

  /** Enlarge by steps, or shrink by steps below 0. */
  by(steps) {
    this.#to(this.scale * STEP ** steps, this.#middle());
  }

  #middle() {
    const box = this.stage.getBoundingClientRect();
    return { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 };
  }

  // What is under the point stays there.
  #to(scale, { clientX, clientY }) {
    const to = Math.min(MOST, Math.max(1, scale));
    const box = this.stage.getBoundingClientRect();
    const px = clientX - box.left - box.width / 2;
    const py = clientY - box.top - box.height / 2;
    this.x = px - ((px - this.x) * to) / this.scale;
    this.y = py - ((py - this.y) * to) / this.scale;
    this.scale = to;
    this.#show();
  }

  #show() {
    if (!this.element) return;
    const box = this.stage.getBoundingClientRect();
    const room = (side) => Math.max(0, (side * (this.scale - 1)) / 2);
    this.x = Math.min(room(box.width), Math.max(-room(box.width), this.x));
    this.y = Math.min(room(box.height), Math.max(-room(box.height), this.y));
    this.element.style.transform =
      this.scale === 1 ? "" : `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.stage.classList.toggle("is-zoomed", this.scale > 1);
    this.on.changed(this.scale);
  }

  #wheel(event) {
    event.preventDefault();
    this.#to(this.scale * Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0022)), event);
  }

  #toggle(event) {
    if (this.scale > 1) this.reset();
    else this.#to(2.5, event);
  }

  #down(event) {
    if (event.button || event.target.closest("button")) return;
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    this.start = { x: event.clientX, y: event.clientY, moved: false };
    this.pinch = this.pointers.size === 2 ? { apart: this.#apart(), scale: this.scale } : null;
    if (this.pointers.size > 1) this.start.moved = true;
  }

  #apart() {
    const [one, other] = [...this.pointers.values()];
    return Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    this.pointers.set(event.pointerId, event);
    if (this.pinch && this.pointers.size === 2) {
      const [one, other] = [...this.pointers.values()];
      const middle = {
        clientX: (one.clientX + other.clientX) / 2,
        clientY: (one.clientY + other.clientY) / 2,
      };
      this.#to((this.pinch.scale * this.#apart()) / Math.max(1, this.pinch.apart), middle);
    } else if (this.scale > 1) {
      this.x += event.clientX - before.clientX;
      this.y += event.clientY - before.clientY;
      this.#show();
    }
  }

  #up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const across = event.clientX - this.start.x;
    const down = event.clientY - this.start.y;
    const alone = this.pointers.size === 0 && !this.start.moved && event.type === "pointerup";
    if (!alone || event.pointerType === "mouse") return;
    if (this.scale === 1 && Math.abs(across) > SWIPE && Math.abs(across) > 2 * Math.abs(down)) {
      this.on.swiped(across < 0 ? 1 : -1);
    } else if (Math.hypot(across, down) < 12) this.#tapped(event);
  }

  // Fingers make no dblclick where the page itself does not zoom.
  #tapped(event) {
    const now = performance.now();
    if (now - (this.lastTap ?? -DOUBLE) < DOUBLE) this.#toggle(event);
    this.lastTap = now;
  }
}
