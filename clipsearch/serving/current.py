"""The library in a folder as it is now, for many threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clipsearch.errors import LibraryClosed
from clipsearch.index.layout import Layout
from clipsearch.library import Library


@dataclass
class _Opened:
    """A library that is open, and how many use it."""

    library: Library
    catalog: tuple[int, int]  # which file it has open
    users: int = 0


class CurrentLibrary:
    """Opens a library for reading; one that was repaired or restored has another catalog.

    Then it is opened anew, and the one before is closed once nobody uses it any more.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self._closed = False

    @contextmanager
    def used(self) -> Iterator[Library]:
        """Give the library to the block.

        Raises LibraryError if it can't be used, LibraryClosed after `close`.
        """
        with self._lock:
            opened = self._now()
            opened.users += 1
        try:
            yield opened.library
        finally:
            with self._lock:
                opened.users -= 1
                if opened is not self._opened and not opened.users:
                    opened.library.close()

    def close(self) -> None:
        """Close it as soon as nobody uses it."""
        with self._lock:
            self._closed = True
            self._let_go()

    def _now(self) -> _Opened:
        if self._closed:
            raise LibraryClosed(f"{self._folder}: the server ends")
        catalog = self._catalog()
        if self._opened is None or self._opened.catalog != catalog:
            self._let_go()
            self._opened = _Opened(Library(self._folder, read_only=True), catalog or (0, 0))
        return self._opened

    def _catalog(self) -> tuple[int, int] | None:
        try:
            state = Layout(self._folder).catalog.stat()
        except OSError:
            return None
        return state.st_dev, state.st_ino

    def _let_go(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None and not opened.users:
            opened.library.close()
