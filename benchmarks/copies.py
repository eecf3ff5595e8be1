"""Claim: an edit of a photo is found as the same photo, and no other photo is taken for it.

python -m benchmarks.copies [FOLDER] [--edited N] [--library DIR …] [--size N …]

Copies the photos of FOLDER (by default those of examples/photos), makes all edits of N of them
(tests/photo_edits.py; by default of 200), indexes them with `builtin`, and prints for each edit the
share that stands in one group with its photo when only photos and this edit are compared, and when
all are; and every group that holds two photos: look at them, for some may be the same indeed. The
exit code is 1 where a recall is below 0.98 or there is such a group. --library prints the groups of
the same photo of libraries that exist; --size the time for libraries of so many made-up photos.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from clipsearch import AlikeGroup, Duplicates, Library
from clipsearch.index.filters import Below, Or
from clipsearch.photos.opening import open_image
from clipsearch.photos.perceptual_hash import LETTERS, SIDE, perceptual_hash

REPOSITORY = Path(__file__).resolve().parents[1]
LEAST_RECALL = 0.98


def photos_below(folder: Path) -> list[Path]:
    """Return the files of photos below a folder, in order."""
    kinds = {".jpg", ".jpeg", ".png", ".webp", ".heic", ".tif", ".tiff"}
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)


def make_edits(photos: Sequence[Path], edited: int, place: Path) -> list[str]:
    """Copy the photos, number by number, into `photos`; into a folder for each edit its files."""
    from photo_edits import EDITS

    for folder in ("photos", *EDITS):
        (place / folder).mkdir()
    step = max(1, len(photos) // edited)
    chosen = set(range(0, len(photos), step)[:edited])
    for number, photo in enumerate(photos):
        shutil.copyfile(photo, place / "photos" / f"{number}{photo.suffix}")
        if number in chosen:
            picture = open_image(photo).image
            for name, edit in EDITS.items():
                (place / name / f"{number}.jpg").write_bytes(edit(picture))
    return list(EDITS)


def number_of(path: Path) -> int:
    return int(path.stem)


def members(group: AlikeGroup) -> list[Path]:
    return [photo.path for photo in (group.keep, *group.others)]


def recall(found: Duplicates, edits: Path) -> float:
    """Return the share of an edit's files that stand in a group with their photo."""
    wanted = {number_of(path) for path in edits.iterdir()}
    got = set()
    for group in found.same:
        paths = members(group)
        originals = {number_of(path) for path in paths if path.parent.name == "photos"}
        got |= {number_of(path) for path in paths if path.parent == edits} & originals
    return len(got & wanted) / len(wanted)


def mixed(found: Duplicates) -> list[list[int]]:
    """Return the groups that hold several photos, by their numbers."""
    groups = (sorted({number_of(path) for path in members(group)}) for group in found.same)
    return [numbers for numbers in groups if len(numbers) > 1]


def measure(folder: Path, edited: int) -> bool:
    """Print recall and false groups; return whether all is well."""
    sys.path.insert(0, str(REPOSITORY / "tests"))
    photos = photos_below(folder)
    with tempfile.TemporaryDirectory(prefix="clipsearch-copies-") as name:
        place = Path(name)
        edits = make_edits(photos, edited, place)
        with Library(place / "library") as library:
            for part in ("photos", *edits):
                library.index(place / part, model="builtin", progress=False)
            together = library.duplicates()
            distinct = library.duplicates(in_=place / "photos")
            print(f"| edit, of {len(list((place / edits[0]).iterdir()))} | alone | all together |")
            print("| --- | ---: | ---: |")
            least = 1.0
            false = {tuple(numbers) for numbers in (*mixed(distinct), *mixed(together))}
            for edit in edits:
                both = Or((Below(str(place / "photos")), Below(str(place / edit))))
                found = library.duplicates(filters=both)
                false |= {tuple(numbers) for numbers in mixed(found)}
                alone = recall(found, place / edit)
                least = min(least, alone)
                print(f"| {edit} | {alone:.3f} | {recall(together, place / edit):.3f} |")
    print(f"| least | {least:.3f} | |")
    print(f"groups of several of {len(photos):,} photos: {len(false)}")
    for numbers in sorted(false):
        print("  ", *(photos[number] for number in numbers))
    return least >= LEAST_RECALL and not false


def show_groups(folder: Path) -> None:
    """Print the groups of the same photo of a library that exists."""
    with Library(folder, create=False, read_only=True) as library:
        started, busy = time.perf_counter(), time.process_time()
        found = library.duplicates()
        took = (
            f"{time.perf_counter() - started:.1f} s, processor {time.process_time() - busy:.1f} s"
        )
    print(f"{folder}: {found!r}, {found.incomplete:,} incomplete, {took}")
    for group in found.same:
        print("  ", *members(group))


def made_up_hashes(count: int) -> Iterator[str]:
    """Yield hashes of pictures as photos are: smooth, lighter above, each unlike the others."""
    random = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE), indexing="ij"))
    falling = 1 / np.maximum(frequency, 1 / SIDE) ** 1.2
    light = np.linspace(1, -1, SIDE)[:, None] * random.uniform(0, 1.5, (count, 1, 1))
    for start in range(0, count, 4096):
        some = random.standard_normal((min(4096, count - start), SIDE, SIDE))
        smooth = np.fft.irfft2(np.fft.rfft2(some) * falling, s=(SIDE, SIDE))
        smooth = smooth / smooth.std(axis=(1, 2), keepdims=True) + light[start : start + 4096]
        low = smooth.min(axis=(1, 2), keepdims=True)
        high = smooth.max(axis=(1, 2), keepdims=True)
        levels = ((smooth - low) / (high - low) * (len(LETTERS) - 1)).round().astype(int)
        for picture in levels.reshape(len(some), -1):
            yield "".join(LETTERS[level] for level in picture)


def time_at(size: int) -> None:
    """Print the time for a library of so many made-up photos, of which each hundredth is a copy."""
    from benchmarks.clustered_library import make_library

    with tempfile.TemporaryDirectory(prefix="clipsearch-copies-") as name:
        folder = Path(name) / "library"
        make_library(folder, size)
        hashes = list(made_up_hashes(size))
        hashes[1::100] = hashes[::100][: len(hashes[1::100])]
        with closing(sqlite3.connect(folder / "catalog.sqlite")) as db, db:
            rows = ((text, number) for number, text in enumerate(hashes, 1))
            db.executemany("UPDATE photos SET perceptual_hash = ? WHERE id = ?", rows)
        from clipsearch.index.store import Store

        with Store.open(folder) as store, store.writing():
            store.refresh_vectors(1)
        with Library(folder, create=False, read_only=True) as library:
            started, busy = time.perf_counter(), time.process_time()
            found = library.duplicates()
            seconds = time.perf_counter() - started
            busy = time.process_time() - busy
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"| {size:,} | {len(found.same):,} | {seconds:.0f} | {busy:.0f} | {most:.1f} |")


def hashing_cost(photos: Iterable[Path]) -> None:
    """Print what a hash costs, against opening the photo and scaling it for the model."""
    from clipsearch.photos.preprocessing import Preprocessing

    model = Preprocessing(256, 256)
    opening = hashing = 0.0
    count = 0
    for path in photos:
        data = path.read_bytes()
        started = time.process_time()
        image: Image.Image = open_image(data, shrink_to=256).image
        model.pixels(image).tobytes()
        between = time.process_time()
        perceptual_hash(image)
        opening += between - started
        hashing += time.process_time() - between
        count += 1
    opened, hashed = opening / count * 1e3, hashing / count * 1e3
    print(f"ms a photo: opened and scaled {opened:.2f}, hash {hashed:.2f}")


def main() -> None:
    """Measure and print what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--edited", type=int, default=200)
    parser.add_argument("--library", type=Path, nargs="+", default=[])
    parser.add_argument("--size", type=int, nargs="+", default=[])
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for folder in options.library:
        show_groups(folder)
    if options.size:
        print("| photos | groups | seconds | processor seconds | GB at most |")
        print("| ---: | ---: | ---: | ---: | ---: |")
    for size in options.size:
        time_at(size)
    if options.library or options.size:
        return
    folder = options.folder or REPOSITORY / "examples" / "photos"
    hashing_cost(photos_below(folder)[:200])
    sys.exit(0 if measure(folder, options.edited) else 1)


if __name__ == "__main__":
    main()
