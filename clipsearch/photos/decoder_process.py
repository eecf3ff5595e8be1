"""What a decoding process runs: files come in on standard input, pixels go out on standard output.

`decoder_pool` starts it and holds the other end. It loads Pillow and little else, and it is built
to be killed: it holds nothing that another process needs.

First come the settings, and `READY` goes out. Then for each photo: in, what is wanted of it, in
JSON, and the file; out, an answer in JSON, followed, if it has metadata, by the pixels and by a
picture for people, of which what was not wanted is empty. Each part has its length before it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import struct
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Protocol

from clipsearch.errors import UnreadableImage
from clipsearch.photos import opening
from clipsearch.photos.preparing import (
    Prepared,
    Unreadable,
    prepare,
    prepare_to_show,
    prepare_to_tell,
)
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.photos.rendering import Rendering

READY = b"ready"
LENGTH = struct.Struct("<Q")  # before each part of a message

# Signals for the whole process group (Ctrl-C) or service are for the program to obey: it finishes
# its batch, for which it needs this process.
LEFT_TO_THE_PROGRAM = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

_MOST_KEPT = 256 << 20  # bytes of memory that a process may keep after a photo and go on
_MOST_WRITTEN = 1 << 20  # bytes to files, of which there is one, with what C libraries say
_OUT_OF_MEMORY = re.compile(r"out of memory|memory allocation|cannot allocate|bad_alloc", re.I)
_ALARM_AFTER = 10  # seconds beyond twice the limit
_PR_SET_PDEATHSIG = 1
_LESS_PRESSING = 5  # of 19


@dataclass(frozen=True)
class Settings:
    """What a decoding process is told at its start."""

    preprocessing: str  # Preprocessing.to_json
    max_megapixels: float
    seconds: float  # for one photo
    memory: int  # bytes for one photo, beyond what the process has at its start
    parent: int  # process id

    def to_bytes(self) -> bytes:
        """Return the message that `from_bytes` reads."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, message: bytes) -> Settings:
        """Read what `to_bytes` wrote."""
        return cls(**json.loads(message))


@dataclass(frozen=True)
class Wanted:
    """What a decoding process is to make of a photo."""

    pixels: bool = True  # of the model's size
    picture: Rendering | None = None  # a file for people to look at
    exposure: bool = False  # only how it was taken

    def to_bytes(self) -> bytes:
        """Return the message that `from_bytes` reads."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, message: bytes) -> Wanted:
        """Read what `to_bytes` wrote."""
        read = json.loads(message)
        picture = read["picture"] and Rendering(**read["picture"])
        return cls(read["pixels"], picture, read["exposure"])


class Sink(Protocol):
    """What a message is written to: a pipe without a buffer."""

    def write(self, data: memoryview, /) -> int | None: ...  # noqa: D102


def write_all(sink: Sink, data: bytes) -> None:
    """Write all of the data, of which a pipe may take a part at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[sink.write(rest) or 0 :]


def needs_more_memory(memory: int) -> str:
    """Return the reason for a photo that `memory` bytes are not enough for."""
    return f"needs more than {memory / 1e9:.1f} GB of memory to decode"


def says_out_of_memory(message: str) -> bool:
    """Say whether a decoder's message is about memory."""
    by_own_rule = "security limit" in message.lower()  # libheif, of sizes that can't be true
    return _OUT_OF_MEMORY.search(message) is not None and not by_own_rule


def main() -> None:
    """Answer until the input ends."""
    _leave_signals()
    source, sink = _own_streams()
    message = _read_part(source)
    if message is None:
        return
    settings = Settings.from_bytes(message)
    _die_with(settings.parent)
    _give_way()
    # Where a decoder wants numpy, its threads would take more memory than the picture.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"  # LibRaw's: other processes decode beside this one
    with contextlib.suppress(UnreadableImage):
        opening.open_image(b"")  # loads all decoders
    usage = _MemoryUsage()
    _limit_resources(settings.memory)
    with contextlib.suppress(BrokenPipeError):  # the program is gone
        _write_parts(sink, READY)
        _answer_all(source, sink, settings, usage)


def _answer_all(source: BinaryIO, sink: Sink, settings: Settings, usage: _MemoryUsage) -> None:
    preprocessing = Preprocessing.from_json(settings.preprocessing)
    while (wanted := _read_part(source)) is not None and (data := _read_part(source)) is not None:
        _set_alarm(settings.seconds)
        answer, made = _answer(data, Wanted.from_bytes(wanted), preprocessing, settings)
        _set_alarm(None)
        del data
        last = usage.grown() > _MOST_KEPT
        _write_parts(sink, json.dumps({**answer, "last": last}).encode(), *made)
        if last:
            return  # gives the memory back; the program starts another process


def _answer(
    data: bytes, wanted: Wanted, preprocessing: Preprocessing, settings: Settings
) -> tuple[dict[str, Any], list[bytes]]:
    """Return the answer for a photo, and what was made of it unless it can't be read.

    Errors that `prepare` does not know end the process, which is as well: the decoder is in an
    unknown state, and the program sees the last line of the traceback.
    """
    out_of_memory = {"reason": needs_more_memory(settings.memory)}
    try:
        photo = _made(data, wanted, preprocessing, settings.max_megapixels)
    except MemoryError:
        return out_of_memory, []
    if isinstance(photo, Unreadable):
        return out_of_memory if _is_about_memory(photo.error) else {"reason": photo.reason}, []
    answer = {
        "metadata": asdict(photo.metadata),
        "words": photo.words,
        "exposure": photo.exposure,
    }
    return answer, [photo.pixels, photo.picture or b""]


def _made(
    data: bytes, wanted: Wanted, preprocessing: Preprocessing, max_megapixels: float
) -> Prepared | Unreadable:
    if wanted.exposure:
        return prepare_to_tell(data, max_megapixels=max_megapixels)
    if wanted.pixels or wanted.picture is None:
        return prepare(data, preprocessing, max_megapixels=max_megapixels, also=wanted.picture)
    return prepare_to_show(data, wanted.picture, max_megapixels=max_megapixels)


def _is_about_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or says_out_of_memory(str(error)):
            return True
        error = error.__cause__
    return False


# Messages


def _own_streams() -> tuple[BinaryIO, Sink]:
    """Return the pipes to the program, out of reach for C libraries that print."""
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return source, sink


def _read_part(source: BinaryIO) -> bytes | None:
    """Return the next part of a message, or None at the end of the input."""
    length = source.read(LENGTH.size)
    if len(length) < LENGTH.size:
        return None
    size = LENGTH.unpack(length)[0]
    data = source.read(size)
    return data if len(data) == size else None


def _write_parts(sink: Sink, *parts: bytes) -> None:
    write_all(sink, b"".join(piece for part in parts for piece in (LENGTH.pack(len(part)), part)))


# What bounds the process


def _leave_signals() -> None:
    for number in LEFT_TO_THE_PROGRAM:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # the program blocks them, so that none comes too early
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _give_way() -> None:
    """Work at a lower priority: if one thread of the encoder is held up, all its threads wait."""
    if hasattr(os, "nice"):
        os.nice(_LESS_PRESSING)


def _set_alarm(seconds: float | None) -> None:
    """End the process if a photo takes so long that the program, which ends it, must be gone."""
    if hasattr(signal, "alarm"):
        signal.alarm(0 if seconds is None else int(min(2 * seconds, 1e6)) + _ALARM_AFTER)


def _die_with(parent: int) -> None:
    """Have the system kill this process when the program dies, where it can do that."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if hasattr(os, "getppid") and sys.platform != "win32" and os.getppid() != parent:
        sys.exit(0)  # it died before


def _limit_resources(memory: int) -> None:
    """Bound the memory, and what is written to files."""
    if sys.platform == "win32":
        return
    import resource

    # RLIMIT_DATA counts what a process writes to; on Linux, that is all that decoders allocate.
    kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    used = _statm(_DATA) or 0
    for limit, value in (
        (kind, used + memory),
        (resource.RLIMIT_FSIZE, _MOST_WRITTEN),
        (resource.RLIMIT_CORE, 0),  # a crash leaves no file in the user's folder
    ):
        hard = resource.getrlimit(limit)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS takes no limit below what it maps
            resource.setrlimit(limit, (value, hard))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as stream:  # noqa: PTH123
        stream.write("500")  # where memory runs out, rather this process than the program


_RESIDENT, _DATA = 1, 5  # fields of /proc/self/statm


def _statm(field: int) -> int | None:
    """Return a figure of this process's memory in bytes, or None where there is no /proc."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as stream:  # noqa: PTH123
            return int(stream.read(200).split()[field]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


class _MemoryUsage:
    """How much more memory this process holds than when this was made."""

    def __init__(self) -> None:
        self._read: Callable[[], int] = lambda: _statm(_RESIDENT) or 0
        if _statm(_RESIDENT) is None:
            self._read = _peak
        self._start = self._read()

    def grown(self) -> int:
        """Return the growth in bytes."""
        return self._read() - self._start


def _peak() -> int:
    """Return the most memory that this process ever held, in bytes."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
