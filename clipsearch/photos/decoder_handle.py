"""One decoding process, from the program's side, and the clock that ends it when it is late.

What the process runs, and how the two talk, is in decoder_process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import UnreadableImage
from clipsearch.index.records import PhotoMetadata, Word
from clipsearch.photos.decoder_process import (
    LENGTH,
    READY,
    Settings,
    Wanted,
    needs_more_memory,
    says_out_of_memory,
    write_all,
)

_SECONDS_TO_START = 60.0
_PIPE_BYTES = 1 << 20  # room for a web photo and its pixels, so that neither side waits
_LARGEST_PICTURE = 1 << 29  # bytes of a file for people
_LONGEST_ANSWER = 1 << 18  # bytes of JSON; a photo has a few hundred, and as many as it has words

# Ends that may have nothing to do with the photo: the out-of-memory killer, a user, the alarm that
# went off while the machine slept.
_NOT_THE_PHOTO = frozenset(
    int(getattr(signal, name))
    for name in ("SIGKILL", "SIGALRM", "SIGTERM", "SIGINT", "SIGHUP")
    if hasattr(signal, name)
)


class NoProcess(Exception):
    """No process can be started; the message is one line for the user."""


class DecoderDied(Exception):
    """A process ended in the middle of a photo."""

    def __init__(self, reason: str, *, may_be_innocent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.may_be_innocent = may_be_innocent  # of the photo: it gets another try


class DecoderHandle:
    """A decoding process, used by one thread; any thread may kill it."""

    def __init__(self, entry: str, settings: Settings, clock: DecoderClock) -> None:
        """Start a process that runs the statement `entry`; raises NoProcess."""
        self.fit = True  # for another photo
        self.overdue = False
        self._settings = settings
        self._clock = clock
        self._errors = _place_for_errors()
        try:
            self._popen = subprocess.Popen(
                _command(entry),
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if self._errors is None else self._errors,
            )
        except OSError as error:
            self._close_errors()
            raise NoProcess(no_process(error.strerror or str(error))) from error
        assert self._popen.stdin is not None and self._popen.stdout is not None
        self._input: Any = self._popen.stdin
        self._output: Any = self._popen.stdout
        _widen(self._input)
        _widen(self._output)

    def wait_until_ready(self) -> None:
        """Wait until it takes photos; raises NoProcess."""
        limit = max(_SECONDS_TO_START, self._settings.seconds)
        why = ""
        try:
            with self._clock.limit(self, limit):
                self._send(self._settings.to_bytes())
                if self._receive(len(READY)) != READY:
                    why = "it does not answer as it should"
        except (OSError, EOFError, ValueError):
            code = self._reap()
            why = self._last_line() or f"it ended at its start ({_how_it_ended(code)})"
        if self.overdue:
            why = f"it was not ready after {limit:g} s"
        if why:
            raise NoProcess(no_process(why))

    def decode(
        self, data: bytes, wanted: Wanted, shape: tuple[int, int, int]
    ) -> tuple[
        PhotoMetadata,
        NDArray[np.uint8],
        tuple[Word, ...],
        bytes | None,
        tuple[tuple[str, str], ...],
    ]:
        """Make what is wanted of a photo: pixels of this shape, a picture, or both.

        Raises UnreadableImage or DecoderDied.
        """
        try:
            with self._clock.limit(self, self._settings.seconds):
                self._send(wanted.to_bytes())
                self._send(data)
                answer = json.loads(self._receive(_LONGEST_ANSWER))
                self.fit = not answer["last"]
                if "reason" in answer:
                    raise UnreadableImage(str(answer["reason"]))
                metadata = PhotoMetadata(**answer["metadata"])
                words = tuple(Word(*word) for word in answer["words"])
                pixels = self._receive_into(shape if wanted.pixels else (0, 0, 3))
                picture = self._receive(_LARGEST_PICTURE) or None
                said = tuple((str(name), str(value)) for name, value in answer["exposure"])
                return metadata, pixels, words, picture, said
        except (OSError, EOFError):
            raise self._death() from None
        except (ValueError, TypeError, KeyError):  # its memory may be in any state
            self.end()
            raise DecoderDied("the decoder answered with something that is no picture") from None
        finally:
            self.fit = self.fit and not self.overdue

    def kill(self) -> None:
        """End it now; whoever waits for it sees its end."""
        self._popen.kill()

    def end(self) -> None:
        """End it and free all that it holds."""
        self.fit = False
        self._popen.kill()
        for pipe in (self._input, self._output):
            with contextlib.suppress(OSError):
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout=10)
        self._close_errors()

    def _death(self) -> DecoderDied:
        self.fit = False
        code = self._reap()
        if self.overdue:
            return DecoderDied(f"decoding took longer than {self._settings.seconds:g} s")
        last_line = self._last_line()
        if last_line.startswith("MemoryError") or says_out_of_memory(last_line):
            return DecoderDied(needs_more_memory(self._settings.memory))
        how = _how_it_ended(code)
        if -code in _NOT_THE_PHOTO:
            return DecoderDied(
                f"the decoder was killed twice ({how}): the machine may be short of memory",
                may_be_innocent=True,
            )
        if code == 1 and last_line:
            return DecoderDied(f"the decoder failed: {last_line}")
        return DecoderDied(f"the decoder crashed ({how})")

    def _reap(self) -> int:
        """Return the exit code of a process that closed its end."""
        try:
            return self._popen.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()

    def _send(self, part: bytes) -> None:
        if len(part) < _PIPE_BYTES // 2:
            write_all(self._input, LENGTH.pack(len(part)) + part)
            return
        write_all(self._input, LENGTH.pack(len(part)))
        write_all(self._input, part)

    def _receive(self, most: int) -> bytes:
        """Return the next part; raises EOFError, or ValueError if it is longer than `most`."""
        size = self._receive_length()
        if size > most:
            raise ValueError("too long")
        part = bytearray(size)
        self._fill(memoryview(part))
        return bytes(part)

    def _receive_into(self, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        pixels = np.empty(shape, np.uint8)
        if self._receive_length() != pixels.nbytes:
            raise ValueError("another size")
        if pixels.size:
            self._fill(pixels.data.cast("B"))
        return pixels

    def _receive_length(self) -> int:
        length = bytearray(LENGTH.size)
        self._fill(memoryview(length))
        return int(LENGTH.unpack(length)[0])

    def _fill(self, place: memoryview) -> None:
        while place:
            count = self._output.readinto(place)
            if not count:
                raise EOFError
            place = place[count:]

    def _last_line(self) -> str:
        """Return the last line that it wrote to standard error: of a traceback, the error."""
        if self._errors is None:
            return ""
        with contextlib.suppress(OSError, ValueError):
            self._errors.seek(max(self._errors.seek(0, os.SEEK_END) - 4096, 0))
            lines = self._errors.read().decode(errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "")
            return "".join(c if c.isprintable() else " " for c in last).strip()[:200]
        return ""

    def _close_errors(self) -> None:
        if self._errors is not None:
            self._errors.close()


class DecoderClock:
    """Ends processes that take too long, by a clock that runs only while this program does.

    A stopped program (Ctrl-Z) or a sleeping machine lets no limit go by.
    """

    def __init__(self, tick: float) -> None:
        self._tick = tick
        self._seconds = 0.0  # run so far
        self._lock = threading.Lock()
        self._deadlines: dict[DecoderHandle, float] = {}
        self._ending = threading.Event()

    def start(self) -> None:
        """Start the clock's thread."""
        threading.Thread(target=self._run, name="clipsearch-decoder-clock", daemon=True).start()

    def stop(self) -> None:
        """End the clock's thread."""
        self._ending.set()

    @contextlib.contextmanager
    def limit(self, process: DecoderHandle, seconds: float) -> Iterator[None]:
        """Kill the process, and mark it overdue, if the block takes longer."""
        with self._lock:
            self._deadlines[process] = self._seconds + self._tick + seconds
        try:
            yield
        finally:
            with self._lock:
                del self._deadlines[process]

    def _run(self) -> None:
        last = time.monotonic()
        while not self._ending.wait(self._tick):
            now = time.monotonic()
            with self._lock:
                self._seconds += min(now - last, 2 * self._tick)
                for process, deadline in self._deadlines.items():
                    if self._seconds >= deadline:
                        process.overdue = True
                        process.kill()
            last = now


def _command(entry: str) -> list[str]:
    """Return what starts a process that imports what this one would, whatever folder it is in."""
    if not sys.executable:
        raise OSError("this Python does not say where its program is (sys.executable)")
    flags = (
        ("-I", sys.flags.isolated),
        ("-E", sys.flags.ignore_environment),
        ("-s", sys.flags.no_user_site),
        ("-S", sys.flags.no_site),
    )
    # "" stands for the folder that the program was in when it started, and may have left.
    folders = [os.path.abspath(path) for path in sys.path if path]  # noqa: PTH100
    folders.append(str(Path(__file__).absolute().parents[2]))
    return [
        sys.executable,
        *(flag for flag, given in flags if given),
        "-c",
        f"import sys; sys.path[:] = {folders!a}; {entry}",
    ]


def _place_for_errors() -> IO[bytes] | None:
    try:
        return tempfile.TemporaryFile()
    except OSError:  # a full or read-only disk; only the reason of a failed start is lost
        return None


def _widen(pipe: IO[bytes]) -> None:
    """Let a whole photo fit into a pipe, where the system allows it."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # more than this user may have
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def no_process(why: str) -> str:
    """Return the message of NoProcess."""
    return f"no process to decode photos can be started: {why}"


def _how_it_ended(code: int) -> str:
    if code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code:#x}" if code > 255 else f"exit code {code}"
