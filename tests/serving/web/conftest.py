"""One library of the example photos behind one door, for all tests that only ask."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from example_photos import example_files, small_photos
from PIL import Image
from places import EXAMPLES
from web_door import Door, open_door

from clipsearch import Library


def _with_exif(photo: bytes, number: int) -> bytes:
    """Return a photo that says when and with what it was taken; each third one says nothing."""
    if number % 3 == 0:
        return photo
    exif = Image.Exif()
    exif[0x0110] = "Pixel 7" if number % 3 == 1 else "Canon EOS R6"
    exif.get_ifd(0x8769)[0x9003] = f"{2019 + number % 4}:{1 + number % 12:02}:05 12:00:00"
    exif.get_ifd(0x8769)[0x829D] = 2.8
    file = io.BytesIO()
    with Image.open(io.BytesIO(photo)) as picture:
        picture.save(file, "JPEG", quality=80, exif=exif)
    return file.getvalue()


@pytest.fixture(scope="session")
def example_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library of the example photos, made small; in `photos` beside it. Only to be read.

    A third of them says nothing of itself; one has a copy in another folder.
    """
    place = tmp_path_factory.mktemp("web")
    for number, (path, photo) in enumerate(zip(example_files(), small_photos(), strict=True)):
        to = place / "photos" / path.relative_to(EXAMPLES)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(_with_exif(photo, number))
        os.utime(to, (1_700_000_000 + number, 1_700_000_000 + number))
    first = sorted((place / "photos" / "animals").iterdir())[0]
    shutil.copy2(first, place / "photos" / "food" / f"copy-of-{first.name}")
    with Library(place / "library", device="cpu") as library:
        library.index([place / "photos"], model="builtin")
    return place / "library"


@pytest.fixture(scope="module")
def door(example_library: Path) -> Iterator[Door]:
    """Return the open door of the example library."""
    with open_door(example_library) as opened:
        yield opened


@pytest.fixture(scope="module")
def own(example_library: Path) -> Iterator[Library]:
    """Return the same library, opened here: what the door answers is compared with it."""
    with Library(example_library, read_only=True) as library:
        yield library
