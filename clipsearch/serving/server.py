"""The socket to a warm searcher, for the programs of this user."""

from __future__ import annotations

import logging
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.arguments import finite
from clipsearch.errors import (
    ClipsearchError,
    InvalidInput,
    LibraryError,
    LibraryLocked,
    one_line,
)
from clipsearch.index.records import utc_now
from clipsearch.library import Library
from clipsearch.machine import is_private
from clipsearch.options import SearchOptions
from clipsearch.searching.combining import QuerySum, Term
from clipsearch.serving.protocol import (
    LARGEST_PICTURE,
    LARGEST_REQUEST,
    MOST_HITS,
    PROTOCOL,
    STATUS,
    ProtocolError,
    is_same_user,
    receive,
    send,
    socket_path,
)
from clipsearch.serving.searcher import Question, WarmSearcher

if TYPE_CHECKING:
    from clipsearch.serving.web.running import WebDoor

_SECONDS_TO_ASK = 10.0
_SECONDS_TO_STOP = 5.0
_MOST_CONNECTIONS = 64
_MOST_WAITING = 128


class SocketServer:
    """A Unix socket, which only this user can open, to a searcher."""

    def __init__(
        self,
        searcher: WarmSearcher,
        *,
        idle_seconds: float | None,
        status: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        """Take a searcher; after so many seconds without a question `serve` returns.

        `status` says what is told of the server to who asks for that.
        """
        self._searcher = searcher
        self._idle_seconds = idle_seconds
        self._status = status
        self._real_folder = os.path.realpath(searcher.folder)
        self._last_used = time.monotonic()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._room = threading.BoundedSemaphore(_MOST_CONNECTIONS)

    def used(self) -> None:
        """Count a question at another door as one here."""
        self._last_used = time.monotonic()

    def stop(self) -> None:
        """Let `serve` return; may be called from a signal handler."""
        with suppress(OSError):  # told already, or closed
            self._wake.send(b"x")

    def close(self) -> None:
        """Let go of what `stop` needs, after `serve`."""
        self._wake.close()
        self._woken.close()

    def serve(self, listener: socket.socket) -> None:
        """Answer until `stop` is called or nobody has asked for long, then finish what is begun."""
        threads: set[threading.Thread] = set()
        while self._wait_for(listener):
            try:
                connection, _ = listener.accept()
            except OSError:  # gone again, or no file handles left
                time.sleep(0.01)
                continue
            self.used()
            if not self._room.acquire(blocking=False):
                connection.close()
                continue
            threads = {thread for thread in threads if thread.is_alive()}
            thread = threading.Thread(target=self._talk, args=(connection,), daemon=True)
            threads.add(thread)
            thread.start()
        deadline = time.monotonic() + _SECONDS_TO_STOP
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _wait_for(self, listener: socket.socket) -> bool:
        """Wait for a connection; False when it is time to end."""
        while True:
            left = None
            if self._idle_seconds is not None:
                left = self._idle_seconds - (time.monotonic() - self._last_used)
                if left <= 0:
                    return False
            ready, _, _ = select.select([listener, self._woken], [], [], left)
            if self._woken in ready:
                return False
            if ready:
                return True

    def _talk(self, connection: socket.socket) -> None:
        try:
            with connection:
                if not is_same_user(connection):
                    return
                fields, data = receive(
                    connection,
                    most=LARGEST_REQUEST,
                    most_data=LARGEST_PICTURE,
                    seconds=_SECONDS_TO_ASK,
                )
                connection.settimeout(_SECONDS_TO_ASK)
                send(connection, self._reply(fields, data))
        except (OSError, ProtocolError):
            pass  # whoever asked has gone, or is no clipsearch
        finally:
            self.used()
            self._room.release()

    def _reply(self, fields: dict[str, Any], data: bytes) -> dict[str, Any]:
        """Return the hits; or why there are none, for the client to look for itself."""
        declined = {"protocol": PROTOCOL, "declined": "another version or library"}
        if fields.get("protocol") != PROTOCOL or fields.get("library") != self._real_folder:
            return declined
        if fields.get("command") == STATUS:
            return {"protocol": PROTOCOL, STATUS: self._status()}
        try:
            found = self._searcher.answer(checked_question(fields, data), door="socket")
        except ClipsearchError as error:
            return {**declined, "declined": str(error)}
        except Exception as error:
            log = logging.getLogger("clipsearch")
            log.error("not answered, by a fault: %s: %s", type(error).__name__, one_line(error))
            log.debug("this is where it went wrong", exc_info=error)
            return {**declined, "declined": "a fault"}
        return {"protocol": PROTOCOL, **found.to_json()}


def checked_question(fields: dict[str, Any], data: bytes) -> Question:
    """Return the question in a message, or raise InvalidInput: anybody could have sent it."""
    command = fields.get("command")
    options = SearchOptions.from_json(fields.get("options"))
    if command not in ("query", "similar"):
        raise InvalidInput("no search")
    if options.offset + options.k > MOST_HITS:
        raise InvalidInput("too many photos")
    if options.where is not None:
        raise InvalidInput("a condition in SQL is for who has the library alone")
    if options.model is not None:
        raise InvalidInput("only the library's own model is loaded")
    asked = _terms(fields.get("terms"), data)
    if command == "similar" and all(isinstance(one.query, str) for one in asked.terms):
        raise InvalidInput("no picture")
    return Question(command, asked, options)


def _terms(given: object, data: bytes) -> QuerySum:
    """Return the parts of a question: of each its weight, and words or how many bytes it has."""
    terms = []
    start = 0
    for one in given if isinstance(given, list) else []:
        weight, query = one if isinstance(one, list) and len(one) == 2 else (None, None)
        if type(query) is int and 0 < query <= len(data) - start:
            start, query = start + query, data[start : start + query]
        elif not isinstance(query, str):
            raise InvalidInput("neither words nor a picture")
        terms.append(Term(finite(weight, "a weight"), query))
    if start != len(data):
        raise InvalidInput("bytes of no picture")
    return QuerySum(tuple(terms))


@contextmanager
def listening(folder: Path) -> Iterator[socket.socket]:
    """Listen where the clients of this library look, for the block.

    Raises LibraryLocked if a server runs for it already, LibraryError where none can.
    """
    path = socket_path(folder)
    if path is None or not hasattr(socket, "AF_UNIX"):
        Library(folder, read_only=True).close()  # it may be the library that is not there
        raise LibraryError(f"{folder}: this system has no sockets for a server to listen on")
    try:
        _make_private(os.path.dirname(path))  # noqa: PTH120
        with _only_server(f"{path}.lock", folder), _bound(path) as listener:
            yield listener
    except OSError as error:
        raise LibraryError(f"can't listen on {path}: {error.strerror or error}") from error


def _make_private(folder: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(folder, mode=0o700)  # noqa: PTH102
    if not is_private(folder):
        raise LibraryError(f"{folder} is open to others: remove it, or close it with chmod 700")


@contextmanager
def _only_server(path: str, folder: Path) -> Iterator[None]:
    import fcntl

    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20).decode("ascii", "replace").strip()
            raise LibraryLocked(
                f"a server runs for {folder} already (process {holder or 'unknown'})"
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(lock)


@contextmanager
def _bound(path: str) -> Iterator[socket.socket]:
    with suppress(FileNotFoundError):  # what a killed server left: we hold the lock
        os.unlink(path)  # noqa: PTH108
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with listener:
        mask = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(mask)
        made = os.lstat(path)
        listener.listen(_MOST_WAITING)
        listener.setblocking(False)
        try:
            yield listener
        finally:
            with suppress(OSError):
                if stat.S_ISSOCK(made.st_mode) and os.lstat(path).st_ino == made.st_ino:
                    os.unlink(path)  # noqa: PTH108


@dataclass(frozen=True)
class Serving:
    """A server that runs: how it is ended, and where its web door is."""

    stop: Callable[[], None]  # may be called from a signal handler
    address: str | None  # http://…


def serve(
    folder: Path,
    *,
    idle_seconds: float | None,
    ready: Callable[[Serving], None],
    web: WebDoor | None = None,
) -> None:
    """Serve a library until the server is told to stop, or nobody has asked for long.

    `ready` is called once clients can come. Raises LibraryError.
    """
    status: dict[str, Any] = {"process": os.getpid(), "since": utc_now(), "web": None}
    with ExitStack() as stack:
        listener = stack.enter_context(listening(folder))
        searcher = stack.enter_context(closing(WarmSearcher(folder)))
        server = stack.enter_context(
            closing(SocketServer(searcher, idle_seconds=idle_seconds, status=lambda: status))
        )
        if web is not None:
            from clipsearch.serving.web.running import opened

            status["web"] = stack.enter_context(opened(searcher, web, server.used))
        ready(Serving(server.stop, status["web"]))
        server.serve(listener)
