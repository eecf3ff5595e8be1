"""Progress of an index run on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clipsearch.cli.ending import say
from clipsearch.options import IndexProgress

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def showing_progress() -> Iterator[Callable[[IndexProgress], None]]:
    """Give the function that shows progress while the block runs."""
    if not sys.stderr.isatty():
        yield ProgressLines(say).update
        return
    from clipsearch.cli.progress_bar import ProgressBar

    bar = ProgressBar()
    try:
        yield bar.update
    finally:
        bar.stop()


class ProgressLines:
    """Says how far the run is, at most every ten seconds."""

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._clock = clock
        self._last = clock()
        self._began: tuple[float, int] | None = None  # when encoding began, and at which file

    def update(self, progress: IndexProgress) -> None:
        """Take note, and say it if it is time."""
        now = self._clock()
        if progress.message:
            self._say(progress.message)
        if progress.phase == "encoding" and self._began is None:
            self._began = (now, progress.done)
        if now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            self._say(self._line(progress, now))

    def _line(self, progress: IndexProgress, now: float) -> str:
        if not progress.total or self._began is None:
            return f"{progress.phase}: {progress.done}" if progress.done else progress.phase
        since, at = self._began
        speed = (progress.done - at) / max(now - since, 1e-9)
        files = f"{progress.done} of {progress.total} files"
        if not speed:
            return files
        return (
            f"{files}, {speed:.1f} a second, {(progress.total - progress.done) / speed:.0f} s left"
        )
