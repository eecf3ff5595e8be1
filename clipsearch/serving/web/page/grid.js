// The grid: of all rows, those near the screen are in the document. The page itself scrolls.

import { afterPaint, make } from "./dom.js";
import { Layout } from "./layout.js";
import { Tile } from "./tile.js";

const AHEAD = 1; // screens above and below that are kept in the document
const NEAR_THE_END = 3; // screens from the end at which the next page is asked for
const FAST = 3; // pixels a millisecond: pictures that fly past are not fetched
const SETTLED = 90; // milliseconds

export class Grid {
  /**
   * Fill an element. `on` has what happens: wanted() when the end is near, choose(hit), fold(hit),
   * address(hit) → where a photo leads, isChosen(hit), isUnfolded(hit), moved() after scrolling.
   */
  constructor(element, on) {
    this.element = element;
    this.on = on;
    this.items = [];
    this.active = 0; // the photo that the keyboard is at
    this.rows = new Map(); // index of a row -> its element
    this.tiles = new Map(); // id of a photo -> its tile, of those in the document
    this.layout = new Layout(this.#width());
    this.laidOut = 0; // items
    this.lastY = window.scrollY;
    this.lastTime = performance.now();
    addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#resized()).observe(element);
  }

  #width() {
    return Math.max(160, this.element.clientWidth);
  }

  /** Show other items from their start. */
  show(items, { finished, keepPlace = false }) {
    const anchor = keepPlace ? this.anchor() : null;
    this.items = items;
    this.active = Math.min(this.active, Math.max(0, items.length - 1));
    if (!keepPlace) this.active = 0;
    this.#layOutAnew(finished);
    if (anchor) this.goTo(anchor);
    this.render();
    this.#forgetTiles();
  }

  // Of what was shown before.
  #forgetTiles() {
    for (const [id, tile] of this.tiles) if (!tile.element.isConnected) this.tiles.delete(id);
  }

  /** Show the items that were added at the end. */
  append({ finished }) {
    this.finished = finished;
    this.layout.add(this.items.slice(this.laidOut));
    this.laidOut = this.items.length;
    if (finished) this.layout.finish();
    this.render();
  }

  #layOutAnew(finished = this.finished) {
    this.finished = finished;
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    this.layout = new Layout(this.#width());
    this.layout.add(this.items);
    this.laidOut = this.items.length;
    if (finished) this.layout.finish();
  }

  /** Return where the reader is: {index, within}: of a photo, and pixels below the row's top. */
  anchor() {
    if (!this.layout.rows.length) return { index: 0, within: 0 };
    const y = scrollY - this.#top();
    if (y <= 0) return { index: 0, within: y };
    const row = this.layout.rows[this.layout.rowAt(y)];
    return { index: row.first, within: y - row.top };
  }

  /** Scroll to where an anchor says. */
  goTo({ index, within }) {
    const at = this.layout.rowOf(Math.min(index, this.items.length - 1));
    const top = at < 0 ? 0 : this.layout.rows[at].top;
    this.element.style.height = `${this.layout.height}px`;
    scrollTo({ top: Math.max(0, this.#top() + top + within), behavior: "instant" });
  }

  #top() {
    return this.element.getBoundingClientRect().top + scrollY;
  }

  #resized() {
    if (this.#width() === this.layout.width) return;
    const anchor = this.anchor();
    const focused = this.element.contains(document.activeElement);
    this.#layOutAnew();
    if (anchor.index > 0) this.goTo({ ...anchor, within: Math.min(anchor.within, 100) });
    this.render();
    this.#forgetTiles();
    if (focused) this.focus(this.active);
  }

  #scrolled() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      this.render();
      this.on.moved();
    });
  }

  /** Bring the document in step with what the screen shows. */
  render() {
    this.element.style.height = `${this.layout.height}px`;
    const screen = innerHeight;
    const y = scrollY - this.#top();
    const first = this.layout.rowAt(y - AHEAD * screen);
    const last = this.layout.rowAt(y + (1 + AHEAD) * screen);
    for (const [index, row] of this.rows) {
      const kept = index >= first && index <= last;
      if (!kept && !row.contains(document.activeElement)) this.#drop(index);
    }
    for (let index = first; index <= last && index < this.layout.rows.length; index += 1) {
      if (!this.rows.has(index)) this.#make(index);
    }
    this.element.setAttribute("aria-rowcount", this.finished ? this.layout.rows.length : -1);
    this.#loadPictures(y);
    if (y + (1 + NEAR_THE_END) * screen > this.layout.height) this.on.wanted();
  }

  #drop(index) {
    const row = this.rows.get(index);
    for (const cell of row.children) this.tiles.get(Number(cell.dataset.id))?.unload();
    for (const cell of row.children) this.tiles.delete(Number(cell.dataset.id));
    row.remove();
    this.rows.delete(index);
  }

  #make(index) {
    const { top, height, above, first, widths } = this.layout.rows[index];
    const row = make("div", { role: "row", class: "row", "aria-rowindex": index + 1 });
    row.style.transform = `translateY(${top}px)`;
    row.style.height = `${above + height}px`;
    let left = 0;
    widths.forEach((width, column) => {
      const item = this.items[first + column];
      const tile = this.#tileOf(item);
      const room = this.#roomFor(first, widths, column);
      tile.place({ left, width, height, above, room });
      tile.element.dataset.index = first + column;
      this.#update(tile, first + column);
      row.append(tile.element);
      left += width + this.layout.gap;
    });
    this.rows.set(index, row);
    this.#insert(row, index);
  }

  // In the order of the rows, for who reads the document and not the screen.
  #insert(row, index) {
    for (const other of this.element.children) {
      if (Number(other.getAttribute("aria-rowindex")) > index + 1) {
        other.before(row);
        return;
      }
    }
    this.element.append(row);
  }

  #tileOf(item) {
    const known = this.tiles.get(item.hit.id);
    if (known?.shows(item)) {
      known.item = item;
      return known;
    }
    const tile = new Tile(item, this.on);
    tile.element.dataset.id = item.hit.id;
    this.tiles.set(item.hit.id, tile);
    return tile;
  }

  // Pixels for a label, up to where the next one begins.
  #roomFor(first, widths, column) {
    let room = 0;
    for (let at = column; at < widths.length; at += 1) {
      if (at > column && this.items[first + at].label) break;
      room += widths[at] + this.layout.gap;
    }
    return room - this.layout.gap;
  }

  #update(tile, index) {
    const { hit } = tile.item;
    tile.update({
      href: this.on.address(hit),
      chosen: this.on.isChosen(hit),
      unfolded: this.on.isUnfolded(hit),
    });
    tile.link.tabIndex = index === this.active ? 0 : -1;
  }

  /** Show again what is chosen and where photos lead. */
  refresh() {
    for (const tile of this.tiles.values()) this.#update(tile, Number(tile.element.dataset.index));
  }

  #loadPictures(y) {
    const now = performance.now();
    const speed = Math.abs(y - this.lastY) / Math.max(1, now - this.lastTime);
    this.lastY = y;
    this.lastTime = now;
    clearTimeout(this.settling);
    const load = () => this.tiles.forEach((tile) => tile.element.isConnected && tile.load());
    if (speed < FAST) afterPaint(load);
    else this.settling = setTimeout(load, SETTLED);
  }

  /** Put the keyboard at a photo, and the photo on the screen. */
  focus(index, { scroll = true } = {}) {
    if (!this.items.length) return;
    this.active = Math.min(Math.max(0, index), this.items.length - 1);
    const at = this.layout.rowOf(this.active);
    if (at < 0) return;
    if (scroll) this.#reveal(this.layout.rows[at]);
    if (!this.rows.has(at)) this.#make(at);
    this.refresh();
    this.tiles.get(this.items[this.active].hit.id)?.link.focus({ preventScroll: true });
    this.render();
  }

  #reveal({ top, height, above }) {
    const header = parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) || 0;
    const from = this.#top() + top;
    const to = from + above + height;
    if (from < scrollY + header) scrollTo({ top: from - header, behavior: "instant" });
    else if (to > scrollY + innerHeight - 24) {
      scrollTo({ top: to - innerHeight + 24, behavior: "instant" });
    }
  }

  /** Return the photo that a key leads to from a photo; null for other keys. */
  toward(key, index, control) {
    const at = this.layout.rowOf(index);
    if (at < 0) return null;
    const row = this.layout.rows[at];
    const last = this.layout.rows.at(-1);
    const end = last.first + last.widths.length - 1;
    switch (key) {
      case "ArrowLeft": return Math.max(0, index - 1);
      case "ArrowRight": return Math.min(end, index + 1);
      case "ArrowUp": return this.#beside(at - 1, index);
      case "ArrowDown": return this.#beside(at + 1, index);
      case "Home": return control ? 0 : row.first;
      case "End": return control ? end : row.first + row.widths.length - 1;
      case "PageUp": return this.#beside(this.layout.rowAt(row.top - innerHeight * 0.8), index);
      case "PageDown": return this.#beside(this.layout.rowAt(row.top + innerHeight * 0.8), index);
      default: return null;
    }
  }

  // The photo of another row whose middle is nearest to that of a photo.
  #beside(at, index) {
    const row = this.layout.rows[Math.min(Math.max(0, at), this.layout.rows.length - 1)];
    const middle = this.#middle(index);
    let nearest = row.first;
    for (let one = row.first; one < row.first + row.widths.length; one += 1) {
      if (Math.abs(this.#middle(one) - middle) < Math.abs(this.#middle(nearest) - middle)) {
        nearest = one;
      }
    }
    return nearest;
  }

  #middle(index) {
    const { first, widths } = this.layout.rows[this.layout.rowOf(index)];
    const before = widths.slice(0, index - first).reduce((sum, one) => sum + one, 0);
    return before + (index - first) * this.layout.gap + widths[index - first] / 2;
  }
}
