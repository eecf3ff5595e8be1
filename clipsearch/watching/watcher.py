"""Keeps a library current: follows changes of its folders and updates it in small batches.

Everything happens in one thread. Between updates: changed paths come in, wait until they are
complete, and go into the next update together; nothing is forgotten before an update succeeded.
"""

from __future__ import annotations

import math
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from clipsearch.errors import (
    ClipsearchError,
    InvalidInput,
    LibraryIncompatible,
    LibraryLocked,
    LibraryNotFound,
    ModelError,
    UnfitMachine,
)
from clipsearch.index.layout import Layout
from clipsearch.index.records import Folder
from clipsearch.library import Library
from clipsearch.options import IndexOptions, IndexProgress
from clipsearch.photos.mount_table import mounts_below
from clipsearch.photos.scanning import is_skipped
from clipsearch.results import IndexReport
from clipsearch.settings import absolute_paths, library_folder
from clipsearch.watching.file_events import ChangeSource, Events, NoEvents, Polling
from clipsearch.watching.pending_paths import PendingPaths, outermost

LOOK_AROUND = 1.0  # seconds between two looks at whether the folders themselves are there
WARM_UP_AFTER = 10.0  # seconds of calm after which the model is loaded, to be there when needed
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # seconds before an update that failed is tried again

Progress = Callable[[IndexProgress], None]


@dataclass(frozen=True)
class WatchOptions:
    """How to watch."""

    model: str | None = None  # for the first run; None: the library's own
    poll: bool = False  # look again and again, where the system sends no events
    rescan_seconds: float = 3600.0  # between two looks at everything
    index: IndexOptions = field(default_factory=IndexOptions)


@dataclass(frozen=True)
class WatchOutput:
    """How the watcher speaks."""

    show: Callable[[IndexReport], None]  # what an update did
    say: Callable[[str], None]  # one line for the log
    progress: Callable[[], AbstractContextManager[Progress]]  # of a look at everything


class Watcher:
    """Watches the folders of one library until it is asked to stop."""

    def __init__(
        self,
        folder: str | Path | None,
        paths: Sequence[Path],
        *,
        device: str,
        options: WatchOptions,
        output: WatchOutput,
        stop: Callable[[], bool],
    ) -> None:
        self._library = OpenLibrary(library_folder(folder), device)
        self._given = absolute_paths(paths)
        self._options = options
        self._output = output
        self._stop = stop
        self._pending = PendingPaths()
        self._batch: frozenset[Path] = frozenset()  # what the update under way was made for
        self._folders: list[Folder] = []
        self._present: dict[Path, object] = {}  # each folder's identity; None while it is away
        self._mounts: frozenset[tuple[Path, int]] = frozenset()
        self._sources: list[ChangeSource] = []
        self._polling = options.poll
        self._must_follow = False  # whether some source could not be made
        self._started = False  # whether the first run is done
        self._next_look_around = self._next_rescan = self._next_try = 0.0
        self._warm_up_at = 0.0  # when to load the model; infinite once that is done
        self._pause = FIRST_PAUSE

    def run(self) -> None:
        """Watch until `stop` says so.

        Raises:
            InvalidInput, ModelError: what was asked for can't be done.
            LibraryError: the library can't be opened, was deleted, or replaced by something else.
        """
        with ExitStack() as stack:
            stack.callback(self._library.close)
            stack.callback(self._close_sources)
            self._open()
            while not self._stop():
                self._step()

    def _open(self) -> None:
        missing = next((path for path in self._given if not os.path.lexists(path)), None)
        try:
            given = [] if missing else self._given
            library = self._library.get(given, self._options.model)
        except LibraryNotFound:
            if missing is None:
                raise
            raise InvalidInput(f"{missing} does not exist") from None
        self._folders = [_as_folder(path) for path in outermost(self._given)]
        self._folders = self._folders or library.folders()
        if not self._folders:
            raise InvalidInput("the library knows no folder yet: name one to watch")

    def _step(self) -> None:
        if time.monotonic() >= self._next_look_around:
            self._look_around()
        for path in self._changes():
            self._pending.notice(path, time.monotonic())
        now = time.monotonic()
        if now < self._next_try:
            return
        if now >= self._next_rescan:
            self._look_at_everything()
        elif due := self._pending.take_due(now):
            self._update(due)
        elif now >= self._warm_up_at and not self._pending:
            self._warm_up()

    # changes

    def _changes(self) -> set[Path]:
        changed: set[Path] = set()
        try:
            for source in self._sources:
                changed |= source.changes(self._stop)
        except NoEvents as reason:
            self._poll_from_now_on(reason)
            self._follow()
            self._next_rescan = 0.0
        if any(source.outdated for source in self._sources):
            self._follow()
            self._next_rescan = 0.0
        if not any(isinstance(source, Events) for source in self._sources):
            time.sleep(0.2)
        return changed

    def _follow(self) -> None:
        """Make the sources anew for the folders that are there; the old ones go when these are."""
        there = [f for f in self._folders if self._present[f.path] is not None]
        former, self._sources = self._sources, self._new_sources(there)
        for source in former:
            with suppress(NoEvents):
                for path in source.last_changes(self._stop):
                    self._pending.notice(path, time.monotonic())
            source.close()

    def _new_sources(self, there: Sequence[Folder]) -> list[ChangeSource]:
        hidden = self._options.index.include_hidden
        folders = [folder.path for folder in there if folder.kind == "folder"]
        files = [folder.path for folder in there if folder.kind == "file"]
        self._must_follow = False
        sources: list[ChangeSource] = []
        if folders and not self._polling:
            try:
                sources.append(Events(folders, include_hidden=hidden))
            except NoEvents as reason:
                self._poll_from_now_on(reason)
            except OSError:  # one has gone since
                self._must_follow = True
        if polled := [*folders, *files] if self._polling else files:
            sources.append(Polling(polled, include_hidden=hidden))
        return sources

    def _close_sources(self) -> None:
        for source in self._sources:
            source.close()

    def _poll_from_now_on(self, reason: NoEvents) -> None:
        self._polling = True
        self._output.say(f"{reason}; until the next start, folders are looked at every few seconds")

    # the folders themselves

    def _look_around(self) -> None:
        """See which folders came, went, or are not what they were."""
        self._next_look_around = time.monotonic() + LOOK_AROUND
        folders = self._known_folders() if self._started else self._folders
        present = {folder.path: _identity(folder) for folder in folders}
        mounts = self._visible_mounts([path for path, there in present.items() if there])
        changed = [p for p, identity in present.items() if identity != self._present.get(p, 0)]
        gone = self._present.keys() - present.keys()
        moved = {path for path, _ in mounts ^ self._mounts}
        if self._started:
            self._say_what_changed(changed, present)
        self._folders, self._present, self._mounts = folders, present, mounts
        if changed or gone or moved or self._must_follow:
            self._follow()
        for path in (*changed, *gone, *moved):
            self._pending.drop_below(path)
        if self._started:
            for path in (*(p for p in changed if present[p] is not None), *moved):
                self._pending.notice(path, time.monotonic())

    def _visible_mounts(self, roots: Sequence[Path]) -> frozenset[tuple[Path, int]]:
        hidden = self._options.index.include_hidden
        return frozenset(
            (path, number)
            for root, path, number in mounts_below(roots)
            if hidden or not is_skipped(root, path)
        )

    def _known_folders(self) -> list[Folder]:
        """Return what to watch: what was given and is still known, or all that is known."""
        try:
            known = self._the_library().folders()
        except _MAY_PASS:  # the next update fails in the same way, and says so
            return self._folders
        if not self._given:
            return known
        paths = {folder.path for folder in known}
        ours = [p for p in outermost(self._given) if p in paths or not paths.isdisjoint(p.parents)]
        kinds = {folder.path: folder for folder in (*self._folders, *known)}
        return [kinds.get(path) or _as_folder(path) for path in ours]

    def _say_what_changed(self, changed: Sequence[Path], present: dict[Path, object]) -> None:
        for path in changed:
            if path not in self._present:
                self._output.say(f"{path}: watched from now on")
            elif present[path] is None:
                self._output.say(f"{path}: away; its photos are left out until it is back")
            elif self._present[path] is None:
                self._output.say(f"{path}: back")
            else:
                self._output.say(f"{path}: another folder in its place; looking at it anew")
        for path in self._present.keys() - present.keys():
            self._output.say(f"{path}: no longer in the library, no longer watched")

    # updates

    def _look_at_everything(self) -> None:
        """Run over all folders: at the start, every hour, and when events may have been missed."""
        options = replace(self._options.index, postpone=self._postpone)

        def run(library: Library) -> IndexReport:
            with self._output.progress() as progress:
                if self._started:
                    paths = [folder.path for folder in self._folders]
                    return library.update(
                        paths, options=options, progress=progress, stop=self._stop
                    )
                return library.index(
                    self._given or None,
                    model=self._options.model,
                    options=options,
                    progress=progress,
                    stop=self._stop,
                    wait=True,
                )

        if self._attempt(run):
            self._next_rescan = time.monotonic() + self._options.rescan_seconds
            self._now_started()

    def _now_started(self) -> None:
        if not self._started:
            self._started = True
            self._warm_up_at = time.monotonic() + WARM_UP_AFTER
            what = "folder" if len(self._folders) == 1 else "folders"
            self._output.say(f"watching {len(self._folders)} {what}")

    def _warm_up(self) -> None:
        """Load the model ahead: the first photo that comes must not wait for it."""
        from PIL import Image

        self._warm_up_at = math.inf
        with suppress(*_MAY_PASS):  # the update that needs it says what is wrong
            self._the_library().encode_images([Image.new("RGB", (64, 64))])

    def _update(self, due: Sequence[Path]) -> None:
        self._batch = frozenset(due)
        options = replace(self._options.index, postpone=self._postpone)
        try:
            done = self._attempt(
                lambda library: library.update(
                    due, options=options, progress=self._tell, stop=self._stop
                )
            )
        finally:
            self._batch = frozenset()
        if not done:
            for path in due:
                self._pending.notice(path, time.monotonic())

    def _attempt(self, run: Callable[[Library], IndexReport]) -> bool:
        """Run an update; if it failed in a way that may pass, say so and try again later."""
        try:
            report = run(self._the_library())
        except _MAY_PASS as error:
            if self._stop() and isinstance(error, LibraryLocked):  # stopped while it waited
                return False
            self._end_if_hopeless(error)
            self._next_try = time.monotonic() + self._pause
            self._output.say(f"{_in_words(error)}; trying again in {self._pause:.0f} s")
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            return False
        self._pause = FIRST_PAUSE
        self._output.show(report)
        return not report.interrupted

    def _the_library(self) -> Library:
        if not self._library.is_there():
            self._next_rescan = 0.0  # another one may know less
        return self._library.get()

    def _end_if_hopeless(self, error: Exception) -> None:
        """Raise an error that can't get better by itself, or that a person should see at once."""
        if isinstance(error, LibraryIncompatible):
            raise error
        if isinstance(error, LibraryNotFound) and self._library.was_deleted():
            raise error
        if not self._started and isinstance(error, InvalidInput | ModelError | UnfitMachine):
            raise error

    def _postpone(self, path: Path) -> bool:
        if path in self._batch:  # waited for already
            return False
        return self._pending.wait_for(path, time.monotonic(), time.time())

    def _tell(self, progress: IndexProgress) -> None:
        if progress.message:
            self._output.say(progress.message)


class OpenLibrary:
    """The library, opened again when what lies at its place is another than before."""

    def __init__(self, folder: Path, device: str) -> None:
        self._folder = folder
        self._device = device
        self._library: Library | None = None
        self._opened: object = None  # identity of the catalog that is open
        self._held: int | None = None  # a descriptor of the folder, to know if it was deleted

    def get(self, paths: Sequence[Path] = (), model: str | None = None) -> Library:
        """Return the library, made if there are paths for it; else LibraryNotFound if missing."""
        self.close_if_replaced()
        if self._library is None:
            self._library = Library.for_indexing(
                self._folder, paths, model=model, device=self._device
            )
            self._opened = self._catalog()
            self._let_go()
            if os.name == "posix":
                self._held = os.open(self._folder, os.O_RDONLY)
        return self._library

    def is_there(self) -> bool:
        """Tell whether the library that was opened is still in its place."""
        return self._opened is not None and self._catalog() == self._opened

    def close_if_replaced(self) -> None:
        """Close the library if another, or none, is in its place."""
        if self._library is not None and not self.is_there():
            self._library.close()
            self._library = None

    def was_deleted(self) -> bool:
        """Tell a library that was deleted from one whose disk or folder is away for now."""
        if self._held is None:
            return self._folder.parent.exists()
        held = os.fstat(self._held)
        try:
            there = self._folder.stat()
        except OSError:
            return held.st_nlink == 0
        return held.st_nlink == 0 or os.path.samestat(held, there)

    def close(self) -> None:
        """Close it."""
        if self._library is not None:
            self._library.close()
            self._library = None
        self._let_go()

    def _let_go(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _catalog(self) -> object:
        try:
            state = Layout(self._folder).catalog.stat()
        except OSError:
            return None
        return state.st_dev, state.st_ino


# What one update can fail of while the next may succeed: a full disk, a model that is not there.
_MAY_PASS = (ClipsearchError, OSError, MemoryError, RuntimeError, sqlite3.Error)


def _in_words(error: Exception) -> str:
    if isinstance(error, ClipsearchError):
        return str(error)
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _as_folder(path: Path) -> Folder:
    return Folder(path, "file" if path.is_file() else "folder", "", None)


def _identity(folder: Folder) -> object:
    """Return what tells a folder from another in its place; None if no folder is there."""
    if folder.kind == "file":
        return "file"  # looked at again and again, as a file
    try:
        state = folder.path.stat()
    except OSError:
        return None
    return (state.st_dev, state.st_ino) if stat.S_ISDIR(state.st_mode) else None
