"""A library of a few photos, made once and copied for each test, which is then quick."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from clipsearch import Library

COUNT = 5


def make_small_library(
    place: Path, photos: Sequence[Path], model: Path, *, count: int = COUNT
) -> Path:
    """Make `photos`, two of them in `trip`, and `library` in a folder; return the folder."""
    (place / "photos" / "trip").mkdir(parents=True)
    for number, photo in enumerate(photos[:count]):
        folder = place / "photos" / ("trip" if number >= count - 2 else "")
        shutil.copyfile(photo, folder / f"photo-{number}.jpg")
    with Library(place / "library", device="cpu") as library:
        assert library.index([place / "photos"], model=str(model)).embedded == count
    return place


def copy_small_library(made: Path, place: Path) -> Path:
    """Copy photos and library into a folder, as if they had been made there."""
    shutil.copytree(made / "photos", place / "photos")
    copy_library(made, place)
    return place


def copy_library(made: Path, place: Path) -> None:
    """Copy the library alone; a copy of its photos lies there already, or comes."""
    shutil.copytree(made / "library", place / "library")
    catalog = sqlite3.connect(place / "library" / "catalog.sqlite", isolation_level=None)
    for table in ("photos", "folders", "mounts"):
        catalog.execute(f"UPDATE {table} SET path = replace(path, ?, ?)", (str(made), str(place)))
    catalog.close()
