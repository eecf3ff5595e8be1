// Asks for the photos of the address while the rest of the page is still on its way.

import { search } from "./asking.js";
import { listAddress, read } from "./state.js";

const FIRST = 60; // photos: what a screen shows, so that the first answer comes soon
const MOST_AT_ONCE = 1000; // where the reader was far down

/** Return how many photos are asked for first, of who was at a place in them before, or null. */
export function firstCount(at) {
  return at ? Math.min(MOST_AT_ONCE, at.index + FIRST) : FIRST;
}

const now = read(location.search);
const k = firstCount(history.state?.at);
let early = { address: listAddress(now), k, answer: search(now, { k, offset: 0 }) };
early.answer.catch(() => undefined); // told to who takes it

/** Return the promise of what was asked for already, once, if it is what a state asks for. */
export function takeEarly(of, { k: count, offset }) {
  if (!early || offset || early.k !== count || early.address !== listAddress(of)) return null;
  const { answer } = early;
  early = null;
  return answer;
}
