"""Which folders of a library are away: not deleted, but not there to be looked at.

A disk that is not mounted leaves its folder missing, or empty, or back on the disk below it; a
network share may fail or not answer at all; a link to a folder comes out of some checkouts and
syncs as a text file. Photos there are kept and left out of results.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from clipsearch.index.records import Folder

MISSING = "is not there now"
EMPTY = "is empty now"
NOT_MOUNTED = "is not mounted now"
A_FILE = "is a file now, not a folder"
A_FOLDER = "is a folder now, not a file"
NO_ANSWER = "does not answer"
SURELY_NOT_THERE = (MISSING, EMPTY, NOT_MOUNTED, A_FILE)

PATIENCE = 2.0  # seconds; a network share whose server is gone may never answer
_THREADS = 16


def away_folders(folders: Iterable[Folder], mounts: Iterable[Path]) -> dict[Path, str]:
    """Return the folders, single files and mount points that are away, each with the reason.

    An empty folder counts as away: ask the catalog whether photos are known below it. A single
    file is away with the folder that it lies in. Takes no longer than `PATIENCE` seconds.
    """
    places: dict[tuple[Path, bool], list[Path]] = {}
    for folder in folders:
        place = folder.path if folder.kind == "folder" else folder.path.parent
        places.setdefault((place, False), []).append(folder.path)
    for mount in mounts:
        places.setdefault((mount, True), []).append(mount)
    reasons = _look_at(list(places))
    return {
        path: MISSING if reason == A_FILE and path != place[0] else reason
        for place, paths in places.items()
        if (reason := reasons.get(place, NO_ANSWER)) is not None
        for path in paths
    }


def lies_below(path: Path, folders: Iterable[Path]) -> bool:
    """Tell whether a path is or lies below one of these folders."""
    return any(path == folder or folder in path.parents for folder in folders)


def replaced_folders(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the folders above these paths in whose place is something else now, each with why."""
    found: dict[Path, str] = {}
    looked_at: set[Path] = set()
    for path in paths:
        for folder in path.parents:
            if folder in looked_at or os.path.isdir(folder):  # noqa: PTH112
                looked_at.add(folder)
                break
            looked_at.add(folder)
            if os.path.lexists(folder):
                found[folder] = A_FILE if os.path.exists(folder) else "is a link to nothing"  # noqa: PTH110
    return found


def _look_at(places: list[tuple[Path, bool]]) -> dict[tuple[Path, bool], str | None]:
    """Look at all places in threads that may be left hanging; what is not in the result hangs."""
    reasons: dict[tuple[Path, bool], str | None] = {}

    def look(share: list[tuple[Path, bool]]) -> None:
        for path, is_mount in share:
            reasons[path, is_mount] = _why_away(path, is_mount=is_mount)

    shares = [places[start::_THREADS] for start in range(min(_THREADS, len(places)))]
    threads = [threading.Thread(target=look, args=(share,), daemon=True) for share in shares]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(reasons)


def _why_away(path: Path, *, is_mount: bool) -> str | None:
    try:
        state = path.stat()
        if is_mount and state.st_dev == path.parent.stat().st_dev:
            return NOT_MOUNTED
        if stat.S_ISDIR(state.st_mode):
            with os.scandir(path) as entries:
                return EMPTY if next(entries, None) is None else None
        return A_FILE  # a link that was written as text, say
    except (FileNotFoundError, NotADirectoryError):
        return MISSING
    except PermissionError:
        return None  # it is there; the scan says what is wrong with it
    except OSError as error:
        return f"can't be read ({error.strerror or error})"
