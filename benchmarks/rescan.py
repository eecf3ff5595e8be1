"""Claim: looking through 100,000 unchanged files takes at most two seconds, and opens none of them.

python benchmarks/rescan.py [FILES]

The files are hard links to a few photos of examples/photos; the catalog has a row and a made-up
embedding for each. Then `clipsearch index` runs as a process, several times; for comparison a
program runs that does nothing but list the folders and ask for each file's size and time.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from clipsearch.index.changes import Embedded, KeepFolder, UseModel
from clipsearch.index.records import FACTS, FileState, ModelIdentity, PhotoMetadata
from clipsearch.index.store import Store

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "photos"
FILES = 100_000
A_FOLDER = 500
WIDTH = 512
LIMIT = 2.0
ROUNDS = 5
LISTING = """
import os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        os.stat(os.path.join(folder, name))
"""


def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="clipsearch-rescan-") as name:
        place = Path(name)
        files = list(hard_links(place / "photos", count))
        make_library(place / "library", place / "photos", files)
        run = [sys.executable, "-m", "clipsearch", "index", "--library", str(place / "library")]
        said = subprocess.run(run, capture_output=True, text=True, check=True).stdout
        if f"up to date: {count} photos" not in said.replace(",", ""):
            sys.exit(f"something had changed: {said}")
        listing = [sys.executable, "-c", LISTING, str(place / "photos")]
        bare = [timed(listing) for _ in range(ROUNDS)]
        ours = [timed(run) for _ in range(ROUNDS)]
        opened = photos_opened(run, place / "photos")
    print(f"| {count:,} files, median of {ROUNDS} | seconds | processor seconds |")
    print("| --- | ---: | ---: |")
    for what, times in (("list and stat only", bare), ("clipsearch index", ours)):
        print(f"| {what} | {median(times, 0):.2f} | {median(times, 1):.2f} |")
    print(f"| limit | {LIMIT:.2f} ({median(ours, 0) / LIMIT:.2f} of it used) | |")
    print(f"| photos opened | {opened} | |")


def hard_links(folder: Path, count: int) -> Iterator[FileState]:
    photos = sorted(EXAMPLES.rglob("*.jpg"))
    copies: dict[Path, Path] = {}
    for number in range(count):
        place = folder / f"{number // A_FOLDER:04}"
        place.mkdir(parents=True, exist_ok=True)
        path, photo = place / f"IMG_{number:06}.jpg", photos[number % len(photos)]
        original = copies.get(photo)
        if original is None or number % 30_000 < len(photos):  # file systems limit the links
            path.write_bytes(photo.read_bytes())
            copies[photo] = path
        else:
            path.hardlink_to(original)
        state = path.stat()
        yield FileState(path, state.st_size, state.st_mtime_ns)


def make_library(folder: Path, photos: Path, files: list[FileState]) -> None:
    seen = PhotoMetadata(800, 600, "JPEG", facts=FACTS)
    embeddings = np.random.default_rng(0).normal(size=(len(files), WIDTH)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    rows = [
        Embedded(file, f"{number:064x}", seen, embedding)
        for number, (file, embedding) in enumerate(zip(files, embeddings, strict=True))
    ]
    identity = ModelIdentity("builtin", "made up", "0" * 64, '{"size": 224}', WIDTH)
    with Store.open(folder, create=True) as store, store.writing():
        store.apply([KeepFolder(photos, "folder")])
        model = store.catalog.add_model(identity)
        store.apply([UseModel(model)])
        for start in range(0, len(rows), 10_000):
            store.apply(rows[start : start + 10_000], model)
        store.refresh_vectors(model)


def timed(command: list[str]) -> tuple[float, float]:
    """Return the seconds and the processor's seconds that a process takes."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, sum(after[:2]) - sum(before[:2])


def median(times: list[tuple[float, float]], which: int) -> float:
    return statistics.median(time[which] for time in times)


def photos_opened(command: list[str], photos: Path) -> int:
    """Run it once more and count the files below `photos` that it opens, by Python's audit hook."""
    code = (
        "import sys, runpy\n"
        "opened = []\n"
        "def note(event, given):\n"
        f"    if event == 'open' and str(given[0]).startswith({str(photos) + os.sep!r}):\n"
        "        opened.append(given[0])\n"
        "sys.addaudithook(note)\n"
        f"sys.argv = {command[2:]!r}\n"
        "try: runpy.run_module('clipsearch', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(len(opened))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else FILES)
