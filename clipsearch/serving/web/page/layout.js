// Rows of photos of one height that fill the width. Rows are only ever added at the end, and a row
// is made when it is full: what has been laid out stays where it is when more photos come.

const NARROWEST = 0.45; // width by height; what is beyond is cut for the grid
const WIDEST = 3.2;
const LABEL_HEIGHT = 44; // pixels above a row in which something begins

/** Return the height that rows should have, and the gap, for a width in pixels. */
export function measures(width) {
  if (width < 520) return { target: 132, gap: 3 };
  if (width < 900) return { target: 176, gap: 5 };
  if (width < 1500) return { target: 208, gap: 6 };
  return { target: 244, gap: 7 };
}

/** Return width by height of a photo as the grid shows it. */
export function shape(hit) {
  const ratio = hit.width > 0 && hit.height > 0 ? hit.width / hit.height : 1;
  return Math.min(WIDEST, Math.max(NARROWEST, ratio));
}

export class Layout {
  /** Lay out for a width in pixels. */
  constructor(width) {
    this.width = width;
    Object.assign(this, measures(width));
    this.rows = []; // {top, height, above, first, widths}: `above` pixels for labels
    this.height = 0; // of all rows
    this.waiting = []; // shapes of photos that don't fill a row as yet
    this.labelled = false; // whether one of these has a label
    this.count = 0; // photos, those that wait included
  }

  /** Add photos: each has a shape, and a label if something begins with it. */
  add(photos) {
    for (const photo of photos) {
      const ratio = shape(photo.hit);
      if (this.waiting.length && this.#overfull(ratio)) this.#close(true);
      this.waiting.push(ratio);
      this.labelled ||= Boolean(photo.label);
      this.count += 1;
      if (this.#natural() >= this.width) this.#close(true);
    }
  }

  /** Make a row of what is left: no more photos come. */
  finish() {
    if (this.waiting.length) this.#close(false);
  }

  /** Return the index of the row that stands at a height, of the nearest if none does. */
  rowAt(y) {
    let low = 0;
    let high = this.rows.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.rows[middle].top <= y) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Return the index of the row that a photo is in; -1 while it waits. */
  rowOf(photo) {
    let low = 0;
    let high = this.rows.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const { first, widths } = this.rows[middle];
      if (photo < first) high = middle - 1;
      else if (photo >= first + widths.length) low = middle + 1;
      else return middle;
    }
    return -1;
  }

  #natural() {
    const ratios = this.waiting.reduce((sum, one) => sum + one, 0);
    return ratios * this.target + (this.waiting.length - 1) * this.gap;
  }

  // Whether the row is nearer to its height without one more.
  #overfull(ratio) {
    const now = this.#heightOf(this.waiting);
    const then = this.#heightOf([...this.waiting, ratio]);
    return then < this.target && this.target / then > now / this.target;
  }

  #heightOf(ratios) {
    const free = this.width - (ratios.length - 1) * this.gap;
    return free / ratios.reduce((sum, one) => sum + one, 0);
  }

  #close(full) {
    const fitting = this.#heightOf(this.waiting);
    const height = full ? Math.min(fitting, 1.6 * this.target) : Math.min(fitting, this.target);
    const above = this.labelled ? LABEL_HEIGHT : 0;
    const widths = this.waiting.map((ratio) => ratio * height);
    const first = this.count - this.waiting.length;
    this.rows.push({ top: this.height, height, above, first, widths });
    this.height += above + height + this.gap;
    this.waiting = [];
    this.labelled = false;
  }
}
