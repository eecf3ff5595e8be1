"""Claim: a question's words find what its picture does not, and spoil nothing.

    python -m benchmarks.asking [--val FOLDER [--every 1]] [--photos 1000000] [--folder FOLDER]

Four parts, each printed as it is done. Plain questions to examples/photos, with `builtin`: how many
put a wrong photo first, by sight alone and with words (30 that were given, and 35 of our own). With
--val, a folder of NAME.jpg with NAME.json (captions) such as ../shared/data/val unpacked: recall@10
of all captions where files are called IMG_n, where one caption of each photo is the name of another
one's file, and where it is that of its own. With --photos, a library without photos (1.8 KB of disk
a photo; one in FOLDER is used again) whose names hold words of all frequencies: what the index of
words takes to make and to keep, and what a question takes in a warm process, with words and
without. Times are of the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.clustered_library import like_texts, vectors
from benchmarks.filters import MODEL, WIDTH, make
from clipsearch import Library
from clipsearch.index.changes import Embedded, KeepFolder, UseModel
from clipsearch.index.records import FileState, PhotoMetadata
from clipsearch.index.store import Store
from clipsearch.index.word_search.word_index import INDEX
from clipsearch.searching.words import Written

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = ROOT / "tests" / "data" / "asking"
ROOT_OF_NAMES = Path("/photos")
K = 10
SCALE = 24.18  # of the logits of `builtin`
# A word, and in how many photos it is: one in so many.
WORDS = {"castle": 100_000, "tower": 1_000, "beach": 100, "snow": 25, "family": 15, "holiday": 1}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--val", type=Path, help="photos with captions")
    parser.add_argument("--every", type=int, default=1, help="ask only every N-th caption")
    parser.add_argument("--photos", type=int, default=0, help="of the library without photos")
    parser.add_argument("--folder", type=Path, help="where that is, or is to be made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        ask_plain_questions(Path(place) / "examples")
        if options.val:
            ask_captions(options.val, Path(place), options.every)
        if options.photos:
            measure_time(options.folder or Path(place) / "library", options.photos)


def ask_plain_questions(place: Path) -> None:
    """Print how many questions put a wrong photo first."""
    print("| plain questions | asked | wrong by sight | wrong with words |")
    print("| --- | ---: | ---: | ---: |")
    with Library(place, device="cpu") as library:
        library.index(ROOT / "examples" / "photos", model="builtin")
        for name in ("questions", "more_questions"):
            lines = (QUESTIONS / f"{name}.tsv").read_text().splitlines()
            asked = [line.split("\t") for line in lines]
            wrong = [
                sum(
                    library.query(text, k=1, only=only)[0].path.stem not in right.split("|")
                    for text, right in asked
                )
                for only in ("visual", None)
            ]
            print(f"| {name} | {len(asked)} | {wrong[0]} | {wrong[1]} |", flush=True)


# Captions


def ask_captions(photos: Path, place: Path, every: int) -> None:
    """Print recall@10 of every so many-th caption, with several kinds of file names."""
    files = sorted(photos.glob("*.jpg"))
    captions = [json.loads(file.with_suffix(".json").read_text())["captions"] for file in files]
    with Library(place / "captioned", device="cpu") as library:
        library.index(photos, model="builtin")
        questions = [text for some in captions for text in some][::every]
        texts = library.encode_text(questions)
    with Store.open(place / "captioned", read_only=True) as store:
        id_of = {one.photo.file.path: one.photo.id for one in store.photos_at(files)}
        images = store.vectors(1, [id_of[file] for file in files])
    owners = np.repeat(np.arange(len(files)), [len(some) for some in captions])[::every]
    compare_names(place, images, captions, texts, questions, owners)


def compare_names(
    place: Path,
    images: NDArray[np.float32],
    captions: Sequence[Sequence[str]],
    texts: NDArray[np.float32],
    questions: Sequence[str],
    owners: NDArray[np.int64],
) -> None:
    """Print recall@10 of questions where files are called so or so."""
    chance = np.random.default_rng(0)
    own = [some[chance.integers(len(some))] for some in captions]
    order = chance.permutation(len(captions))
    others = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
    names = {
        "IMG_n": [f"IMG_{n}" for n in range(len(captions))],
        "another's caption": [own[others[n]] for n in range(len(captions))],
        "its own caption": own,
    }
    print("| file names | questions | R@10 by sight | R@10 with words |")
    print("| --- | ---: | ---: | ---: |")
    for kind, of_files in names.items():
        seen, both = recalls(place / kind, images, of_files, texts, questions, owners)
        print(f"| {kind} | {len(questions):,} | {seen:.2%} | {both:.2%} |", flush=True)


def recalls(
    folder: Path,
    images: NDArray[np.float32],
    names: Sequence[str],
    texts: NDArray[np.float32],
    questions: Sequence[str],
    owners: NDArray[np.int64],
) -> tuple[float, float]:
    """Return the share of questions whose photo is among the ten, by sight and with words."""
    with Store.open(folder, create=True) as store, store.writing():
        model_id = store.add_model(MODEL)
        metadata = PhotoMetadata(4, 3, "JPEG")
        photos = [
            Embedded(
                FileState(ROOT_OF_NAMES / f"{name.replace('/', ' ')} {n}.jpg", 1, 1),
                *(str(n), metadata, image),
            )
            for n, (name, image) in enumerate(zip(names, images, strict=True))
        ]
        store.apply([KeepFolder(ROOT_OF_NAMES, "folder"), UseModel(model_id), *photos], model_id)
        found = {"seen": 0, "both": 0}
        with store.reading():
            for question, vector, owner in zip(questions, texts, owners.tolist(), strict=True):
                seen = seen_by(store, model_id, vector)
                written = written_by(store, model_id, vector, question)
                found["seen"] += owner + 1 in seen
                found["both"] += owner + 1 in written.ranked(seen)[:K]
    return found["seen"] / len(questions), found["both"] / len(questions)


def seen_by(store: Store, model_id: int, vector: NDArray[np.float32]) -> dict[int, float]:
    """Return the ten nearest with their cosines, best first."""
    scores, ids = store.search(model_id, vector[None], K)
    return dict(zip(ids[0].tolist(), scores[0].tolist(), strict=True))


def written_by(store: Store, model_id: int, vector: NDArray[np.float32], text: str) -> Written:
    """Return what holds words of a question."""
    return Written.of(store, model_id, vector, text, scale=SCALE, selected=None)


# A million photos


def measure_time(folder: Path, photos: int) -> None:
    """Print what the index of words and questions to a large library take."""
    if not (folder / "catalog.sqlite").exists():
        make(folder, photos)
    Store.open(folder).close()  # brings an older schema up to date
    name_files(folder)
    seconds = used(lambda: fill(folder))
    pages, page, size = index_pages(folder)
    print(f"{photos:,} photos, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"index of words: {seconds / photos * 1e6:.0f} µs a photo to make", end="; ")
    print(f"{pages * page / 1e6:.0f} MB, {pages * page / size:.1%} of the catalog")
    alike = next(vectors(60, 99, library=photos, width=WIDTH))
    queries = like_texts(alike, 0)
    with Store.open(folder, read_only=True) as store:
        nearest = [used(lambda query=query: store.search(1, query[None], K)) for query in queries]
        print(f"search by sight alone: {statistics.median(nearest) * 1e3:.1f} ms")
        print("| words | photos with them | find, ms | with their cosines, ms |")
        print("| --- | ---: | ---: | ---: |")
        for text in (*WORDS, "unheard", "tower beach", "castle tower beach snow family holiday"):
            row(store, text, queries)


def row(store: Store, text: str, queries: NDArray[np.float32]) -> None:
    """Print what a question with these words takes beside the search by sight."""
    found = store.find_words(text.split())
    alone = [used(lambda: store.find_words(text.split())) for _ in queries[:20]]
    whole = [used(lambda query=query: written_by(store, 1, query, text)) for query in queries[:20]]
    times = f"{statistics.median(alone) * 1e3:.1f} | {statistics.median(whole) * 1e3:.1f}"
    print(f"| {text} | {len(found.photo_ids):,} | {times} |", flush=True)


def name_files(folder: Path) -> None:
    """Give files names with words: some of WORDS, and two of a large vocabulary."""
    chance = np.random.default_rng(0)
    weights = 1 / (20 + np.arange(30_000))
    spoken = chance.choice(30_000, (1 << 20, 2), p=weights / weights.sum())

    def path_of(number: int) -> str:
        some = [word for word, each in WORDS.items() if each > 1 and number % each == 0]
        some += [f"word{as_letters(int(one))}" for one in spoken[number % len(spoken)]]
        return f"/photos/holiday/event {number // 200}/{' '.join(some)} {number}.jpg"

    with closing(sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)) as catalog:
        catalog.create_function("path_of", 1, path_of)
        catalog.execute("BEGIN")
        if catalog.execute("SELECT 1 FROM folders").fetchall():  # done before
            return
        catalog.execute("UPDATE photos SET path = path_of(id)")
        catalog.execute(
            "INSERT INTO folders (path, kind, added_at) VALUES ('/photos', 'folder', '2026-01-01')"
        )
        catalog.execute("COMMIT")


def as_letters(number: int) -> str:
    """Return a number in letters: digits in a name say nothing."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def fill(folder: Path) -> None:
    """Make the index of words."""
    with Store.open(folder) as store, store.writing():
        store.make_words_anew()


def index_pages(folder: Path) -> tuple[int, int, int]:
    """Return how many pages the index of words has, their size, and that of the catalog."""
    catalog = folder / "catalog.sqlite"
    with closing(sqlite3.connect(catalog, isolation_level=None)) as db:
        db.execute("BEGIN")
        (before,) = db.execute("PRAGMA freelist_count").fetchone()
        db.execute(f"DROP TABLE {INDEX}")
        (after,) = db.execute("PRAGMA freelist_count").fetchone()
        db.execute("ROLLBACK")
        (page,) = db.execute("PRAGMA page_size").fetchone()
    return after - before, page, catalog.stat().st_size


def used(do: Callable[[], object]) -> float:
    """Return how many seconds of processor time it takes."""
    started = time.process_time()
    do()
    return time.process_time() - started


if __name__ == "__main__":
    main()
