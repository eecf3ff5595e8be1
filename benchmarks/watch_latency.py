"""Measure how soon `clipsearch watch` shows a photo: from its closing to a query that finds it.

    python benchmarks/watch_latency.py [--photos 50] [--pause 1.0] [--model builtin]

Runs the real program on copies of the example photos, each made unlike the others by bytes after
the end of the picture, so that every one goes through the model. With `--pause 0` they come in one
burst. Queries go through the Python API, one after the other without a pause.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from clipsearch import Library

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "photos"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=50, metavar="N")
    parser.add_argument("--pause", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--model", default="builtin", metavar="NAME")
    parser.add_argument("--poll", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="watch-latency-") as place:
        seconds = measure(Path(place), asked.photos, asked.pause, asked.model, asked.poll)
    print(
        f"{len(seconds)} photos, a pause of {asked.pause} s between them: "
        f"median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s"
    )


def measure(place: Path, count: int, pause: float, model: str, poll: bool) -> list[float]:
    """Return the seconds from closing to being found, of each photo."""
    sources = [path.read_bytes() for path in sorted(EXAMPLES.rglob("*.jpg"))]
    photos, library = place / "photos", place / "library"
    photos.mkdir()
    (photos / "first.jpg").write_bytes(sources[0])  # so that there is something to query
    closed: dict[Path, float] = {}
    with start(photos, library, model, poll) as watch:
        wait_until_it_watches(watch)

        def write() -> None:
            for number in range(count):
                path = photos / f"{number}.jpg"
                path.write_bytes(sources[number % len(sources)] + number.to_bytes(4, "big"))
                closed[path] = time.monotonic()
                time.sleep(pause)

        writer = threading.Thread(target=write)
        writer.start()
        found = watch_results(library, photos, count)
        writer.join()
        watch.terminate()
        assert watch.wait() == 0
    return [found[path] - closed[path] for path in closed]


def start(photos: Path, library: Path, model: str, poll: bool) -> subprocess.Popen[str]:
    """Start the program."""
    command = [sys.executable, "-m", "clipsearch", "watch", photos]
    options = ["--library", library, "--model", model, *(["--poll"] if poll else [])]
    return subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)


def wait_until_it_watches(watch: subprocess.Popen[str]) -> None:
    """Read its log up to the line that says that it watches."""
    assert watch.stderr is not None
    for line in watch.stderr:
        print(line, end="", file=sys.stderr)
        if line.startswith("watching "):
            return
    raise SystemExit("clipsearch watch ended")


def watch_results(library: Path, photos: Path, count: int) -> dict[Path, float]:
    """Query until all photos are found; return when each was found first."""
    found: dict[Path, float] = {}
    with Library(library, read_only=True) as lib:
        while len(found) < count:
            for hit in lib.query("a photo", k=count + 1):
                if hit.path.parent == photos and hit.path.name != "first.jpg":
                    found.setdefault(hit.path, time.monotonic())
            time.sleep(0.02)
    return found


if __name__ == "__main__":
    main()
