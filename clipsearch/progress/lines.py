"""Progress of an index run as a line now and then, where no bar can be drawn."""

from __future__ import annotations

import time
from collections.abc import Callable

from clipsearch.options import IndexProgress
from clipsearch.progress.pace import Pace

SECONDS_BETWEEN_LINES = 10.0
_OF_FILES = ("encoding", "completing", "making thumbnails")  # phases in which files are opened


class ProgressLines:
    """Says how far the run is, at most every ten seconds."""

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._clock = clock
        self._last = clock()
        self._phase = ""
        self._pace = Pace()

    def update(self, progress: IndexProgress) -> None:
        """Take note, and say it if it is time."""
        now = self._clock()
        if progress.message:
            self._say(progress.message)
        if progress.phase != self._phase:
            self._phase, self._pace = progress.phase, Pace()
        if progress.phase in _OF_FILES:
            self._pace.note(progress.done, now)
        if now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            self._say(self._line(progress))

    def _line(self, progress: IndexProgress) -> str:
        if progress.phase not in _OF_FILES or not progress.total:
            return f"{progress.phase}: {progress.done}" if progress.done else progress.phase
        files = f"{progress.done} of {progress.total} files"
        if self._pace.speed is None:
            return files
        left = self._pace.left(progress.done, progress.total)
        return f"{files}, {self._pace.speed:.1f} a second, {left}"
