"""Claim: with `clipsearch serve` a text query takes at most 0.2 s, and 15 ms inside the server.

python -m benchmarks.warm_query [PHOTOS]

A server for a library of PHOTOS (1,000) made-up embeddings with the built-in model, and one with a
model of ViT-B-32-256's size. Whole processes are timed, and questions over the socket alone, each
of other words, as from Python and as the program asks them; how much of that the text tower takes,
in this process; and at last a whole process that finds no server.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cold_query import PHOTOS, PROGRAM, ROUNDS, WORDS, make_library, make_vit_b_32, timed
from clipsearch import Library, SearchOptions
from clipsearch.serving.client import connected

QUESTIONS = 200
PLAIN, AS_SHOWN = SearchOptions(), SearchOptions(relevant=True, fold=True)  # as the program asks
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
            with served(library) as server:
                query = [*PROGRAM, "query", WORDS, "--library", str(library)]
                show(f"{what}: whole process", *processes(query), limit=200)
                show(f"{what}: inside the server", *answers(library, server.pid, PLAIN), limit=15)
                show(f"{what}: cut and folded", *answers(library, server.pid, AS_SHOWN))
            show(f"{what}: of that, the text tower", *encoded(library))
            show(f"{what}: whole process without a server", *processes(query), limit=1000)


@contextmanager
def served(library: Path) -> Iterator[subprocess.Popen[str]]:
    command = [*PROGRAM, "serve", "--library", str(library)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            said = server.stderr.readline()
            if not said.startswith("serving"):
                sys.exit(f"no server: {said}")
            yield server
        finally:
            server.terminate()


def processes(command: list[str]) -> tuple[float, float]:
    """Return the median milliseconds of a process, and of the processor for it."""
    times = [timed(command, None) for _ in range(ROUNDS)]
    seconds, processor = (statistics.median(column) for column in zip(*times, strict=True))
    return 1000 * seconds, 1000 * processor


def answers(library: Path, pid: int, options: SearchOptions) -> tuple[float, float | None]:
    """Return the median milliseconds from a question sent to its answer read, and the mean of the
    server's processor.
    """
    times = []
    before = processor_seconds(pid)
    for words in questions():
        with connected(library) as server:
            started = time.perf_counter()
            found = server and server.ask("query", words, options)
            times.append(1000 * (time.perf_counter() - started))
        if found is None:
            sys.exit("the server did not answer")
    after = processor_seconds(pid)
    used = None if before is None or after is None else 1000 * (after - before) / QUESTIONS
    return statistics.median(times), used


def encoded(library: Path) -> tuple[float, float]:
    """Return the median milliseconds that a text takes to become a vector, and of the processor."""
    times = []
    with Library(library, read_only=True) as own:
        own.encode_text([WORDS])
        for words in questions():
            started, processor = time.perf_counter(), time.process_time()
            own.encode_text([words])
            times.append((time.perf_counter() - started, time.process_time() - processor))
    seconds, processors = (statistics.median(column) for column in zip(*times, strict=True))
    return 1000 * seconds, 1000 * processors


def questions() -> Iterator[str]:
    for number in range(QUESTIONS):
        yield f"{number} {ANIMALS[number % 5]}s {PLACES[number // 5 % 5]}"


def processor_seconds(pid: int) -> float | None:
    """Return what a process has used of the processor, where the system tells."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def show(
    what: str, milliseconds: float, processor: float | None = None, limit: float | None = None
) -> None:
    used = "" if processor is None else f"{processor:.0f}"
    share = f"{limit:g} | {milliseconds / limit:.2f}" if limit else " | "
    print(f"| {what} | {milliseconds:.1f} | {used} | {share} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else PHOTOS)
