"""A library in which all is well: a few real photos, some hundred made-up ones, a tiny model."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch import Library
from clipsearch.index.changes import Embedded, Failed, Gone
from clipsearch.index.records import FileState, PhotoMetadata

MADE_UP = 400
TABLES = ("photos", "embeddings", "models", "folders", "failures", "library")


def make_well_library(folder: Path, photos: Sequence[Path], model: Path) -> Path:
    """Make a library of real photos and of rows whose files are nowhere; some were removed."""
    place = folder / "photos"
    place.mkdir(parents=True)
    for photo in photos:
        shutil.copyfile(photo, place / photo.name)
    with Library(folder / "library", device="cpu") as library:
        assert library.index([place], model=str(model)).embedded == len(photos)
        add_made_up(library, MADE_UP)
    return folder / "library"


def add_made_up(library: Library, count: int) -> None:
    store = library._store
    model = next((row for row in store.models() if row.is_current), None)
    vectors = np.random.default_rng(7).normal(size=(count, model.identity.width))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    with store.writing():
        store.apply([_made_up(i, vector) for i, vector in enumerate(vectors)], model.id)
        store.apply([Failed(FileState(Path("/made/up/bad.jpg"), 3, 4), "no picture")], None)
        store.refresh_vectors(model.id)
        some = store.catalog.known_files(model.id, [Path("/made/up/trip 3")])
        store.apply([Gone(known.photo_id) for known in some.values()], None)


def _made_up(number: int, vector: np.ndarray) -> Embedded:
    file = FileState(Path(f"/made/up/trip {number % 13}/IMG_{number}.jpg"), 1000 + number, number)
    seen = PhotoMetadata(400, 300, "JPEG", camera="A Camera", taken_at="2020-01-01T00:00:00")
    digest = random.Random(number).getrandbits(256)
    return Embedded(file, f"{digest:064x}", seen, vector)


def all_rows(folder: Path, tables: Sequence[str] = TABLES) -> dict[str, dict[Any, tuple]]:
    """Return every row of a catalog, by table and row id, read with nothing but SQLite."""
    connection = sqlite3.connect(folder / "catalog.sqlite")
    try:
        return {
            name: {row[0]: row for row in connection.execute(f"SELECT rowid, * FROM {name}")}
            for name in tables
        }
    finally:
        connection.close()


def run_sql(folder: Path, *statements: str, parameters: Sequence[Any] = ()) -> None:
    """Change a catalog as a careless hand would; nothing is left in the log beside it."""
    connection = sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)
    for statement in statements:
        connection.execute(statement, parameters)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def table_pages(folder: Path, name: str) -> list[int]:
    """Return the offsets in the file of the leaf pages of a table or an index."""
    data = (folder / "catalog.sqlite").read_bytes()
    connection = sqlite3.connect(folder / "catalog.sqlite")
    (root,) = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)
    ).fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    return [(page - 1) * size for page in _leaves(data, size, root)]


def _leaves(data: bytes, size: int, page: int) -> list[int]:
    start = (page - 1) * size
    if data[start] in (10, 13):
        return [page]
    assert data[start] in (2, 5)
    cells = int.from_bytes(data[start + 3 : start + 5], "big")
    children = []
    for i in range(cells):
        at = start + 12 + 2 * i
        cell = start + int.from_bytes(data[at : at + 2], "big")
        children.append(int.from_bytes(data[cell : cell + 4], "big"))
    children.append(int.from_bytes(data[start + 8 : start + 12], "big"))
    return [leaf for child in children for leaf in _leaves(data, size, child)]
