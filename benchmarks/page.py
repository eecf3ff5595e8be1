"""Claim: the page's search box and grid are painted within 1 s on a library of 100,000 photos.

    python -m benchmarks.page [--photos 100000] [--times 7] [--folder FOLDER]

Starts `clipsearch serve --web` over a library of made-up photos (made in FOLDER, or used again if
it lies there; see served_library.py) and opens its page in Chromium, each time in a window that has
nothing kept. Their files are nowhere, so what is painted is the box and grey shapes of the photos'
sizes. Prints the milliseconds from the begin of the navigation until the box is painted, and until
the grid is; from the last letter typed until the answer is, with the 200 that the page waits for a
further letter; and of a scroll over 36,000 pixels how long frames take and how many elements there
are.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.served_library import make_served_library
from benchmarks.serving import served

WORDS = ("a dog on a beach", "mountains in snow", "an old church", "a red car at night")
# When the first photo is in the document, and the frame that shows it is painted.
_WATCH = """() => {
  new MutationObserver((_, observer) => {
    if (!document.querySelector("a.photo")) return;
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => { window.gridPainted = performance.now(); }));
  }).observe(document, {childList: true, subtree: true});
}"""
_ANSWERED = """words => new Promise(done => {
  const box = document.querySelector("input[type=search]");
  const shown = () => document.querySelector("a.photo, #message:not([hidden]) h2");
  const before = shown();
  const start = performance.now();
  const look = () => {
    const now = shown();
    if (now && now !== before && !document.body.classList.contains("is-loading")) {
      setTimeout(() => done(performance.now() - start));
    } else requestAnimationFrame(look);
  };
  box.value = words;
  box.dispatchEvent(new Event("input", {bubbles: true}));
  requestAnimationFrame(look);
})"""
_SCROLLED = """() => new Promise(done => {
  const frames = [];
  let most = 0;
  let before = performance.now();
  const step = () => {
    const now = performance.now();
    frames.push(now - before);
    before = now;
    most = Math.max(most, document.querySelectorAll("*").length);
    const tiles = [...document.querySelectorAll(".tile")];
    const last = Math.max(...tiles.map(one => +one.dataset.index));
    if (frames.length === 150) return done({frames, most, last});
    scrollBy({top: 240, behavior: "instant"});
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = (given.folder or Path(place)) / "library"
        if not (folder / "catalog.sqlite").is_file():
            make_served_library(folder, given.photos)
        with served(folder) as (_, port):
            measure(f"http://127.0.0.1:{port}", given.times)


def measure(address: str, times: int) -> None:
    """Print what a browser sees of the page at an address."""
    from shutil import which

    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=which("chromium"), args=options)
        opened = [opening(browser, address) for _ in range(times + 1)][1:]  # the first warms up
        for what, values in zip(("search box", "grid"), zip(*opened, strict=True), strict=True):
            print(f"{what} painted: {spread(list(values))}")
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.wait_for_selector("a.photo")
        answers = [page.evaluate(_ANSWERED, words) for words in WORDS * 3]
        print(f"answer painted after the last letter: {spread(answers)}")
        page.goto(address)
        page.wait_for_selector("a.photo")
        seen = page.evaluate(_SCROLLED)
        frames = sorted(seen["frames"])
        print(
            f"scrolling by 240 pixels a frame to photo {seen['last']:,}: median frame "
            f"{statistics.median(frames):.0f} ms, 95 in 100 within "
            f"{frames[len(frames) * 95 // 100]:.0f} ms; at most {seen['most']:,} elements"
        )
        browser.close()


def opening(browser: Any, address: str) -> tuple[float, float]:
    """Return when the box is painted and when the grid is, in milliseconds, of a new window."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.add_init_script(f"({_WATCH})()")
    page.goto(address)
    grid = page.wait_for_function("() => window.gridPainted").json_value()
    (box,) = page.evaluate(
        "() => performance.getEntriesByName('first-contentful-paint').map(one => one.startTime)"
    )
    context.close()
    return box, grid


def spread(values: list[float]) -> str:
    """Return the median and the range of some milliseconds."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.0f} ms ({low:.0f} to {high:.0f}, {len(values)} times)"


if __name__ == "__main__":
    main()
