"""Where changes of files come from: the system's events, or looking again and again.

Both give paths under the names that `find_photos` gives them, and nothing that it skips.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clipsearch.index.changes import SeenFile, SeenSidecar
from clipsearch.index.records import FileState
from clipsearch.photos.exclusions import IGNORE_FILE
from clipsearch.photos.formats import is_image_name
from clipsearch.photos.scanning import IgnoreFile, ScanProblem, is_skipped, scan_photos
from clipsearch.photos.sidecars import is_sidecar_name

if TYPE_CHECKING:
    from watchfiles import Change

LIMITS = Path("/proc/sys/fs/inotify")
POLL_PAUSE = 2.0  # seconds between two looks, or as long as makes looking a fifth of the time
_STEP = 50  # milliseconds without an event after which those so far are handed over
_DEBOUNCE = 200  # milliseconds that a burst of events is gathered at most
_PATIENCE = 200  # milliseconds until no event is an answer too


class NoEvents(Exception):
    """The system gives no events for a folder; the message says why, and what to do."""


class ChangeSource(Protocol):
    """Gives the paths where something happened since it was asked last."""

    outdated: bool  # events may be missing from now on: make a new one, and look at everything

    def changes(self, stop: Callable[[], bool]) -> set[Path]:
        """Return what changed, after a fraction of a second or as soon as there is something."""

    def last_changes(self, stop: Callable[[], bool]) -> set[Path]:
        """Return what changed until now; to be asked before it is closed."""

    def close(self) -> None:
        """Let go of what it holds."""


class Events:
    """Events of the system: inotify, FSEvents, ReadDirectoryChangesW."""

    def __init__(self, roots: Sequence[Path], *, include_hidden: bool) -> None:
        """Follow the folders; raises NoEvents, or OSError if one has just gone."""
        self.outdated = False
        self._following = Following(roots)
        for root in roots:
            _try_one_more(root)
        self._folders = KnownFolders(roots, include_hidden=include_hidden)

    def changes(self, stop: Callable[[], bool]) -> set[Path]:
        """Return the photos and folders that events speak of; raises NoEvents."""
        events = self._following.events(stop)
        self.outdated |= self._following.ended and not stop()
        known_before = len(self._folders)
        changed = {path for text in events for path in self._folders.names_of(text)}
        self.outdated |= self._folders.links_changed
        if len(self._folders) > known_before:
            _try_one_more(Path(self._folders.newest))
        return changed

    last_changes = changes

    def close(self) -> None:
        """Stop following."""
        self._following.close()


class Following:
    """watchfiles' public generator, from the moment on that it follows."""

    def __init__(self, folders: Sequence[Path], *, as_probe: bool = False) -> None:
        """Follow folders with all below them, or for a probe themselves alone.

        Raises NoEvents, or OSError if a folder has just gone.
        """
        self.ended = False  # nothing comes any more
        self._stop: Callable[[], bool] = lambda: False
        self._generator = self._generate(folders, as_probe)
        self._first = self._next()  # it follows only once it is asked for something

    def events(self, stop: Callable[[], bool]) -> set[str]:
        """Return the paths that events name, after a fraction of a second or as soon as any."""
        events, self._first = self._first, set()
        if not events and not self.ended:
            self._stop = stop
            events = self._next()
        return {path for _, path in events}

    def close(self) -> None:
        """Stop following."""
        self._generator.close()

    def is_set(self) -> bool:
        """Say whether to stop: watchfiles asks for it by this name."""
        return self._stop()

    def _generate(
        self, folders: Sequence[Path], as_probe: bool
    ) -> Generator[set[tuple[Change, str]], None, None]:
        try:
            from watchfiles import watch

            # Passing over folders that are closed to us also passes over reached limits, so a
            # probe does not.
            return watch(
                *folders,
                watch_filter=None,
                debounce=1 if as_probe else _DEBOUNCE,
                step=1 if as_probe else _STEP,
                rust_timeout=1 if as_probe else _PATIENCE,
                yield_on_timeout=True,
                stop_event=self,
                debug=False,
                force_polling=False,
                recursive=not as_probe,
                ignore_permission_denied=not as_probe,
            )
        except (ImportError, TypeError) as error:  # not for this system, or of another version
            raise NoEvents(f"watchfiles gives no events: {error}") from error

    def _next(self) -> set[tuple[Change, str]]:
        try:
            return next(self._generator)
        except StopIteration:
            self.ended = True
            return set()
        except OSError as error:
            if "watch limit" not in str(error):
                raise
            raise NoEvents(_limit("max_user_watches", 1048576)) from error
        except RuntimeError as error:
            if "os error 24" not in str(error):
                raise
            raise NoEvents(_limit("max_user_instances", 1024)) from error


def _try_one_more(folder: Path) -> None:
    """Raise NoEvents if no more watch can be had: those for new folders fail silently."""
    try:
        Following([folder], as_probe=True).close()
    except OSError:  # gone already, or closed to us
        return


def _limit(name: str, enough: int) -> str:
    try:
        value = f" ({(LIMITS / name).read_text().strip()} now)"
    except OSError:
        value = ""
    return (
        f"the limit fs.inotify.{name}{value} is reached; "
        f"`sudo sysctl fs.inotify.{name}={enough}` raises it (and a line in /etc/sysctl.d keeps it)"
    )


class KnownFolders:
    """The folders below the roots: what was removed, and under which name a file is found.

    inotify knows a folder by one name only, though links may lead to it; `find_photos` prefers
    the real one below the root, and else the first link.
    """

    def __init__(self, roots: Sequence[Path], *, include_hidden: bool) -> None:
        self.links_changed = False  # links to folders came or went
        self.newest = ""
        self._include_hidden = include_hidden
        self._real = {root: Path(os.path.realpath(root)) for root in roots}
        self._folders: set[str] = set()
        self._links: dict[str, Path] = {}  # link to a folder -> where it leads
        for root in roots:
            self._walk(str(root), root)

    def __len__(self) -> int:
        return len(self._folders)

    def names_of(self, event: str) -> list[Path]:
        """Return the names under which to look for what an event says has changed."""
        path = Path(event)
        root = next((r for r in self._real if r == path or r in path.parents), None)
        if root is None or root == path or self._skips(root, path):
            return []
        if path.name == IGNORE_FILE:  # it says anew what of its folder is wanted
            path, event = path.parent, str(path.parent)
            if path == root:
                return [root]
        is_folder = os.path.isdir(event)  # noqa: PTH112
        if (event in self._links) != (is_folder and path.is_symlink()):
            self.links_changed = True
        if is_folder:
            self._walk(event, root)
        elif event in self._folders:
            self._forget(event)
        elif not is_image_name(path.name) and not is_sidecar_name(path.name):
            return []
        return self._found_as(path, root) if self._links or self.links_changed else [path]

    def _found_as(self, path: Path, root: Path) -> list[Path]:
        """Return the names, one for each root, that `find_photos` has for a path."""
        real = Path(os.path.realpath(path.parent), path.name)
        if path.is_symlink() and path.is_dir():
            real = Path(os.path.realpath(path))
        names = []
        for other, base in self._real.items():
            if base == real or base in real.parents:
                name = other / real.relative_to(base)
                if not self._skips(other, name):
                    names.append(name)
                    continue
            links = (link for link in self._links if link.startswith(f"{other}{os.sep}"))
            for link in links:
                target = self._links[link]
                if target == real or target in real.parents:
                    names.append(Path(link, real.relative_to(target)))
                    break
        return names or [path]

    def _skips(self, root: Path, path: Path) -> bool:
        path = path.parent if path.name == IGNORE_FILE else path
        return not self._include_hidden and is_skipped(root, path)

    def _forget(self, folder: str) -> None:
        below = folder + os.sep
        self._folders = {f for f in self._folders if f != folder and not f.startswith(below)}
        if any(link == folder or link.startswith(below) for link in self._links):
            self.links_changed = True

    def _walk(self, start: str, root: Path) -> None:
        """Take note of a folder and all below it, in the order of `find_photos`."""
        linked = deque([start] if os.path.islink(start) else [])  # noqa: PTH114
        folders = [] if linked else [start]
        seen: set[tuple[int, int]] = set()
        while folders or linked:
            folder = folders.pop() if folders else linked.popleft()
            try:
                state = os.stat(folder)  # noqa: PTH116
                if folder != str(root) and os.path.islink(folder):  # noqa: PTH114
                    self._links.setdefault(folder, Path(os.path.realpath(folder)))
                if folder not in self._folders:
                    self._folders.add(folder)
                    self.newest = folder
                if (state.st_dev, state.st_ino) in seen:
                    continue
                seen.add((state.st_dev, state.st_ino))
                with os.scandir(folder) as listing:
                    below = sorted((e.path, e.is_symlink()) for e in listing if e.is_dir())
            except OSError:
                continue
            wanted = [(p, link) for p, link in below if not self._skips(Path(folder), Path(p))]
            linked.extend(path for path, is_link in wanted if is_link)
            folders.extend(path for path, is_link in reversed(wanted) if not is_link)


class Polling:
    """Looks at all photos again and again: for file systems that send no events."""

    def __init__(self, roots: Sequence[Path], *, include_hidden: bool) -> None:
        self.outdated = False
        self._include_hidden = include_hidden
        self._seen: dict[Path, dict[Path, FileState]] = {root: {} for root in roots}
        self._next = 0.0
        self._look(lambda: False)

    def changes(self, stop: Callable[[], bool]) -> set[Path]:
        """Return what differs from the last look, if it is time for another."""
        return self._look(stop) if time.monotonic() >= self._next else set()

    def last_changes(self, stop: Callable[[], bool]) -> set[Path]:
        """Return what differs from the last look."""
        return self._look(stop)

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def _look(self, stop: Callable[[], bool]) -> set[Path]:
        started = time.monotonic()
        changed: set[Path] = set()
        for root, before in self._seen.items():
            now = self._photos(root, before, stop)
            if now is None:  # asked to stop
                break
            paths = {file.path for file in now.values() if before.get(file.path) != file}
            paths |= before.keys() - now.keys()
            # Of an ignore file, all that lies in its folder is to be looked at.
            changed |= {path.parent if path.name == IGNORE_FILE else path for path in paths}
            self._seen[root] = now
        ended = time.monotonic()
        self._next = ended + max(POLL_PAUSE, 4 * (ended - started))
        return changed

    def _photos(
        self, root: Path, before: dict[Path, FileState], stop: Callable[[], bool]
    ) -> dict[Path, FileState] | None:
        """Return photos, sidecars and ignore files below a root.

        In what can't be read, those of before.
        """
        now: dict[Path, FileState] = {}
        unseen: list[Path] = []
        for found in scan_photos(root, include_hidden=self._include_hidden):
            if isinstance(found, IgnoreFile):
                now[found.file.path] = found.file
            elif isinstance(found, SeenFile | SeenSidecar):
                file = found.state()
                now[file.path] = file
            elif isinstance(found, ScanProblem) and os.path.lexists(found.path):
                unseen.append(found.path)
            if len(now) % 500 == 0 and stop():
                return None
        for path in unseen:
            now |= {p: file for p, file in before.items() if p == path or path in p.parents}
        return now
