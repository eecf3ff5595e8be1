"""Which files below a folder are photos."""

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TypeAlias

from clipsearch.errors import InvalidInput
from clipsearch.index.changes import SeenFile, SeenSidecar
from clipsearch.index.paths import escape
from clipsearch.index.records import FileState
from clipsearch.photos.exclusions import IGNORE_FILE, Exclusions, IgnoreFileUnreadable, Rules
from clipsearch.photos.formats import begins_like_a_picture, is_image_name
from clipsearch.photos.sidecars import beside, is_sidecar_name, matched
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


@dataclass(frozen=True)
class IgnoreFile:
    """A file that says what of its folder is left out."""

    file: FileState


Found: TypeAlias = FileState | ScanProblem | MountPoint | IgnoreFile
Seen: TypeAlias = SeenFile | SeenSidecar | ScanProblem | MountPoint | IgnoreFile

_NO_RULES = Rules(frozenset())


def find_photos(root: Path, *, include_hidden: bool = False) -> Iterator[Found]:
    """Yield what `scan_photos` does but sidecars, with each photo's path as a `Path`."""
    for entry in scan_photos(root, include_hidden=include_hidden):
        if not isinstance(entry, SeenSidecar):
            yield entry.state() if isinstance(entry, SeenFile) else entry


def scan_photos(
    root: Path, *, include_hidden: bool = False, exclusions: Exclusions | None = None
) -> Iterator[Seen]:
    """Yield each photo at or below `root`, each entry that can't be looked at, and mount points.

    Sidecars come with the photos that they lie beside.
    A single file is yielded whatever its name. In a folder the suffix decides, and hidden, trash
    and thumbnail folders are left out unless `include_hidden`, always what `exclusions` and ignore
    files (which are yielded, too) leave out. Links are followed, but each folder is seen once,
    under its real path if that lies below `root`, and not if that is left out. Paths are absolute,
    with links in `root` kept as named; the order depends on the names alone.
    """
    place = root
    try:
        place = absolute(root)
        rules = _NO_RULES if exclusions is None else exclusions.at(place)
        if rules is None:
            return
        state = place.stat()
    except IgnoreFileUnreadable as error:
        yield ScanProblem(error.folder, str(error))
        return
    except (OSError, ValueError, InvalidInput) as error:
        yield ScanProblem(place, _reason(error))
        return
    if stat.S_ISDIR(state.st_mode):
        yield from _walk(str(place), include_hidden, rules)
    elif stat.S_ISREG(state.st_mode):
        yield SeenFile(escape(str(place)), state.st_size, state.st_mtime_ns)
        yield from beside(str(place))
    else:
        yield ScanProblem(place, _special(state.st_mode))


def _walk(root: str, include_hidden: bool, rules: Rules) -> Iterator[Seen]:
    """Walk with an own stack, since folders can be nested deeper than Python calls."""
    above = os.stat(os.path.dirname(root)).st_dev  # noqa: PTH116, PTH120
    folders = [(root, above, rules)]  # with the file system of the folder that each lies in
    # Links come after all real folders, so that a real path wins over a link.
    linked: deque[tuple[str, int, Rules]] = deque()
    seen: set[tuple[int, int]] = set()
    left_out: set[Path] = set()  # real paths
    while folders or linked:
        folder, above, rules = folders.pop() if folders else linked.popleft()
        try:
            state = os.stat(folder)  # noqa: PTH116
            if (state.st_dev, state.st_ino) in seen or _leads_to(left_out, folder):
                continue
            seen.add((state.st_dev, state.st_ino))
            here = _look_through(folder, include_hidden, rules)
        except IgnoreFileUnreadable as error:
            yield ScanProblem(error.folder, str(error))
            continue
        except OSError as error:
            yield ScanProblem(Path(folder), _reason(error))
            continue
        if state.st_dev != above:
            yield MountPoint(Path(folder))
        yield from here.found
        left_out.update(Path(os.path.realpath(path)) for path in here.left_out)
        linked.extend((path, state.st_dev, here.rules) for path in here.links)
        folders.extend((path, state.st_dev, here.rules) for path in reversed(here.below))


def _leads_to(left_out: set[Path], folder: str) -> bool:
    """Tell whether a link leads to or into a folder that is left out."""
    if not left_out or not os.path.islink(folder):  # noqa: PTH114
        return False
    real = Path(os.path.realpath(folder))
    return not left_out.isdisjoint((real, *real.parents))


class _Look:
    """What lies in one folder."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules  # for what lies in it
        self.found: list[Seen] = []
        self.below: list[str] = []  # folders
        self.links: list[str] = []  # to folders
        self.left_out: list[str] = []  # folders


def _look_through(folder: str, include_hidden: bool, rules: Rules) -> _Look:
    """Look through one folder; raises OSError or IgnoreFileUnreadable."""
    in_library = _is_mac_library(folder)
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=_name)
    look = _Look(rules)
    place = bisect_left(entries, IGNORE_FILE, key=_name)
    if place < len(entries) and entries[place].name == IGNORE_FILE:
        look.rules = rules.with_ignore_file(folder)
        look.found += _ignore_file(entries[place], look.rules.bad_lines)
    check = bool(look.rules)
    sidecars: list[os.DirEntry[str]] = []
    for entry in entries:
        name = entry.name
        if not include_hidden and not _is_wanted(name, in_library):
            continue
        if _is_folder(entry):
            if check and look.rules.leaves_out(entry.path, is_folder=True):
                look.left_out.append(entry.path)
            else:
                (look.links if entry.is_symlink() else look.below).append(entry.path)
        elif check and look.rules.leaves_out(entry.path, is_folder=False):
            continue
        elif is_image_name(name):
            look.found.append(_look_at(entry))
        elif is_sidecar_name(name):
            sidecars.append(entry)
        else:
            look.found += _broken_link(entry)
    look.found += _sidecars(look.found, sidecars)
    return look


def _sidecars(found: Sequence[Seen], entries: Sequence[os.DirEntry[str]]) -> list[Seen]:
    """Return the sidecars among the entries of a folder, for the photos that were found there."""
    photos = [one for one in found if isinstance(one, SeenFile)] if entries else []
    return list(matched(photos, entries))


def _ignore_file(entry: os.DirEntry[str], bad_lines: Iterable[int]) -> Iterator[Seen]:
    state = entry.stat()
    yield IgnoreFile(FileState(Path(entry.path), state.st_size, state.st_mtime_ns))
    for number in bad_lines:
        yield ScanProblem(Path(entry.path), f"line {number} is no pattern: passed over")


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


def is_picture(path: Path) -> bool:
    """Tell whether a file that was named is one by its name or its first bytes, or can't be told.

    A folder is looked through by names alone; a photo without a suffix has to be named.
    """
    if is_image_name(path.name):
        return True
    try:
        with path.open("rb") as file:
            return begins_like_a_picture(file.read(4096))
    except OSError:
        return True


def finds(root: Path, path: Path) -> bool:
    """Tell whether `find_photos(root)` would look at a path below `root`, if it exists."""
    below = root in path.parents and not is_skipped(root, path)
    return below and (is_image_name(path.name) or not path.is_file())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle of links; _look_at says so
        return False


def _broken_link(entry: os.DirEntry[str]) -> list[Seen]:
    """Return the problem of a link that leads nowhere and may have led to a folder."""
    if "." in entry.name or not entry.is_symlink():
        return []
    try:
        entry.stat()
    except OSError:
        return [ScanProblem(Path(entry.path), "broken link")]
    return []


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
