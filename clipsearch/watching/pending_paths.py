"""Changed paths that wait until they are worth an update: what is complete, gone, or a folder.

Nothing here knows of a library. The clock is the caller's, in seconds; what lies at a path is told
by a function, so that every rule can be tried without a disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from clipsearch.watching.being_written import is_held_open

QUIET = 0.4  # seconds without a change after which a closed file is complete
QUIET_UNSEEN = 2.0  # the same where the system can't say whether a file is closed
PATIENCE = 600.0  # seconds without a change after which an open or empty file is taken as it is
YOUNG = 60.0  # seconds since its last change in which a file may be half of one; clocks differ
PAUSE = 0.3  # seconds without news that end a burst
LONGEST_WAIT = 1.5  # seconds that complete files wait for the end of a burst
HOLD = 1.5  # seconds that a removal waits: what was moved must not go before it comes
LONGEST_HOLD = 3.0  # the same while other files are not yet complete


@dataclass(frozen=True)
class FileLook:
    """A file as it is now."""

    size: int
    mtime_ns: int
    held: bool | None  # open for writing somewhere; None: the system can't say


class Place(Enum):
    """What lies at a path, if it is no regular file."""

    FOLDER = "a folder"
    NOTHING = "nothing"


Look = FileLook | Place


class Stage(Enum):
    """How far a pending path is."""

    SETTLING = "complete soon, if it stays as it is"
    HELD = "being written, or empty so far"
    READY = "complete, or a folder"
    GONE = "not there"


@dataclass
class _Pending:
    since: float  # when it was last seen to change
    look: Look | None = None
    stage: Stage = Stage.SETTLING
    ready_since: float = 0.0


def look_at(path: Path) -> Look:
    """Return what lies at a path now."""
    try:
        state = path.stat()
        if stat.S_ISDIR(state.st_mode):
            return Place.FOLDER
        held = is_held_open(path) if stat.S_ISREG(state.st_mode) else None
    except (FileNotFoundError, NotADirectoryError):
        return Place.NOTHING if not os.path.lexists(path) else FileLook(-1, -1, None)
    except OSError:  # not ours to read: the update says so
        return FileLook(-1, -1, None)
    return FileLook(state.st_size, state.st_mtime_ns, held)


def stage_of(look: Look, quiet: float) -> Stage:
    """Return the stage of a path that has not changed for `quiet` seconds."""
    if isinstance(look, Place):
        return Stage.READY if look is Place.FOLDER else Stage.GONE
    if quiet >= PATIENCE:
        return Stage.READY
    if look.held or look.size == 0:  # browsers put an empty file in the place of a download
        return Stage.HELD
    enough = QUIET_UNSEEN if look.held is None else QUIET
    return Stage.READY if quiet >= enough else Stage.SETTLING


def seems_unfinished(look: FileLook, wall_clock: float) -> bool:
    """Tell whether a file seen for the first time should be watched before it is taken."""
    age = wall_clock - look.mtime_ns / 1e9
    if look.held or look.size == 0:
        return age < PATIENCE
    return look.held is None and abs(age) < YOUNG


class PendingPaths:
    """The changed paths that no update has had yet."""

    def __init__(self, look: Callable[[Path], Look] = look_at) -> None:
        self._look = look
        self._pending: dict[Path, _Pending] = {}
        self._last_news = 0.0

    def __len__(self) -> int:
        return len(self._pending)

    def notice(self, path: Path, now: float) -> None:
        """Take note that something happened at a path."""
        self._last_news = now
        self._pending.setdefault(path, _Pending(now)).since = now

    def wait_for(self, path: Path, now: float, wall_clock: float) -> bool:
        """Tell whether a file that was come across is incomplete; if so it is pending from now."""
        look = self._look(path)
        if isinstance(look, Place) or not seems_unfinished(look, wall_clock):
            return False
        self._pending.setdefault(path, _Pending(now))
        return True

    def drop_below(self, folder: Path) -> None:
        """Forget what is pending at or below a folder."""
        for path in [p for p in self._pending if p == folder or folder in p.parents]:
            del self._pending[path]

    def take_due(self, now: float) -> list[Path]:
        """Return, and no longer keep, the paths that an update should have now; often none."""
        for path, entry in self._pending.items():
            self._examine(path, entry, now)
        hold = self._hold()
        due = {
            path: entry.ready_since
            for path, entry in self._pending.items()
            if entry.stage is Stage.READY
            or (entry.stage is Stage.GONE and now - entry.since >= hold)
        }
        if not due or not self._burst_is_over(now, now - min(due.values())):
            return []
        for path in due:
            del self._pending[path]
        return outermost(due)

    def _examine(self, path: Path, entry: _Pending, now: float) -> None:
        look = self._look(path)
        if entry.look is not None and look != entry.look:
            entry.since = now
        stage = stage_of(look, now - entry.since)
        if stage is not entry.stage:
            entry.ready_since = now
        entry.look, entry.stage = look, stage

    def _hold(self) -> float:
        """Return how long a removal waits: until the new place of what was moved is known."""
        stages = {entry.stage for entry in self._pending.values()}
        if Stage.SETTLING in stages:
            return LONGEST_HOLD
        return PAUSE if Stage.READY in stages else HOLD

    def _burst_is_over(self, now: float, waiting: float) -> bool:
        return now - self._last_news >= PAUSE or waiting >= LONGEST_WAIT


def outermost(paths: Iterable[Path]) -> list[Path]:
    """Return the paths, sorted, without those that lie below another of them."""
    among = set(paths)
    return sorted(path for path in among if among.isdisjoint(path.parents))
