"""One writer at a time: a lock on a file, which the system frees when its holder dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipsearch.errors import LibraryLocked, LibraryReadOnly


@contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """Hold the lock for the block; raise LibraryLocked, naming the holder, if it is taken.

    The file stays when the lock is freed: removing it would let two writers lock two files.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise LibraryReadOnly(f"{path.parent}: can't be written to ({error.strerror})") from error
    try:
        _lock(descriptor, path)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)  # frees the lock


def _lock(descriptor: int, path: Path) -> None:
    try:
        _lock_without_waiting(descriptor)
    except OSError as error:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        raise LibraryLocked(
            f"{path.parent}: process {holder} is writing to this library; try again when it is done"
        ) from error


if sys.platform == "win32":
    import msvcrt

    def _lock_without_waiting(descriptor: int) -> None:
        beyond_the_text = 1 << 30  # a locked byte can't be read, and the holder's id must be
        os.lseek(descriptor, beyond_the_text, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock_without_waiting(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
