"""Which files below a folder are photos."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TypeAlias

from clipsearch.errors import InvalidInput
from clipsearch.index.changes import SeenFile
from clipsearch.index.paths import escape
from clipsearch.index.records import FileState
from clipsearch.photos.formats import is_image_name
from clipsearch.settings import absolute

# Folders that hold no photos of their own, in lower case. Names with a leading dot (.git,
# .Trash-1000, .thumbnails, .@__thumb) are hidden and need no entry here.
_SKIPPED_FOLDERS = frozenset(
    {
        "@eadir",  # Synology's thumbnails
        "node_modules",
        "$recycle.bin",
        "#recycle",
        "@recycle",
        "recycler",
        "trash",
        "system volume information",
        "lost+found",
        "thumbnails",
        "thumbs",
        "__macosx",  # shadows of the real files, left by macOS in zip archives
    }
)
_SKIPPED_FOLDER_SUFFIXES = (".lrdata",)  # Lightroom's previews

# Photo libraries of macOS keep the originals in one of these folders; the rest is derived.
_MAC_LIBRARY_SUFFIXES = (".photoslibrary", ".photolibrary", ".aplibrary", ".migratedphotolibrary")
_MAC_ORIGINALS = frozenset({"originals", "masters"})

_name = attrgetter("name")


@dataclass(frozen=True)
class ScanProblem:
    """A file or folder that can't be looked at; what lies below a folder was not seen."""

    path: Path
    reason: str


@dataclass(frozen=True)
class MountPoint:
    """A folder (or link to one) that shows another file system than the folder it lies in."""

    path: Path


Found: TypeAlias = FileState | ScanProblem | MountPoint
Seen: TypeAlias = SeenFile | ScanProblem | MountPoint


def find_photos(root: Path, *, include_hidden: bool = False) -> Iterator[Found]:
    """Yield what `scan_photos` does, with each photo's path as a `Path`."""
    for entry in scan_photos(root, include_hidden=include_hidden):
        yield entry.state() if isinstance(entry, SeenFile) else entry


def scan_photos(root: Path, *, include_hidden: bool = False) -> Iterator[Seen]:
    """Yield each photo at or below `root`, each entry that can't be looked at, and mount points.

    A single file is yielded whatever its name. In a folder the suffix decides, and hidden, trash
    and thumbnail folders are left out unless `include_hidden`. Links are followed, but each folder
    is seen once, under its real path if that lies below `root`. Paths are absolute, with links in
    `root` kept as named; the order depends on the names alone.
    """
    place = root
    try:
        place = absolute(root)
        state = place.stat()
    except (OSError, ValueError, InvalidInput) as error:
        yield ScanProblem(place, _reason(error))
        return
    if stat.S_ISDIR(state.st_mode):
        yield from _walk(str(place), include_hidden)
    elif stat.S_ISREG(state.st_mode):
        yield SeenFile(escape(str(place)), state.st_size, state.st_mtime_ns)
    else:
        yield ScanProblem(place, _special(state.st_mode))


def _walk(root: str, include_hidden: bool) -> Iterator[Seen]:
    """Walk with an own stack, since folders can be nested deeper than Python calls."""
    above = os.stat(os.path.dirname(root)).st_dev  # noqa: PTH116, PTH120
    folders = [(root, above)]  # with the file system of the folder that each lies in
    # Links come after all real folders, so that a real path wins over a link.
    linked: deque[tuple[str, int]] = deque()
    seen: set[tuple[int, int]] = set()
    while folders or linked:
        folder, above = folders.pop() if folders else linked.popleft()
        try:
            state = os.stat(folder)  # noqa: PTH116
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            found, below, links = _look_through(folder, include_hidden)
        except OSError as error:
            yield ScanProblem(Path(folder), _reason(error))
            continue
        if state.st_dev != above:
            yield MountPoint(Path(folder))
        yield from found
        linked.extend((path, state.st_dev) for path in links)
        folders.extend((path, state.st_dev) for path in reversed(below))


def _look_through(folder: str, include_hidden: bool) -> tuple[list[Seen], list[str], list[str]]:
    """Return the photos and problems in a folder, the folders in it, and the links to folders."""
    found: list[Seen] = []
    below: list[str] = []
    links: list[str] = []
    in_library = _is_mac_library(folder)
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=_name)
    for entry in entries:
        name = entry.name
        if not include_hidden and not _is_wanted(name, in_library):
            continue
        if _is_folder(entry):
            (links if entry.is_symlink() else below).append(entry.path)
        elif is_image_name(name):
            found.append(_look_at(entry))
        elif "." not in name and _is_broken_link(entry):
            found.append(ScanProblem(Path(entry.path), "broken link"))
    return found, below, links


def _is_mac_library(folder: str) -> bool:
    return folder.lower().endswith(_MAC_LIBRARY_SUFFIXES)


def _is_wanted(name: str, in_mac_library: bool) -> bool:
    name = name.lower()
    if in_mac_library:
        return name in _MAC_ORIGINALS
    return not (
        name.startswith(".") or name in _SKIPPED_FOLDERS or name.endswith(_SKIPPED_FOLDER_SUFFIXES)
    )


def is_skipped(root: Path, path: Path) -> bool:
    """Tell whether `find_photos(root)` skips `path` for its name or a folder's between the two."""
    folder = str(root)
    for name in path.relative_to(root).parts:
        if not _is_wanted(name, _is_mac_library(folder)):
            return True
        folder = os.path.join(folder, name)  # noqa: PTH118
    return False


def finds(root: Path, path: Path) -> bool:
    """Tell whether `find_photos(root)` would look at a path below `root`, if it exists."""
    below = root in path.parents and not is_skipped(root, path)
    return below and (is_image_name(path.name) or not path.is_file())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle of links; _look_at says so
        return False


def _is_broken_link(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return False
    try:
        entry.stat()
    except OSError:
        return True
    return False


def _look_at(entry: os.DirEntry[str]) -> SeenFile | ScanProblem:
    try:
        state = entry.stat()
    except OSError as error:
        reason = "broken link" if entry.is_symlink() else _reason(error)
        return ScanProblem(Path(entry.path), reason)
    if not stat.S_ISREG(state.st_mode):
        return ScanProblem(Path(entry.path), _special(state.st_mode))
    return SeenFile(escape(entry.path), state.st_size, state.st_mtime_ns)


def _reason(error: OSError | ValueError | InvalidInput) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file or folder"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)


def _special(mode: int) -> str:
    kinds = {
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return f"not a regular file but {kinds.get(stat.S_IFMT(mode), 'something else')}"
