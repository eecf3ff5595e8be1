// Where the filters stand in a question as it is typed; what they mean, the server alone knows.
// The same parts, in the same order, as clipsearch/asking/grammar.py finds.

export const KEYS = [
  "in", "after", "before", "camera", "lens", "near",
  "type", "min-width", "orientation", "tag", "missing",
];

const QUOTED = '["“”]([^"“”]*)["“”]';
const PART = new RegExp(
  `(?<words>${QUOTED}(?!\\S))` +
    `|(?<no>-?)(?<key>${KEYS.join("|")}):(?:${QUOTED}(?!\\S)|(?<value>[^\\s"“”]\\S*))` +
    `|(?<minus>-(?:${QUOTED}(?!\\S)|\\p{L}\\S*))` +
    "|\\S+",
  "giu",
);

/** Return the parts of a question that are not plain words: {start, end, text}. */
export function filterParts(text) {
  return [...text.matchAll(PART)]
    .filter((found) => found.groups.key || found.groups.minus)
    .map((found) => ({
      start: found.index,
      end: found.index + found[0].length,
      text: found[0],
    }));
}

/** Return the question without one of its parts. */
export function without(text, part) {
  return `${text.slice(0, part.start)} ${text.slice(part.end)}`.replace(/\s+/g, " ").trim();
}

/** Return whether anything but filters is asked: words, or what should not be seen. */
export function asksForWords(text) {
  let rest = text;
  for (const part of filterParts(text).reverse()) {
    const said = part.text.toLowerCase();
    if (!said.startsWith("-") || KEYS.some((key) => said.startsWith(`-${key}:`))) {
      rest = without(rest, part);
    }
  }
  return rest.trim() !== "";
}
