"""Reading a file that may be anything: far too large, growing, a pipe without end.

No more than a given number of bytes is ever taken, and nothing is waited for without end.
"""

from __future__ import annotations

import io
import os
import select
import stat
import time
from contextlib import suppress
from pathlib import Path

from clipsearch.errors import UnreadableImage

SECONDS_WITHOUT_DATA = 10.0  # from a pipe
SECONDS_IN_ALL = 600.0

_CHUNK = 1 << 20
_FLAGS = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NOCTTY", "O_NONBLOCK")
)


def read_whole(path: Path, most: int, *, pipes: bool = False) -> tuple[bytes, os.stat_result]:
    """Return a file's content, and the state it had when it was read.

    With `pipes`, pipes are read too, to their end. Raises UnreadableImage, the reason in one line,
    for more than `most` bytes and for what is no file; OSError as the system does.
    """
    status = os.stat(path)  # noqa: PTH116 - before it is opened: that can rewind a tape
    _check_kind(status.st_mode, pipes=pipes)
    descriptor = _opened(path)
    try:
        status = os.fstat(descriptor)
        _check_kind(status.st_mode, pipes=pipes)
        if stat.S_ISFIFO(status.st_mode):
            # A pipe without a name, <(command), has its writers from the start.
            has_name = os.path.exists(os.path.realpath(path))  # noqa: PTH110
            return read_stream(descriptor, most, may_begin=has_name), status
        return _read_regular(descriptor, status.st_size, most), status
    except MemoryError as error:
        raise OSError(f"not enough memory for {in_words(status.st_size)}") from error
    finally:
        os.close(descriptor)


def opened_file(path: Path) -> tuple[int, os.stat_result]:
    """Return a descriptor of a file, to be closed by whoever asks, and the file's state.

    Raises UnreadableImage for what is no file; OSError as the system does.
    """
    _check_kind(os.stat(path).st_mode, pipes=False)  # noqa: PTH116 - before it is opened, as above
    descriptor = _opened(path)
    try:
        status = os.fstat(descriptor)
        _check_kind(status.st_mode, pipes=False)
        if os.name == "posix":
            os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def read_stream(descriptor: int, most: int, *, may_begin: bool = False) -> bytes:
    """Return what a pipe or socket holds until its end, or a file from its present position.

    With `may_begin`, a pipe that nobody writes to yet is waited for. Raises UnreadableImage for
    more than `most` bytes, for a device that gives any, and where nothing comes for long.
    """
    is_device = _is_device(os.fstat(descriptor).st_mode)
    content = io.BytesIO()  # gives its bytes away without a copy
    until = time.monotonic() + SECONDS_IN_ALL
    while chunk := _next(descriptor, until, may_begin=may_begin and not content.tell()):
        if is_device:
            raise UnreadableImage("a device, not a picture")
        content.write(chunk)
        if content.tell() > most:
            raise UnreadableImage(f"too large: more than {in_words(most)}")
    return content.getvalue()


def in_words(size: float) -> str:
    """Return a number of bytes in words, as in `2.05 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def _opened(path: Path) -> int:
    """Open a file without waiting for whoever writes to a pipe."""
    try:
        return os.open(path, _FLAGS)
    except BlockingIOError:  # a file that another program has a lease on, and gives back
        return os.open(path, _FLAGS & ~os.O_NONBLOCK)


def _check_kind(mode: int, *, pipes: bool) -> None:
    if stat.S_ISDIR(mode):
        raise UnreadableImage("a folder, not a picture")
    if _is_device(mode):
        raise UnreadableImage("a device, not a picture")
    if not (stat.S_ISREG(mode) or (pipes and stat.S_ISFIFO(mode))):
        raise UnreadableImage("not a regular file")


def _is_device(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _read_regular(descriptor: int, size: int, most: int) -> bytes:
    if size > most:
        raise UnreadableImage(f"too large: a file of {in_words(size)}, limit {in_words(most)}")
    if os.name == "posix":
        os.set_blocking(descriptor, True)
    with open(descriptor, "rb", closefd=False) as file:
        data = file.read(size + 1)
        if len(data) <= size:
            return data
        content = io.BytesIO()  # it grows, or the system does not know its size
        while data:
            content.write(data)
            if content.tell() > most:
                raise UnreadableImage(f"too large: more than {in_words(most)}, and growing")
            data = file.read(_CHUNK)
    return content.getvalue()


def _next(descriptor: int, until: float, *, may_begin: bool) -> bytes:
    """Return the next bytes, none at the end; raises UnreadableImage if none come for long."""
    if os.name != "posix":
        return os.read(descriptor, _CHUNK)
    if not os.get_blocking(descriptor):
        with suppress(BlockingIOError):  # somebody has it open for writing
            chunk = os.read(descriptor, _CHUNK)
            if chunk or not may_begin:
                return chunk
    left = until - time.monotonic()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if left <= 0:
        raise UnreadableImage(f"it did not end within {SECONDS_IN_ALL:g} s")
    if not poll.poll(1000 * SECONDS_WITHOUT_DATA):
        raise UnreadableImage(f"nothing came for {SECONDS_WITHOUT_DATA:g} s: who writes to it?")
    return os.read(descriptor, _CHUNK)
