"""Claim: with `clipsearch serve` a text query takes at most 0.2 s, and 15 ms inside the server.

python -m benchmarks.warm_query [PHOTOS]

A server for a library of PHOTOS (1,000) made-up embeddings with the built-in model, and one with a
model of ViT-B-32-256's size. Whole processes are timed, and questions over the socket alone, each
of other words.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cold_query import PHOTOS, PROGRAM, ROUNDS, WORDS, make_library, make_vit_b_32, timed
from clipsearch.serve_client import connected

QUESTIONS = 200
ANIMALS = ("dog", "cat", "horse", "heron", "goat")
PLACES = ("on a beach", "in the snow", "by an old wall", "at night", "behind a fence in the rain")


def main(photos: int) -> None:
    print(f"| {photos:,} photos, medians | milliseconds | processor ms | limit | of the limit |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="clipsearch-warm-") as name:
        place = Path(name)
        show("python -c pass", *processes([sys.executable, "-c", "pass"]))
        vit = str(make_vit_b_32(place / "vit-b-32"))
        for what, model in (("builtin", "builtin"), ("ViT-B-32-256", vit)):
            library = make_library(place / what, model, photos)
            with served(library):
                query = [*PROGRAM, "query", WORDS, "--library", str(library)]
                show(f"{what}: whole process", *processes(query), limit=200)
                show(f"{what}: inside the server", answers(library), limit=15)


@contextmanager
def served(library: Path) -> Iterator[None]:
    command = [*PROGRAM, "serve", "--library", str(library)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            said = server.stderr.readline()
            if not said.startswith("serving"):
                sys.exit(f"no server: {said}")
            yield
        finally:
            server.terminate()


def processes(command: list[str]) -> tuple[float, float]:
    """Return the median milliseconds of a process, and of the processor for it."""
    times = [timed(command, None) for _ in range(ROUNDS)]
    seconds, processor = (statistics.median(column) for column in zip(*times, strict=True))
    return 1000 * seconds, 1000 * processor


def answers(library: Path) -> float:
    """Return the median milliseconds from a question sent to its answer read."""
    times = []
    for number in range(QUESTIONS):
        words = f"{number} {ANIMALS[number % 5]}s {PLACES[number // 5 % 5]}"
        with connected(str(library)) as server:
            started = time.perf_counter()
            found = server and server.ask("query", words, k=10, min_score=None, include_away=False)
            times.append(1000 * (time.perf_counter() - started))
        if not found:
            sys.exit("the server did not answer")
    return statistics.median(times)


def show(
    what: str, milliseconds: float, processor: float | None = None, limit: float | None = None
) -> None:
    used = "" if processor is None else f"{processor:.0f}"
    share = f"{limit:g} | {milliseconds / limit:.2f}" if limit else " | "
    print(f"| {what} | {milliseconds:.1f} | {used} | {share} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else PHOTOS)
