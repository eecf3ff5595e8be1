"""Answers searches of one library, with its models and vectors loaded; for every door."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore
from typing import TypeVar

from clipsearch.errors import ClipsearchError, LibraryClosed, LibraryNotFound, ServerBusy
from clipsearch.library import Library
from clipsearch.options import SearchOptions
from clipsearch.results import Hits
from clipsearch.searching.combining import QuerySum, alone
from clipsearch.searching.inquiries import Inquiry
from clipsearch.searching.query import needs_decoding
from clipsearch.serving.batches import Batches, let_others_go_first
from clipsearch.serving.counts import LOG, Counts, Done
from clipsearch.serving.current import CurrentLibrary

T = TypeVar("T")

WORDS_AT_ONCE = 32  # questions without new pictures: of more, the first would wait too long
PICTURES_AT_ONCE = 4  # questions with: each of their pictures is encoded by itself
MOST_WAITING = 512  # questions of each of both kinds
MOST_BYTES = 256 << 20  # of pictures that wait
MOST_LOOKS = 512  # that wait, or are under way
_LOOKING = 4  # threads


@dataclass(frozen=True)
class Question:
    """A search: words, pictures, or a sum of them; every str in it is words."""

    command: str  # query or similar
    asked: QuerySum
    options: SearchOptions

    @property
    def has_new_pictures(self) -> bool:
        """Whether a picture has to be decoded and encoded for it."""
        return any(needs_decoding(one.query) for one in self.asked.terms)

    @property
    def kinds(self) -> str:
        """Of what it is made."""
        kinds = {"text" if isinstance(one.query, str) else "picture" for one in self.asked.terms}
        return "+".join(sorted(kinds))

    @property
    def size(self) -> int:
        """The bytes of its pictures."""
        return sum(len(one.query) for one in self.asked.terms if isinstance(one.query, bytes))


@dataclass(frozen=True)
class _Waiting:
    """A question that waits for its turn."""

    question: Question
    door: str
    future: Future[Hits] = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)


class WarmSearcher:
    """Answers searches of one library, with its models and vectors loaded; for many threads.

    All questions of words that wait are answered as one batch, and so are those of pictures, in a
    thread of their own: who types never waits for pictures, which let others go first where there
    is more to do than processors. Neither do looks at the library wait for questions. What is asked
    never waits for who asks: a door that is slow holds up itself.
    """

    def __init__(self, folder: Path) -> None:
        """Open the library and load its models; raises LibraryError if it can't be used."""
        self.folder = folder
        self.counts = Counts()
        self._library = CurrentLibrary(folder)
        batches = partial(
            Batches[_Waiting],
            most_waiting=MOST_WAITING,
            most_bytes=MOST_BYTES,
            work=self._answer_batch,
        )
        try:
            self._words = batches(name="words", at_once=WORDS_AT_ONCE, first=self._load_for_words)
            try:
                self._pictures = batches(
                    name="pictures", at_once=PICTURES_AT_ONCE, first=self._load_for_pictures
                )
            except BaseException:
                self._words.close()
                raise
        except BaseException:
            self._library.close()
            raise
        self._looking = ThreadPoolExecutor(_LOOKING, "clipsearch-look")
        self._looking_at_pictures = ThreadPoolExecutor(
            1, "clipsearch-look-at-pictures", let_others_go_first
        )
        self._room = BoundedSemaphore(MOST_LOOKS)

    def _load_for_words(self) -> None:
        """Load what questions of words need, unless the library is empty as yet."""
        with suppress(LibraryNotFound), self._library.used() as library:
            library.query("a photo", k=1)

    def _load_for_pictures(self) -> None:
        """Load what pictures need, all of it in threads and processes that let others go first."""
        let_others_go_first()
        with suppress(LibraryNotFound), self._library.used() as library:
            library.prepare_for_pictures()

    def answer(self, question: Question, *, door: str = "python") -> Hits:
        """Search the library as it is now; raises ClipsearchError as `Library` does."""
        return self.submit(question, door=door).result()

    def submit(self, question: Question, *, door: str = "python") -> Future[Hits]:
        """Begin to search; the future raises ClipsearchError as `Library` does.

        `door` is where it was asked, for counts and log. Raises ServerBusy if too many wait, and
        LibraryClosed after `close`.
        """
        waiting = _Waiting(question, door)
        batches = self._pictures if question.has_new_pictures else self._words
        try:
            batches.put(waiting, question.size)
        except ClipsearchError as error:
            self._told(waiting, error, waiting.since, 0)
            raise
        return waiting.future

    def look(
        self,
        at: Callable[[Library], T],
        *,
        pictures: bool = False,
        door: str = "python",
        command: str = "look",
    ) -> Future[T]:
        """Begin to look at the library as it is now, with a function that only reads.

        With `pictures`, one that decodes and encodes some: others need not wait for it. Raises as
        `submit` does.
        """
        since = time.perf_counter()
        if not self._room.acquire(blocking=False):
            busy = ServerBusy(f"{MOST_LOOKS} looks wait already: try again later")
            self.counts.add(Done(door, command, "", None, 0.0, 0.0, error=busy))
            raise busy
        threads = self._looking_at_pictures if pictures else self._looking
        try:
            future = threads.submit(partial(self._looked, at, door, command, since))
        except RuntimeError as error:
            self._room.release()
            raise LibraryClosed(f"{self.folder}: the server ends") from error
        future.add_done_callback(lambda _: self._room.release())
        return future

    def prepare_for_browsing(self) -> None:
        """Begin to read what lists and facets are made of, so that the first are quick."""

        def read(library: Library) -> None:
            with suppress(LibraryNotFound):
                library.facets()
                for _ in range(2):  # whoever asks again gets lists from memory
                    library.list(k=1)

        self.look(read, command="prepare")

    def close(self) -> None:
        """Finish what is asked and let go of everything; what comes later gets LibraryClosed."""
        self._words.close()
        self._pictures.close()
        self._looking.shutdown()
        self._looking_at_pictures.shutdown()
        self._library.close()

    def _answer_batch(self, waiting: list[_Waiting]) -> None:
        """Answer questions together; who has gone meanwhile is passed over."""
        batch = [one for one in waiting if one.future.set_running_or_notify_cancel()]
        if not batch:
            return
        begun = time.perf_counter()
        self.counts.add_batch(len(batch))
        try:
            with self._library.used() as library:
                for place, found in library.answers([_inquiry(one.question) for one in batch]):
                    self._settle(batch[place], found, begun, len(batch))
        except Exception as error:  # noqa: BLE001 (each is told)
            for one in batch:
                if not one.future.done():
                    self._settle(one, error, begun, len(batch))

    def _settle(self, one: _Waiting, found: Hits | Exception, begun: float, batch: int) -> None:
        self._told(one, found, begun, batch)
        if isinstance(found, Exception):
            one.future.set_exception(found)
        else:
            one.future.set_result(found)

    def _told(self, one: _Waiting, found: Hits | Exception, begun: float, batch: int) -> None:
        """Count and log what became of a question."""
        question = one.question
        error = found if isinstance(found, Exception) else None
        if LOG.isEnabledFor(logging.DEBUG):
            LOG.debug("asked=%r options=%s", question.asked, question.options.to_json())
        self.counts.add(
            Done(
                *(one.door, question.command, question.kinds, question.options.k),
                waited=begun - one.since,
                answered=time.perf_counter() - begun,
                batch=batch,
                found=None if isinstance(found, Exception) else len(found),
                error=error,
            )
        )

    def _looked(self, at: Callable[[Library], T], door: str, command: str, since: float) -> T:
        begun = time.perf_counter()
        error: Exception | None = None
        try:
            with self._library.used() as library:
                return at(library)
        except Exception as failure:
            error = failure
            raise
        finally:
            took = time.perf_counter() - begun
            self.counts.add(Done(door, command, "", None, begun - since, took, error=error))


def _inquiry(question: Question) -> Inquiry:
    return Inquiry(alone(question.asked), question.options, question.command == "similar")
