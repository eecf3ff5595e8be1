"""Claim: a filter costs at most as much again as the exact search of all, however much it keeps.

    python -m benchmarks.filters [--photos 1000000] [--folder FOLDER] [--queries 20]

Makes a library without photos (0.9 KB of disk a photo and as much again for index files; one in
FOLDER is used again) with moments, cameras, folders and sizes. For filters that keep 0.01, 1, 10
and 50 % it prints what a warm process takes to select and search, as a multiple of the exact search
without a filter in the same run, and the recall@10 against numpy over what passes. Half of the
filters know nothing of what is in the photos (moments), the others do (cameras: each was used for
photos that are alike). No filter is asked for twice. Then a filter that keeps 1 % together with a
word in 1 % of the names. At last the memory of the columns, the time to read them, what a commit
costs, and a single query from nothing. All times are of the processor.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.clustered_library import like_texts, vectors
from clipsearch.index.changes import UseModel
from clipsearch.index.filter_arrays import passing
from clipsearch.index.filter_columns import CatalogColumns
from clipsearch.index.filters import EVERYTHING, Below, Compare, Filter, Missing, OneOf, Within
from clipsearch.index.records import ModelIdentity
from clipsearch.index.store import Store
from clipsearch.searching.words import Written

WIDTH = 256
MODEL = ModelIdentity("none", "none", "00", '{"size": 224}', WIDTH)
KEPT = (0.0001, 0.01, 0.1, 0.5)
# The cameras, and the shares of the photos up to which each was used, by what is in them.
CAMERAS = {"A": 0.0001, "B": 0.01, "C": 0.1, "D": 0.5, "E": 1.0}
WORD = "heron"  # in the names of one photo in a hundred
_YEARS = 10
_PHOTO = (
    "INSERT INTO photos (id, path, content_hash, size, mtime_ns, width, height, format, "
    "orientation, taken_at, moment, moment_from, camera, latitude, longitude, indexed_at) "
    "VALUES (?1, ?2, printf('%064x', ?1), 1, 1, ?3, 3000, 'JPEG', 1, ?4, ?4, 'photo', ?5, ?6, ?7, "
    "'2026-01-01T00:00:00+00:00')"
)
_EMBEDDING = "INSERT INTO embeddings (photo_id, model_id, vector) VALUES (?, 1, ?)"


def make(folder: Path, photos: int) -> None:
    """Make a library of so many photos, with its index files."""
    direction = np.random.default_rng(7).normal(size=WIDTH)
    sample = next(vectors(20_000, 1, library=photos, width=WIDTH)) @ direction
    limits = np.quantile(sample, 1 - np.array(list(CAMERAS.values())[:-1]))
    with Store.open(folder, create=True) as store, store.writing():
        store.apply([UseModel(store.add_model(MODEL))])
        with closing(sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)) as db:
            first = 1
            for some in vectors(photos, 0, library=photos, width=WIDTH):
                cameras = [
                    list(CAMERAS)[n] for n in (some @ direction < limits[:, None]).sum(axis=0)
                ]
                db.execute("BEGIN")
                ids = range(first, first + len(some))
                db.executemany(_PHOTO, map(row_of, ids, cameras, [photos] * len(ids)))
                blobs = (vector.tobytes() for vector in some.astype("<f2"))
                db.executemany(_EMBEDDING, zip(ids, blobs, strict=True))
                db.execute("COMMIT")
                first += len(some)
        store.refresh_vectors(1)
    with Store.open(folder) as store, store.writing():
        pass  # the words of all names are taken in


def row_of(number: int, camera: str, photos: int) -> tuple[Any, ...]:
    """Return what the catalog is told of a photo; the moments go over the years evenly."""
    moment = np.datetime64("2015-01-01T00:00:00") + int(number / photos * _YEARS * 365 * 86_400)
    year, event = str(moment)[:4], number // 200
    word = "" if number % 100 else f" {WORD}"
    path = f"/photos/{year}/event {event}/IMG_{number:07}{word}.jpg"
    latitude, longitude = (number * 0.618) % 180 - 90, (number * 0.382) % 360 - 180
    return number, path, 4000 if number % 3 else 2000, str(moment), camera, latitude, longitude


def after(share: float, number: int) -> Filter:
    """Return a filter that keeps the newest share of the photos; another for each number."""
    seconds = int((1 - share) * _YEARS * 365 * 86_400) - number
    return Compare("moment", ">", str(np.datetime64("2015-01-01T00:00:00") + seconds))


def taken_with(share: float, number: int) -> Filter:
    """Return a filter that keeps about such a share, by what is in them; another each time."""
    names = (name for name, most in CAMERAS.items() if most <= share)
    return OneOf("camera", (*names, f"none {number}"))


KINDS: dict[str, Callable[[float, int], Filter]] = {"moment": after, "camera": taken_with}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where the library is, or is to be made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place) / "library"
        if not (folder / "catalog.sqlite").exists():
            seconds = timed(lambda: make(folder, options.photos))
            print(f"library made in {seconds:.0f} s", flush=True)
        Store.open(folder).close()  # brings an older schema up to date
        measure(folder, options.photos, options.queries)
        measure_with_words(folder, options.photos, options.queries)
        measure_columns(folder)


def measure(folder: Path, photos: int, count: int) -> None:
    """Print what selecting and searching take, and what is found."""
    alike = next(vectors(count, 99, library=photos, width=WIDTH))
    queries = np.stack([alike, like_texts(alike, 0)], axis=1).reshape(-1, WIDTH)[:count]
    with Store.open(folder, read_only=True) as store:
        ids = store.photos_below(None)
        stored = embeddings(folder, len(ids))
        everything = [one(store, query, EVERYTHING, exact=True)[0] for query in queries]
        base = statistics.median(everything[2:])
        approximate = [one(store, query, EVERYTHING)[0] for query in queries]
        print(f"{photos:,} photos, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print(f"exact search of all: {base * 1e3:.1f} ms; ", end="")
        print(f"as usual: {statistics.median(approximate[2:]) * 1e3:.1f} ms")
        print("| filter | keeps | photos | select, ms | search, ms | of exact | recall@10 |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for name, filter_of in KINDS.items():
            one(store, queries[0], filter_of(0.3, -1))  # reads the column
            for share in KEPT:
                trees = [filter_of(share, number) for number in range(count)]
                rows = [one(store, query, tree) for query, tree in zip(queries, trees, strict=True)]
                show(name, rows, [held(store, ids, tree) for tree in trees], stored, queries, base)


def measure_with_words(folder: Path, photos: int, count: int) -> None:
    """Print what filters that keep 1 % and a word in 1 % take together, in a warm process."""
    queries = next(vectors(count, 97, library=photos, width=WIDTH))
    with Store.open(folder, read_only=True) as store:
        parts = [with_words(store, query, number) for number, query in enumerate(queries)][2:]
        each = [statistics.median(part[at] for part in parts) * 1e3 for at in range(3)]
        print(
            f"1 % and a word in 1 %: {statistics.median(map(sum, parts)) * 1e3:.1f} ms (select ",
            end="",
        )
        print(f"{each[0]:.1f}, search {each[1]:.1f}, words {each[2]:.1f})", flush=True)


def with_words(store: Store, query: NDArray[np.float32], number: int) -> tuple[float, ...]:
    """Return the seconds of selecting, searching, and of finding and ranking the word."""
    with store.reading():
        started = time.process_time()
        selected = store.select(after(0.01, number + 1000))
        middle = time.process_time()
        store.search(1, query[None], 10, selected=selected)
        end = time.process_time()
        found = Written.of(store, 1, query, f"a {WORD}", scale=None, selected=selected)
        assert found.lifts, "the word is not found"
        return middle - started, end - middle, time.process_time() - end


Row = tuple[float, float, NDArray[np.int64]]  # seconds in all and of selecting, hits


def one(store: Store, query: NDArray[np.float32], tree: Filter, *, exact: bool = False) -> Row:
    """Ask one question."""
    started = time.process_time()
    with store.reading():
        selected = store.select(tree)
        middle = time.process_time()
        _, hits = store.search(1, query[None], 10, selected=selected, exact=exact)
    return time.process_time() - started, middle - started, hits[0]


def held(store: Store, ids: NDArray[np.int64], tree: Filter) -> NDArray[np.bool_]:
    """Return which photos (n,) pass."""
    selected = store.select(tree)
    return np.ones(len(ids), np.bool_) if selected is None else selected.holds(ids)


def show(
    name: str,
    rows: list[Row],
    held_by: list[NDArray[np.bool_]],
    stored: NDArray[np.float16],
    queries: NDArray[np.float32],
    base: float,
) -> None:
    """Print a line of the table."""
    shares = []
    for (_, _, hits), rows_kept, query in zip(rows, held_by, queries, strict=True):
        best = nearest(stored, np.flatnonzero(rows_kept), query)
        assert len(hits[hits >= 0]) == min(10, int(rows_kept.sum())), "not k"
        shares.append(np.isin(best, hits).mean())
    total, select = (statistics.median(row[at] for row in rows) for at in (0, 1))
    kept = int(np.median([rows_kept.sum() for rows_kept in held_by]))
    cells = (
        f"{kept / len(stored):.2%} | {kept:,} | {select * 1e3:.1f} | {(total - select) * 1e3:.1f}"
    )
    print(f"| {name} | {cells} | {total / base:.2f} | {np.mean(shares):.4f} |", flush=True)


def nearest(
    stored: NDArray[np.float16], rows: NDArray[np.int64], query: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the ids of the ten nearest of some rows, by numpy."""
    parts = [
        stored[rows[at : at + 50_000]].astype(np.float32) @ query
        for at in range(0, len(rows), 50_000)
    ]
    scores = np.concatenate(parts)
    return rows[np.argsort(-scores, kind="stable")[:10]] + 1


def embeddings(folder: Path, count: int) -> NDArray[np.float16]:
    """Return all vectors (n, width) by photo; their ids begin with 1."""
    stored = np.empty((count, WIDTH), np.float16)
    with closing(sqlite3.connect(f"file:{folder}/catalog.sqlite?mode=ro", uri=True)) as db:
        for id_, blob in db.execute("SELECT photo_id, vector FROM embeddings"):
            stored[id_ - 1] = np.frombuffer(blob, np.float16)
    return stored


COLUMNS: dict[str, Filter] = {
    "moment": after(0.3, 0),
    "camera": OneOf("camera", ("A",)),
    "width": Compare("width", ">", 3000),
    "folder": Below("/photos/2017"),
    "folder by name": Compare("folder", "=", "event 77"),
    "name": Compare("path", "has", "0123"),
    "place": Within(47.0, 8.0, 100.0),
    "camera missing": Missing("camera"),
}


def measure_columns(folder: Path) -> None:
    """Print what each column costs to read, to hold and to use, and what a single query costs."""
    with Store.open(folder) as store:
        print("| filter | by SQL, ms | first, ms | again, ms | bytes a photo |")
        print("| --- | ---: | ---: | ---: | ---: |")
        with store._db.reading():
            columns = CatalogColumns.read(store._db)
            before = columns.bytes
            for name, tree in COLUMNS.items():
                sql = timed(lambda tree=tree: store._selector._ids_passing(tree))
                first, again = (timed(lambda tree=tree: passing(tree, columns)) for _ in range(2))
                cells = f"{sql * 1e3:.0f} | {first * 1e3:.0f} | {again * 1e3:.1f}"
                grown = (columns.bytes - before) / len(columns)
                print(f"| {name} | {cells} | {grown:.1f} |", flush=True)
                before = columns.bytes
        print(f"all columns: {columns.bytes / len(columns):.0f} bytes a photo")
        with store.writing():
            store._db.write("UPDATE photos SET camera = camera WHERE id = 5")
        with store._db.reading():
            print(f"after a commit: {timed(columns.followed) * 1e3:.1f} ms")
        selecting = timed(lambda: store.select(COLUMNS["moment"] & COLUMNS["camera"]))
        print(f"from nothing, in a process that is there: {selecting * 1e3:.0f} ms")


def timed(do: Callable[[], object]) -> float:
    """Return how many seconds of the processor it takes."""
    started = time.process_time()
    do()
    return time.process_time() - started


if __name__ == "__main__":
    main()
