"""Claim: small pictures cost 0.04 s a photo, 0.09 of 12 megapixels; in a pipe there are none.

python -m benchmarks.seeing

The program is started anew for each figure, over a library of the example photos (0.8 megapixels,
0.5 at most) and of the same scaled to 12 megapixels, as cameras write them; ten hits. Processor
time, with that of the decoding processes, the median of ROUNDS rounds in turn, beside the same
query without pictures; and how many kilobytes the terminal is sent. Pages and copies likewise.
"""

import os
import pty
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from clipsearch import Library

EXAMPLES = Path(__file__).parents[1] / "examples" / "photos"
ROUNDS = 5
PHOTOS = 10
LARGE = (4000, 3000)
ENVIRONMENT = {"COLUMNS": "100", "CLIPSEARCH_NO_SERVER": "1", "OMP_NUM_THREADS": "1"}
TERMINALS = {
    "no pictures": ({"TERM": "xterm-256color"}, []),
    "blocks": ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, ["--thumbnails"]),
    "kitty": ({"TERM": "xterm-kitty"}, []),
    "iTerm2": ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, []),
    "sixel": ({"TERM": "foot"}, []),
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="clipsearch-seeing-") as name:
        place = Path(name)
        for size, photos in (("examples", small(place)), ("12 megapixels", large(place))):
            library = place / f"{photos.name}-library"
            with Library(library) as made:
                made.index(photos, model="builtin")
            measure(size, library, place)


def small(place: Path) -> Path:
    shutil.copytree(EXAMPLES, place / "small")
    return place / "small"


def large(place: Path) -> Path:
    folder = place / "large"
    folder.mkdir()
    for path in sorted(EXAMPLES.rglob("*.jpg"))[::4][:PHOTOS]:
        with Image.open(path) as image:
            image.convert("RGB").resize(LARGE).save(folder / path.name, quality=92)
    return folder


def measure(size: str, library: Path, place: Path) -> None:
    """Print what each way of seeing costs."""
    page, copies = place / "page.html", place / "copies"
    cases = {name: (environment, more, True) for name, (environment, more) in TERMINALS.items()}
    cases |= {
        "in a pipe": ({}, [], False),
        "--html": ({}, ["--html", str(page)], False),
        "--copy-to": ({}, ["--copy-to", str(copies)], False),
    }
    taken: dict[str, list[float]] = {name: [] for name in cases}
    sent: dict[str, int] = {}
    for _ in range(ROUNDS):
        for name, (environment, more, on_a_terminal) in cases.items():
            shutil.rmtree(copies, ignore_errors=True)
            command = ["query", "an animal", "--all", "--library", str(library), *more]
            seconds, sent[name] = run(command, environment, on_a_terminal=on_a_terminal)
            taken[name].append(seconds)
    print(f"\n{size}: {PHOTOS} photos, processor seconds (median of {ROUNDS}), kilobytes written")
    for name, seconds_of in taken.items():
        least = statistics.median(taken["no pictures" if cases[name][2] else "in a pipe"])
        seconds = statistics.median(seconds_of)
        print(f"{name:12} {seconds:6.2f} {seconds - least:+6.2f} {sent[name] / 1000:8.0f}")
    if page.exists():
        print(f"the page: {page.stat().st_size / 1000:.0f} kB")


def run(
    command: list[str], environment: dict[str, str], *, on_a_terminal: bool
) -> tuple[float, int]:
    """Return the processor seconds of the program, and how many bytes it wrote."""
    ours, theirs = pty.openpty() if on_a_terminal else os.pipe()
    named = ("TERM", "COLORTERM", "KITTY", "LC_TERMINAL", "NO_COLOR", "TMUX", "KONSOLE", "STY")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(named)}
    process = subprocess.Popen(
        [sys.executable, "-m", "clipsearch", *command],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**kept, **ENVIRONMENT, **environment},
    )
    os.close(theirs)
    written = 0
    while chunk := read(ours):
        written += len(chunk)
    os.close(ours)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime, written


def read(end: int) -> bytes:
    try:
        return os.read(end, 1 << 16)
    except OSError:  # how Linux says that the other side of a terminal has closed
        return b""


if __name__ == "__main__":
    main()
