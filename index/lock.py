"""One writer at a time: a lock on a file, which the system frees when its holder dies."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clipsearch.errors import LibraryError, LibraryLocked
from clipsearch.index.durable import disk_errors
from clipsearch.index.records import utc_now

SECONDS_BETWEEN_TRIES = 0.1
SECONDS_TO_DO_ONCE = 10.0

# What a holder writes into the file: its process, since when, and on which machine.
_HOLDER = re.compile(rb"(\d{1,10})(?: ([0-9T:+-]{10,30}))?(?: ([\w.-]{1,64}))?\n")
_HOLDER_BYTES = 128


@contextmanager
def writer_lock(
    path: Path,
    *,
    wait: bool = False,
    stop: Callable[[], bool] | None = None,
    waiting: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Hold the lock for the block; raise LibraryLocked, naming the holder, if it is taken.

    With `wait` try until it is free, or `stop()` is true (then LibraryLocked); `waiting` is called
    once, with a line that names the holder, if it is not free at once. The file stays when the
    lock is freed: removing it would let two writers lock two files.
    """
    lock = _LockFile(path)
    try:
        while not lock.take():
            line = f"{path.parent}: {lock.who_holds_it()}"
            if not wait or (stop is not None and stop()):
                raise LibraryLocked(f"{line}; try again when it is done")
            if waiting is not None:
                waiting(f"{line}; waiting until it is done")
                waiting = None
            time.sleep(SECONDS_BETWEEN_TRIES)
        lock.write_holder()
        yield
    finally:
        lock.close()


def do_once(path: Path, *, needed: Callable[[], bool], do: Callable[[], None]) -> None:
    """Do under the lock what is needed, unless another process gets it done meanwhile.

    It is waited for only as long as such a thing takes: LibraryLocked if it is still needed then.
    """
    if not needed():
        return
    give_up = time.monotonic() + SECONDS_TO_DO_ONCE
    try:
        with writer_lock(path, wait=True, stop=lambda: not needed() or time.monotonic() > give_up):
            if needed():
                do()
    except LibraryLocked:
        if needed():
            raise


class _LockFile:
    """The file, open; the lock is free as soon as it is closed."""

    # Of this process. A forked child closes its copies: the lock must not live on in it.
    _open: set[_LockFile] = set()  # noqa: RUF012

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = False
        # Of a library from elsewhere: a link would let us write to the file that it names, and
        # a pipe would keep us waiting.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        with disk_errors(path.parent):
            self._descriptor: int | None = os.open(path, flags, 0o666)
        self._open.add(self)

    def take(self) -> bool:
        """Take the lock, or return False if another holds it."""
        assert self._descriptor is not None
        try:
            self._taken = _try_to_lock(self._descriptor)
        except OSError as error:
            raise LibraryError(f"{self._path}: can't be locked ({error.strerror})") from error
        return self._taken

    def who_holds_it(self) -> str:
        """Say which process is writing."""
        assert self._descriptor is not None
        text = b""
        with suppress(OSError):
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            text = os.read(self._descriptor, _HOLDER_BYTES)
        found = _HOLDER.match(text)
        if found is None:
            return "another process is writing to this library"
        process, since, host = (part.decode() if part else "" for part in found.groups())
        elsewhere = f" on {host}" if host and host != _host() else ""
        when = f" (since {since})" if since else ""
        return f"process {process}{elsewhere} is writing to this library{when}"

    def write_holder(self) -> None:
        """Say in the file who holds the lock: a courtesy, without which the lock works as well."""
        self._write(f"{os.getpid()} {utc_now()} {_host()}\n".encode("ascii", "replace"))

    def close(self) -> None:
        """Free the lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:  # in a forked child
            return
        self._open.discard(self)
        if self._taken:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)  # nobody holds it now
        os.close(descriptor)

    def _write(self, text: bytes) -> None:
        assert self._descriptor is not None
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, text)

    @classmethod
    def close_in_child(cls) -> None:
        """Close what a fork copied, which leaves the parent's lock as it is."""
        for lock in cls._open:
            if lock._descriptor is not None:
                os.close(lock._descriptor)
                lock._descriptor = None
        cls._open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_LockFile.close_in_child)


def _host() -> str:
    import platform

    return platform.node()


if sys.platform == "win32":
    import msvcrt

    def _try_to_lock(descriptor: int) -> bool:
        beyond_the_text = 1 << 30  # a locked byte can't be read, and the holder's id must be
        os.lseek(descriptor, beyond_the_text, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:  # it has no error of its own for "held by another"
            return False
        return True
else:
    import fcntl

    def _try_to_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
