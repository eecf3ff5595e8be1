// Makes elements. All text goes through textContent, so that no name of a file is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Return an element with attributes and children; `on…` are listeners, `text` its content. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return the element with an id; the page is broken without it. */
export function byId(id) {
  return document.getElementById(id);
}

// Drawn in a square of 24, with lines.
const ICONS = {
  search: "M10.5 4a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13M15.5 15.5L20 20",
  close: "M6 6l12 12M18 6L6 18",
  picture: "M4 5h16v14H4zM4 16l4.5-4.5l4 4l2.5-2.5L20 17M15.2 9.5h.1",
  filters: "M4 7h9M17 7h3M15 5v4M4 12h3M11 12h9M9 10v4M4 17h9M17 17h3M15 15v4",
  check: "M5 12.5l4.5 4.5L19 7.5",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  left: "M15 5l-7 7l7 7",
  right: "M9 5l7 7l-7 7",
  down: "M6 9.5l6 6l6-6",
  info: "M12 3.5a8.5 8.5 0 1 1 0 17a8.5 8.5 0 0 1 0-17M12 11v5M12 7.8v.1",
  download: "M12 4v11M7 10.5l5 5l5-5M5 20h14",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  folder: "M3.5 6h6l2 2.5h9V19h-17z",
  more: "M4 4h10v10H4zM18 9h2v11H9v-2M9 6.5v5M6.5 9h5",
  less: "M4 4h10v10H4zM18 9h2v11H9v-2M6.5 9h5",
  zoomIn: "M10.5 4a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13M15.5 15.5L20 20M10.5 7.8v5.4M7.8 10.5h5.4",
  zoomOut: "M10.5 4a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13M15.5 15.5L20 20M7.8 10.5h5.4",
  keys: "M3 7h18v10H3zM7 10.5h.1M11 10.5h.1M15 10.5h.1M8 13.8h8",
  choose: "M12 3.5a8.5 8.5 0 1 1 0 17a8.5 8.5 0 0 1 0-17M8 12.3l2.8 2.8L16 9.8",
  broken: "M4 5h16v14H4zM9 5l3 5l-3 4l3 5",
  key: "M14.5 5a4.5 4.5 0 1 1-3.2 7.7L5 19v-3h3v-3M15.5 8.5h.1",
  up: "M12 19V6M6.5 11.5L12 6l5.5 5.5",
};

/** Return a small drawing that says nothing to a screen reader: what it stands on has a name. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({
    viewBox: "0 0 24 24",
    class: `icon icon-${name}`,
    "aria-hidden": "true",
    focusable: "false",
  })) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Return a button with a drawing; its name is read out, and shown where `shown` says so. */
export function iconButton(name, label, onclick, { shown = false, ...more } = {}) {
  const attributes = { type: "button", class: "icon-button", onclick, ...more };
  if (!shown) Object.assign(attributes, { "aria-label": label, title: label });
  return make("button", attributes, icon(name), shown ? make("span", { text: label }) : null);
}

/** Do something once the browser has painted what is there: that comes first. */
export function afterPaint(what) {
  requestAnimationFrame(() => setTimeout(what));
}

/** Return a function that runs once, when it was not called for some milliseconds. */
export function debounced(run, milliseconds) {
  let timer;
  const later = (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...given), milliseconds);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}
