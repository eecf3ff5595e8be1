"""A visit to the page in a real browser; whatever the page should never do fails the test."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli_process import PROGRAM, clean_environment
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect

WIDE = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
expect.set_options(timeout=45_000)  # of a machine that does much else


class Visit:
    """The page of a library in a window of its own."""

    def __init__(self, browser: Browser, address: str, **window: Any) -> None:
        self.address = address
        self.context = browser.new_context(
            **{"viewport": WIDE, "reduced_motion": "reduce"} | window
        )
        self.context.set_default_timeout(45_000)
        self.page: Page = self.context.new_page()
        self.wrong: list[str] = []
        self.expected: list[str] = []  # parts of what the browser may complain of
        self.asked: list[str] = []  # each request
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.wrong.append("a dialog"), dialog.dismiss()))
        self.context.on("request", self._requested)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.text} {message.location.get('url', '')}")

    def _requested(self, request: Request) -> None:
        self.asked.append(f"{request.method} {request.url.removeprefix(self.address)}")
        if not request.url.startswith((self.address + "/", "blob:", "data:")):
            self.wrong.append(f"a request to elsewhere: {request.url}")

    def go(self, path: str = "/") -> Page:
        """Open an address of the page, and wait until its first answer is shown."""
        self.page.goto(self.address + path)
        self.settled()
        return self.page

    def settled(self) -> None:
        """Wait until the page has its answer."""
        self.page.wait_for_function(
            "() => document.querySelector('.photo, .message:not([hidden])')"
            " && !document.body.classList.contains('is-loading')"
        )

    @property
    def where(self) -> str:
        """The query string of the address."""
        return urlsplit(self.page.url).query

    @property
    def photos(self) -> Locator:
        """The photos in the document."""
        return self.page.locator("a.photo")

    def names(self) -> list[str]:
        """Return the names of the photos in the document, from the first on."""
        said = self.photos.evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
        return [one.partition(",")[0] for one in said]

    def first_is(self, name: str) -> None:
        """Wait until a photo is the first."""
        expect(self.photos.first).to_have_attribute("aria-label", re.compile(re.escape(name)))

    def search(self, words: str) -> None:
        """Type words into the box, letter by letter."""
        box = self.page.get_by_role("searchbox")
        box.fill("")
        box.press_sequentially(words)

    def searches(self) -> list[str]:
        """Return the requests for photos."""
        return [one for one in self.asked if "/api/search" in one or "/api/similar" in one]

    def bring(self, file: Path, how: str) -> None:
        """Drop or paste a file as a person does: `how` is drop or paste."""
        self.page.evaluate(_BRING, [base64.b64encode(file.read_bytes()).decode(), file.name, how])

    def close(self) -> None:
        """Leave; raises AssertionError where something was wrong."""
        self.context.close()
        wrong = [one for one in self.wrong if not any(part in one for part in self.expected)]
        assert not wrong, wrong


_BRING = """([data, name, how]) => {
  const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name, {type: "image/jpeg"}));
  if (how === "paste") {
    const event = new ClipboardEvent("paste", {clipboardData: carried, bubbles: true});
    document.body.dispatchEvent(event);
    return;
  }
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const init = {dataTransfer: carried, bubbles: true, cancelable: true};
    document.body.dispatchEvent(new DragEvent(kind, init));
  }
}"""


@contextmanager
def served(library: Path, *options: str) -> Iterator[str]:
    """Serve a library in a process of its own for the block; gives the address of its page."""
    with tempfile.TemporaryDirectory(prefix="clipsearch-") as sockets:
        Path(sockets).chmod(0o700)
        server = subprocess.Popen(
            [*PROGRAM, "serve", "--web", "--port", "0", "--library", str(library), *options],
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(XDG_RUNTIME_DIR=sockets),
        )
        try:
            assert server.stderr is not None
            yield _address_said(server.stderr)
        finally:
            server.terminate()
            server.communicate(timeout=60)


def _address_said(lines: Any) -> str:
    said = []
    for line in lines:
        said.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return found.group()
    raise AssertionError(f"it does not serve: {said}")


def chromium_here() -> str | None:
    """Return the path of a Chromium that the browser tests can start, or None."""
    from shutil import which

    named = os.environ.get("CLIPSEARCH_CHROMIUM")
    return named or which("chromium") or which("chromium-browser") or which("google-chrome")
