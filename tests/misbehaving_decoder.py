"""A decoding process whose decoder does to marked bytes what broken decoders do."""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from clipsearch.photos import decoder_process, opening, preparing, rendering

MARK = b"misbehave: "
# The statement that such a process runs.
MISBEHAVING = (
    f"sys.path.append({str(Path(__file__).resolve().parent)!r}); "
    "import misbehaving_decoder; misbehaving_decoder.main()"
)

_real = opening.open_image


def open_image(data: bytes, **options: Any) -> opening.OpenedImage:
    """Open a picture, or do as the bytes say; the words after the first are arguments."""
    if not data.startswith(MARK):
        return _real(data, **options)
    what, *arguments = data.removeprefix(MARK).decode().split(" ")
    misbehaviours[what](*arguments)
    raise AssertionError("it should have misbehaved")


def crash() -> None:
    ctypes.string_at(0)


def sleep() -> None:
    while True:
        time.sleep(3600)


def hang_in_c() -> None:
    """Hang as a decoder does that loops without giving Python a chance."""
    ctypes.PyDLL(None).pause()


def eat_memory(megabytes: str) -> None:
    left = int(megabytes)
    eaten = []
    while left > 0:
        eaten.append(b"x" * (8 << 20))
        left -= 8
    while True:  # never reached where memory is limited
        time.sleep(3600)


def eat_memory_as_cpp_does() -> None:
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.write(2, b"  what():  std::bad_alloc\n")
    os.abort()


def fill_memory_and_answer(megabytes: str) -> None:
    """Keep memory for good, as a leak does, and fail as damaged pictures do."""
    kept.append(b"x" * (int(megabytes) << 20))
    raise opening.UnreadableImage("damaged, and leaking")


def die_once(marker: str) -> None:
    """Be killed; the second time, find nothing wrong but the picture."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    raise opening.UnreadableImage("seen again")


def wait_for(folder: str) -> None:
    """Say which process this is and wait to be told to end."""
    (Path(folder) / f"pid-{os.getpid()}").touch()
    sleep()


def raise_unexpected() -> None:
    raise NotImplementedError("no such thing")


def talk() -> None:
    """Print, as libtiff does, to both streams."""
    for fd in (1, 2):
        with suppress(OSError):  # there is a limit
            for _ in range(100):
                os.write(fd, b"Warning: unknown tag\n" * 1000)
    raise opening.UnreadableImage("it talked")


def say_nonsense() -> None:
    """Write into the pipe to the program, as a decoder does that has lost its way."""
    pipes = [fd for fd in range(3, 64) if is_pipe(fd)]
    os.write(max(pipes), b"\xff" * 100)
    sleep()


def is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False


kept: list[bytes] = []
misbehaviours: dict[str, Any] = {
    "crash": crash,
    "signal": lambda number: os.kill(os.getpid(), int(number)),
    "abort": os.abort,
    "sleep": sleep,
    "hang": hang_in_c,
    "eat": eat_memory,
    "bad_alloc": eat_memory_as_cpp_does,
    "keep": fill_memory_and_answer,
    "die_once": die_once,
    "wait_for": wait_for,
    "raise": raise_unexpected,
    "exit": lambda code: os._exit(int(code)),
    "talk": talk,
    "nonsense": say_nonsense,
}


def main() -> None:
    preparing.open_image = rendering.open_image = open_image
    decoder_process.main()
