"""A thread that takes all that waits at once."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from clipsearch.errors import LibraryClosed, ServerBusy

T = TypeVar("T")
_NICE = 3


class Batches(Generic[T]):
    """Gives what is put into it to a function in a thread of its own, as much as waits at once.

    While one batch is worked on, the next gathers: so batches are as large as there is much to do,
    and nothing waits for others to come.
    """

    def __init__(
        self,
        work: Callable[[list[T]], None],
        name: str,
        *,
        at_once: int,
        most_waiting: int,
        most_bytes: int,
        first: Callable[[], object],
    ) -> None:
        """Take what works on up to `at_once`; no more may wait, and with so many bytes in all.

        `first` is called in the thread before; what it raises is raised here.
        """
        self._work = work
        self._at_once = at_once
        self._most_waiting, self._most_bytes = most_waiting, most_bytes
        self._waiting: deque[tuple[T, int]] = deque()
        self._bytes = 0  # of what waits
        self._changed = threading.Condition()
        self._closed = False
        self._ready: Future[object] = Future()
        self._first = first
        self._thread = threading.Thread(target=self._run, name=f"clipsearch-{name}", daemon=True)
        self._thread.start()
        self._ready.result()

    def put(self, one: T, size: int = 0) -> None:
        """Let something of so many bytes wait for its turn.

        Raises ServerBusy if there is no room, LibraryClosed after `close`.
        """
        with self._changed:
            if self._closed:
                raise LibraryClosed("the server ends")
            full = len(self._waiting) >= self._most_waiting
            if full or (self._waiting and self._bytes + size > self._most_bytes):
                raise ServerBusy(f"{len(self._waiting)} questions wait already: try again later")
            self._waiting.append((one, size))
            self._bytes += size
            self._changed.notify()

    def close(self) -> None:
        """Work on what waits, then end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._ready.set_result(self._first())
        except BaseException as error:  # noqa: BLE001 (which `__init__` raises)
            self._ready.set_exception(error)
            return
        while some := self._next():
            self._work(some)

    def _next(self) -> list[T]:
        """Return what waits, as soon as something does; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            some = [self._waiting.popleft() for _ in range(min(self._at_once, len(self._waiting)))]
            self._bytes -= sum(size for _, size in some)
            return [one for one, _ in some]


def let_others_go_first() -> None:
    """Give this thread half of the weight of others, where the system has such for threads.

    So it has the threads and processes that are started from it.
    """
    if sys.platform == "linux":  # elsewhere it would be the process
        os.nice(_NICE)
