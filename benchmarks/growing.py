"""What it costs to add 100 photos to a library, and to remove 100, from 1,000 photos to 1,000,000.

    python benchmarks/growing.py [--sizes 1000 10000 100000 1000000] [--rounds 60]

A round writes 100 rows, brings the index files up to date, and searches for the last of them with
a reader that has been open all the time. Now and then a round also makes a file of what has come
since the last one: the mean holds that, the median does not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from clustered_library import make_library, vectors

from clipsearch.index.changes import Change, Embedded, Gone
from clipsearch.index.records import FileState, PhotoMetadata
from clipsearch.index.store import Store

BATCH = 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--folder", type=Path, help="use this library, which it changes")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; ms for {BATCH} photos")
    print("              ---- written and files ----   ---- found by a reader ----")
    print("   photos       median      mean   slowest     median      mean   slowest   files")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as place:
            folder = options.folder or Path(place) / "library"
            if not (folder / "catalog.sqlite").exists():
                make_library(folder, size)
            with Store.open(folder) as store, store.writing():
                store.refresh_vectors(1)
                grow(store, size, options.rounds)


def grow(store: Store, size: int, rounds: int) -> None:
    """Add and remove again and again; print two lines."""
    added, looked = [], []
    new = np.concatenate(list(vectors(rounds * BATCH, 7, library=size)))
    with Store.open(store.folder, read_only=True) as reader:
        reader.search(1, new[:1], 10)
        for number in range(rounds):
            some = new[number * BATCH : (number + 1) * BATCH]
            changes = [photo(number, i, vector) for i, vector in enumerate(some)]
            added.append(changed(store, changes))
            started = time.perf_counter()
            hit = reader.search(1, some[-1:], 1)
            looked.append(time.perf_counter() - started)
            assert hit[0][0, 0] > 0.999
        show("+", size, added, looked, store.index_info(1).files)
        removed, looked = [], []
        ids = list(reader.catalog.known_files(1, [Path("/added")]).values())
        for number in range(rounds):
            some_ids = [known.photo_id for known in ids[number * BATCH : (number + 1) * BATCH]]
            removed.append(changed(store, [Gone(id_) for id_ in some_ids]))
            started = time.perf_counter()
            found = reader.search(1, new[-1:], 10)[1]
            looked.append(time.perf_counter() - started)
            assert not np.isin(found, some_ids).any()
        show("-", size, removed, looked, store.index_info(1).files)


def photo(number: int, i: int, vector: np.ndarray) -> Change:
    """Return a new photo."""
    file = FileState(Path(f"/added/{number}/{i}.jpg"), 1, 1)
    return Embedded(file, f"{number} {i}", PhotoMetadata(4, 3, "JPEG"), vector)


def changed(store: Store, changes: list[Change]) -> float:
    """Return the seconds that it takes to write changes and bring the files up to date."""
    started = time.perf_counter()
    store.apply(changes, 1)
    store.refresh_vectors(1)
    return time.perf_counter() - started


def show(sign: str, size: int, *columns: list[float] | int) -> None:
    """Print a line: of each column its median, mean and largest value."""
    cells = []
    for column in columns:
        if isinstance(column, int):
            cells.append(f"{column:7}")
        else:
            numbers = statistics.median(column), statistics.mean(column), max(column)
            cells.append("".join(f"{number * 1e3:10.1f}" for number in numbers))
    print(f"{sign}{size:10,}  {'  '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
