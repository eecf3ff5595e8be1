"""One browser for all tests of the page, and libraries that are made once."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from example_photos import example_files, small_photos
from PIL import Image
from places import EXAMPLES

from clipsearch import Library

if TYPE_CHECKING:
    from page_visit import Visit
    from playwright.sync_api import Browser

SCRIPT = "<img src=x onerror=alert(1)>.jpg"
_ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a browser; the tests are skipped where there is none."""
    pytest.importorskip("playwright", reason="the tests of the page need playwright")
    from page_visit import chromium_here
    from playwright.sync_api import sync_playwright

    program = chromium_here()
    if program is None:
        pytest.skip("no Chromium here for the tests of the page: `apt install chromium`")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program, args=_ARGUMENTS.split(), headless=True
        )
        yield started
        started.close()


def _dated(photo: bytes, number: int) -> bytes:
    """Return a photo that says when, where and with what it was taken; each fifth says nothing."""
    if number % 5 == 4:
        return photo
    exif = Image.Exif()
    exif[0x0110] = ("Pixel 7", "Canon EOS R6", "Nikon D750")[number % 3]
    exif.get_ifd(0x8769)[0x9003] = f"{2019 + number % 4}:{1 + number % 12:02}:05 12:00:00"
    place = exif.get_ifd(0x8825)
    place.update({1: "N", 2: (50.0, 5.0, number / 10), 3: "E", 4: (14.0, 25.0, 0.0)})
    file = io.BytesIO()
    with Image.open(io.BytesIO(photo)) as picture:
        picture.save(file, "JPEG", quality=80, exif=exif)
    return file.getvalue()


def make_library(place: Path) -> Path:
    """Make a library of the example photos, made small, with one copy and one strange name."""
    for number, (path, photo) in enumerate(zip(example_files(), small_photos(), strict=True)):
        to = place / "photos" / path.relative_to(EXAMPLES)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(_dated(photo, number))
    photos = place / "photos"
    horses = photos / "animals" / "horses-on-hill.jpg"
    (photos / "food" / "copy-of-horses.jpg").write_bytes(horses.read_bytes())
    clock = photos / "objects" / "wall-clock.jpg"
    with Image.open(clock) as picture:
        picture.resize((200, 150)).save(photos / "objects" / SCRIPT, "JPEG")
    with Library(place / "library", device="cpu") as library:
        library.index([photos], model="builtin")
    return place / "library"


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library of 60 photos; they lie in `photos` beside it. Only to be read."""
    return make_library(tmp_path_factory.mktemp("album"))


@pytest.fixture(scope="session")
def album_address(album: Path) -> Iterator[str]:
    """Return where the page of the album is."""
    from page_visit import served

    with served(album) as address:
        yield address


@pytest.fixture(scope="session")
def large_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return where the page of a library of 10,034 photos is: 58, each with 172 copies."""
    from page_visit import served

    place = tmp_path_factory.mktemp("large")
    names = [path.name for path in example_files()]
    (place / "photos" / "first").mkdir(parents=True)
    for name, photo in zip(names, small_photos(), strict=True):
        (place / "photos" / "first" / name).write_bytes(photo)
    with Library(place / "library", device="cpu") as library:
        library.index([place / "photos"], model="builtin")
        for number in range(172):
            folder = place / "photos" / f"{number:03}"
            folder.mkdir()
            for name in names:
                os.link(place / "photos" / "first" / name, folder / name)
        assert library.index([place / "photos"]).copied == 172 * len(names)
    with served(place / "library") as address:
        yield address


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Return what opens a window: (address, **how the window is) -> Visit."""
    from page_visit import Visit

    opened: list[Visit] = []

    def new(address: str, **window: Any) -> Visit:
        opened.append(Visit(browser, address, **window))
        return opened[-1]

    yield new
    for one in opened:
        one.close()


@pytest.fixture
def here(visit: Callable[..., Visit], album_address: str) -> Visit:
    """Return a visit to the album, at its start."""
    opened = visit(album_address)
    opened.go()
    return opened
