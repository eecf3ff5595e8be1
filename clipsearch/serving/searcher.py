"""Answers searches of one library, with its models and vectors loaded; for every door."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from clipsearch.errors import LibraryClosed, LibraryNotFound
from clipsearch.index.layout import Layout
from clipsearch.library import Library
from clipsearch.options import SearchOptions
from clipsearch.results import Hits
from clipsearch.searching.combining import QuerySum, alone

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """A search: words, the bytes of a picture, or a sum of them."""

    command: str  # query or similar
    asked: QuerySum
    options: SearchOptions

    @property
    def is_words(self) -> bool:
        """Whether no picture has to be looked at."""
        return all(isinstance(one.query, str) for one in self.asked.terms)


class WarmSearcher:
    """Answers searches of one library, with its models and vectors loaded; for many threads.

    Words and pictures have a thread each: who types never waits for a model of pictures to load.
    """

    def __init__(self, folder: Path) -> None:
        """Open the library; raises LibraryError if it can't be used."""
        self.folder = folder
        self._words = _Worker(folder)
        self._pictures = _Worker(folder)
        try:
            self._words.warm_up(lambda library: library.query("a photo", k=1))
            self._pictures.warm_up(Library.prepare_for_pictures)
        except BaseException:
            self.close()
            raise

    def answer(self, question: Question) -> Hits:
        """Search the library as it is now; raises ClipsearchError as `Library` does."""
        return self.submit(question).result()

    def submit(self, question: Question) -> Future[Hits]:
        """Begin to search; the future raises ClipsearchError as `Library` does."""
        worker = self._words if question.is_words else self._pictures
        return worker.submit(lambda library: _answered(library, question))

    def look(self, at: Callable[[Library], T], *, pictures: bool = False) -> Future[T]:
        """Begin to look at the library as it is now, with a function that only reads.

        With `pictures`, one that decodes and encodes some: who types need not wait for it.
        """
        return (self._pictures if pictures else self._words).submit(at)

    def close(self) -> None:
        """Finish what is asked and let go of everything."""
        self._words.close()
        self._pictures.close()


class _Worker:
    """One thread with the library open, so that another may be opened in its place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._library: Library | None = None
        self._opened: tuple[int, int] | None = None  # which catalog

    def warm_up(self, load: Callable[[Library], object]) -> None:
        """Load what searches need, unless the library is empty as yet."""

        def warm_up() -> None:
            with suppress(LibraryNotFound):
                load(self._current())

        self._thread.submit(warm_up).result()

    def submit(self, look: Callable[[Library], T]) -> Future[T]:
        try:
            return self._thread.submit(lambda: look(self._current()))
        except RuntimeError as error:
            raise LibraryClosed(f"{self._folder}: the server ends") from error

    def close(self) -> None:
        self._thread.submit(self._let_go)
        self._thread.shutdown()

    def _current(self) -> Library:
        """Return the library in the folder now: a repaired or restored one has another catalog."""
        catalog = Layout(self._folder).catalog
        try:
            state = catalog.stat()
        except OSError:
            self._let_go()
        else:
            if self._opened != (state.st_dev, state.st_ino):
                self._let_go()
            self._opened = state.st_dev, state.st_ino
        if self._library is None:
            self._library = Library(self._folder, read_only=True)
        return self._library

    def _let_go(self) -> None:
        if self._library is not None:
            self._library.close()
            self._library = None


def _answered(library: Library, question: Question) -> Hits:
    asked = alone(question.asked)
    # Every str in it is words: whoever asks names no files here.
    if question.command == "similar":
        return library.similar(question.asked, question.options, text=True)
    return library.query(asked, question.options, text=True)
