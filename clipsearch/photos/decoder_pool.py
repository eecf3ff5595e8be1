"""Photos are decoded in processes of their own, so that none can take the program down.

A decoder that crashes, hangs or eats memory costs its photo and one process, which is replaced.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, InvalidStateError
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import ClipsearchError, UnreadableImage
from clipsearch.index.records import PhotoMetadata
from clipsearch.photos.decoder_process import (
    LEFT_TO_THE_PROGRAM,
    LENGTH,
    READY,
    Settings,
    needs_more_memory,
    says_out_of_memory,
    write_all,
)
from clipsearch.photos.preprocessing import Preprocessing

MOST_PROCESSES = 32

_ENTRY = "from clipsearch.photos.decoder_process import main; main()"
_SECONDS_TO_START = 60.0
_STARTS_TRIED = 3
_PAUSE_AFTER_A_FAILED_START = 0.3  # seconds, longer with each
_TICK = 0.5  # seconds between looks at the time limits
_PIPE_BYTES = 1 << 20  # room for a web photo and its pixels, so that neither side waits
_LONGEST_ANSWER = 1 << 16  # bytes of JSON; a PhotoMetadata has a few hundred

# The most that a legal picture needed: 26 bytes a pixel (gray in floating point, 24 megapixels).
_BYTES_PER_PIXEL = 28
_LEAST_MEMORY = 1 << 30

# Ends that may have nothing to do with the photo: the out-of-memory killer, a user, the alarm that
# went off while the machine slept.
_NOT_THE_PHOTO = frozenset(
    int(getattr(signal, name))
    for name in ("SIGKILL", "SIGALRM", "SIGTERM", "SIGINT", "SIGHUP")
    if hasattr(signal, name)
)


@dataclass(frozen=True)
class PreparedPhoto:
    """A photo ready for the encoder."""

    metadata: PhotoMetadata
    pixels: NDArray[np.uint8]  # [height, width, 3]


class DecoderPool:
    """Processes that decode photos; a context manager.

    They start with the first photos, or with `start`. `submit` never waits: whoever calls it bounds
    what is in flight. May be used from several threads.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        max_megapixels: float,
        workers: int | None = None,
        seconds: float = 60.0,
        memory: int | None = None,
        _entry: str = _ENTRY,
    ) -> None:
        """Take what holds for all photos.

        `workers` is the number of processes, by default one a processor core; `seconds` bounds the
        decoding of one photo, `memory` (bytes) what it may take, by default enough for any picture
        of `max_megapixels`. `_entry` is the statement that the processes run, for tests.
        """
        if not 0 < seconds < math.inf:
            raise ValueError(f"seconds must be positive, not {seconds}")
        settings = Settings(
            preprocessing=preprocessing.to_json(),
            max_megapixels=max_megapixels,
            seconds=seconds,
            memory=memory or memory_for(max_megapixels),
            parent=os.getpid(),
        )
        self._shape = (preprocessing.height, preprocessing.width, 3)
        self._settings = settings
        self._entry = _entry
        self._most = workers or min(available_cores(), MOST_PROCESSES)
        self._clock = _Clock(tick=min(_TICK, seconds / 4))
        self._changed = threading.Condition()  # of all that follows
        self._jobs: deque[_Job] = deque()
        self._threads: list[threading.Thread] = []  # one a process
        self._idle = 0  # threads that wait for a photo
        self._processes: set[_Process] = set()
        self._closed = False
        self._broken: str | None = None  # why no process can be started

    def start(self) -> None:
        """Start all processes now; returns at once."""
        with self._changed:
            while len(self._threads) < self._most and not (self._closed or self._broken):
                self._start_thread()

    def submit(self, data: bytes) -> Future[PreparedPhoto]:
        """Decode a file's bytes; returns at once.

        The future raises UnreadableImage, the reason in one line; ClipsearchError if no process can
        be started; CancelledError after `close`.
        """
        job = _Job(data, Future())
        with self._changed:
            if self._closed:
                raise RuntimeError("the decoders are closed")
            self._jobs.append(job)
            if self._idle < len(self._jobs) and len(self._threads) < self._most:
                self._start_thread()
            if self._broken:
                self._jobs.pop()
                job.future.set_exception(ClipsearchError(self._broken))
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """End all processes, also in the middle of a photo."""
        if os.getpid() != self._settings.parent:
            return  # a fork of the program: nothing of this is its own
        with self._changed:
            self._closed = True
            left, processes, threads = list(self._jobs), list(self._processes), list(self._threads)
            self._jobs.clear()
            self._changed.notify_all()
        self._clock.stop()
        for job in left:
            if not job.future.cancel():
                _settle(job.future, CancelledError())
        for process in processes:
            process.kill()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(timeout=10)  # longer only if the system can't end a process
        atexit.unregister(self.close)

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # In the threads, of which each has a process

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name="clipsearch-decoder", daemon=True)
        try:
            if not self._threads:
                self._clock.start()
                atexit.register(self.close)
            thread.start()  # and waits for the lock that is held here
        except RuntimeError as error:  # the system has no more threads
            self._most = len(self._threads)
            if not self._threads:
                self._broken = _no_process(str(error))
        else:
            self._threads.append(thread)
            self._idle += 1  # until it takes a photo

    def _serve(self) -> None:
        """Hand photos to a process, one after another, replacing it where needed."""
        # The process inherits this, so that Ctrl-C can't reach it before it ignores it. Nothing
        # else in this thread waits for signals.
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_THE_PROGRAM)
        process: _Process | None = None
        job: _Job | None = None
        try:
            while not self._closed:
                if process is None or not process.fit:
                    self._discard(process)
                    process = None
                    process = self._started()
                job = job or self._next_job()
                if job is not None:
                    job = self._decode(process, job)
        except _NoProcess as error:
            self._give_up(job, str(error))
            job = None
        except BaseException as error:  # a fault of this program: nobody may wait for ever
            self._give_up(job, f"{type(error).__name__}: {error}")
            job = None
            raise
        finally:
            self._discard(process)
            if job is not None:
                _settle(job.future, CancelledError())

    def _next_job(self) -> _Job | None:
        """Wait for a photo; None when the pool is closed."""
        with self._changed:
            while not self._closed:
                if self._jobs:
                    job = self._jobs.popleft()
                    if job.tried or job.future.set_running_or_notify_cancel():
                        self._idle -= 1
                        return job
                else:
                    self._changed.wait()
        return None

    def _decode(self, process: _Process, job: _Job) -> _Job | None:
        """Settle a photo; return it if it is to be tried again, in another process."""
        try:
            result: PreparedPhoto | UnreadableImage = process.decode(job.data, self._shape)
        except UnreadableImage as error:
            result = error.with_traceback(None)  # which would hold the file
        except _Died as death:
            if self._closed:
                return job  # cancelled there
            if death.may_be_innocent and not job.tried:
                job.tried = True
                return job
            result = UnreadableImage(death.reason)
        with self._changed:
            self._idle += 1
        _settle(job.future, result)
        return None

    def _started(self) -> _Process:
        """Start a process, trying a few times; raises _NoProcess."""
        for tried in range(1, _STARTS_TRIED + 1):
            try:
                return self._started_once()
            except _NoProcess:
                if self._closed or tried == _STARTS_TRIED:
                    raise
            with self._changed:
                self._changed.wait_for(lambda: self._closed, _PAUSE_AFTER_A_FAILED_START * tried)
        raise AssertionError

    def _started_once(self) -> _Process:
        process = _Process(self._entry, self._settings, self._clock)
        self._register(process)
        try:
            process.wait_until_ready()
        except _NoProcess:
            self._discard(process)
            raise
        return process

    def _register(self, process: _Process) -> None:
        with self._changed:
            self._processes.add(process)
            closed = self._closed
        if closed:
            process.kill()

    def _discard(self, process: _Process | None) -> None:
        if process is not None:
            process.end()
            with self._changed:
                self._processes.discard(process)

    def _give_up(self, job: _Job | None, reason: str) -> None:
        """Leave the work to the other threads; without any, fail all of it."""
        failed: list[_Job] = []
        with self._changed:
            if job is None:
                self._idle -= 1
            else:
                job.tried = True
                self._jobs.appendleft(job)
            self._threads.remove(threading.current_thread())
            self._most -= 1  # no more attempts while the others do
            if not self._threads:
                self._broken = reason
                failed = list(self._jobs)
                self._jobs.clear()
            self._changed.notify()
        if failed:
            self._clock.stop()
        for left in failed:
            _settle(left.future, ClipsearchError(reason))


@dataclass(eq=False)
class _Job:
    """A photo to decode."""

    data: bytes
    future: Future[PreparedPhoto]
    tried: bool = False


class _NoProcess(Exception):
    """No process can be started; the message is one line for the user."""


class _Died(Exception):
    """A process ended in the middle of a photo."""

    def __init__(self, reason: str, *, may_be_innocent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.may_be_innocent = may_be_innocent  # of the photo: it gets another try


class _Process:
    """A decoding process, used by one thread; any other may kill it."""

    def __init__(self, entry: str, settings: Settings, clock: _Clock) -> None:
        """Start it; raises _NoProcess."""
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
            raise _NoProcess(_no_process(error.strerror or str(error))) from error
        assert self._popen.stdin is not None and self._popen.stdout is not None
        self._input: Any = self._popen.stdin
        self._output: Any = self._popen.stdout
        _widen(self._input)
        _widen(self._output)

    def wait_until_ready(self) -> None:
        """Wait until it takes photos; raises _NoProcess."""
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
            raise _NoProcess(_no_process(why))

    def decode(self, data: bytes, shape: tuple[int, int, int]) -> PreparedPhoto:
        """Decode a photo; raises UnreadableImage or _Died."""
        try:
            with self._clock.limit(self, self._settings.seconds):
                self._send(data)
                answer = json.loads(self._receive(_LONGEST_ANSWER))
                self.fit = not answer["last"]
                if "reason" in answer:
                    raise UnreadableImage(str(answer["reason"]))
                return PreparedPhoto(PhotoMetadata(**answer["metadata"]), self._receive_into(shape))
        except (OSError, EOFError):
            raise self._death() from None
        except (ValueError, TypeError, KeyError):  # its memory may be in any state
            self.end()
            raise _Died("the decoder answered with something that is no picture") from None
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

    def _death(self) -> _Died:
        self.fit = False
        code = self._reap()
        if self.overdue:
            return _Died(f"decoding took longer than {self._settings.seconds:g} s")
        last_line = self._last_line()
        if last_line.startswith("MemoryError") or says_out_of_memory(last_line):
            return _Died(needs_more_memory(self._settings.memory))
        how = _how_it_ended(code)
        if -code in _NOT_THE_PHOTO:
            return _Died(
                f"the decoder was killed twice ({how}): the machine may be short of memory",
                may_be_innocent=True,
            )
        if code == 1 and last_line:
            return _Died(f"the decoder failed: {last_line}")
        return _Died(f"the decoder crashed ({how})")

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


class _Clock:
    """Ends processes that take too long, by a clock that runs only while this program does.

    A stopped program (Ctrl-Z) or a sleeping machine lets no limit go by.
    """

    def __init__(self, tick: float) -> None:
        self._tick = tick
        self._seconds = 0.0  # run so far
        self._lock = threading.Lock()
        self._deadlines: dict[_Process, float] = {}
        self._ending = threading.Event()

    def start(self) -> None:
        """Start the clock's thread."""
        threading.Thread(target=self._run, name="clipsearch-decoder-clock", daemon=True).start()

    def stop(self) -> None:
        """End the clock's thread."""
        self._ending.set()

    @contextlib.contextmanager
    def limit(self, process: _Process, seconds: float) -> Iterator[None]:
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


def memory_for(max_megapixels: float) -> int:
    """Return how many bytes any legal picture of that size may take to decode.

    Never more than three quarters of the machine's memory, and never less than a GiB.
    """
    needed = min(max_megapixels * 1e6 * _BYTES_PER_PIXEL, 2**50)
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not POSIX
        there = 8 << 30
    return int(max(min(needed, there * 0.75), _LEAST_MEMORY))


def available_cores() -> int:
    """Return how many processor cores this program may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


def _settle(future: Future[PreparedPhoto], result: PreparedPhoto | BaseException) -> None:
    with contextlib.suppress(InvalidStateError):  # cancelled meanwhile
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)


def _no_process(why: str) -> str:
    return f"no process to decode photos can be started: {why}"


def _how_it_ended(code: int) -> str:
    if code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code:#x}" if code > 255 else f"exit code {code}"
