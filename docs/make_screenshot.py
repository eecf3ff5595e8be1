"""Make gallery.jpg: the page with a search among the example photos, for the README.

python docs/make_screenshot.py

Needs Chromium and Playwright (the development extras). The file's comment says which photos it
shows; a test compares them with what is found.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from urllib.parse import urlencode

from clipsearch import Library

ROOT = Path(__file__).parent.parent
PHOTOS = ROOT / "examples" / "photos"
PICTURE = ROOT / "docs" / "gallery.jpg"
SEARCH = "musicians on a stage"
WINDOW = {"width": 1280, "height": 660}


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "library"
        with Library(library) as made:
            made.index(PHOTOS, model="builtin")
        with served(library) as address:
            take(f"{address}/?{urlencode({'q': SEARCH})}")


@contextmanager
def served(library: Path) -> Iterator[str]:
    """Serve a library for the block; gives the address of its page."""
    command = [sys.executable, "-m", "clipsearch", "serve", "--web", "--port", "0"]
    with subprocess.Popen(
        [*command, "--library", str(library)], stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stderr is not None
            yield next(
                found.group()
                for line in server.stderr
                if (found := re.search(r"http://127\.0\.0\.1:\d+", line))
            )
        finally:
            server.terminate()


def take(address: str) -> None:
    """Open the page, wait for its photos, and write what is seen."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=which("chromium"), args=["--no-sandbox", "--hide-scrollbars"]
        )
        page = browser.new_page(viewport=WINDOW, color_scheme="light", reduced_motion="reduce")
        page.goto(address)
        page.wait_for_selector("a.photo")
        page.wait_for_function(
            "() => [...document.querySelectorAll('.tile')].every("
            "one => one.classList.contains('is-loaded'))"
        )
        shown = page.eval_on_selector_all("a.photo", "found => found.map(one => one.title)")
        picture = page.screenshot(type="jpeg", quality=88)
        browser.close()
    PICTURE.write_bytes(commented(picture, json.dumps({SEARCH: shown})))


def commented(jpeg: bytes, comment: str) -> bytes:
    """Return a JPEG with a comment, its first segment."""
    text = comment.encode()
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


if __name__ == "__main__":
    main()
