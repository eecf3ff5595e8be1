"""How far the run is that writes to a library, for other processes to read.

A file beside the catalog, written now and then while a run goes on, and gone at its end. Nobody
depends on it: one that can't be written is not, and one that a killed run left is known by its
process.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from clipsearch.options import IndexProgress

_FILE = "progress.json"
_SECONDS_BETWEEN = 0.5  # a run that is done sooner says nothing
_SECONDS_STALE = 300.0  # a process that is as silent has most likely taken over the number
_MOST_BYTES = 4096

Progress = Callable[[IndexProgress], None]


class RunUnderWay(NamedTuple):
    """How far another process's run is."""

    phase: str  # as of IndexProgress
    done: int  # files
    total: int  # files; 0 while unknown
    process: int


@contextmanager
def published(folder: Path, progress: Progress) -> Iterator[Progress]:
    """Give a function that tells `progress`, and whoever reads the library's folder."""
    file = folder / _FILE
    last = time.monotonic()
    written = False

    def tell(now: IndexProgress) -> None:
        nonlocal last, written
        progress(now)
        if time.monotonic() - last >= _SECONDS_BETWEEN:
            last = time.monotonic()
            written |= _write(file, now)

    try:
        yield tell
    finally:
        if written:
            with suppress(OSError):
                file.unlink()


def _write(file: Path, now: IndexProgress) -> bool:
    said = {"phase": now.phase, "done": now.done, "total": now.total, "process": os.getpid()}
    aside = file.with_suffix(".new")
    try:
        aside.write_text(json.dumps(said), encoding="ascii")
        aside.replace(file)
    except OSError:  # the disk is full, say: the run itself will tell
        return False
    return True


def run_under_way(folder: Path) -> RunUnderWay | None:
    """Return how far the run is that writes to a library now; None if there is none to tell of."""
    try:
        with (folder / _FILE).open("rb") as stream:
            age = time.time() - os.fstat(stream.fileno()).st_mtime
            said = json.loads(stream.read(_MOST_BYTES))
        run = RunUnderWay(
            str(said["phase"]), int(said["done"]), int(said["total"]), int(said["process"])
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return run if age < _SECONDS_STALE and _lives(run.process) else None


def _lives(process: int) -> bool:
    if os.name == "nt":  # signal 0 would end it there
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return process > 0
