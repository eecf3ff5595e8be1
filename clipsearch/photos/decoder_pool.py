"""Photos are decoded in processes of their own, so that none can take the program down.

A decoder that crashes, hangs or eats memory costs its photo and one process, which is replaced.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import signal
import threading
from collections import deque
from concurrent.futures import CancelledError, Future, InvalidStateError
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch import machine
from clipsearch.errors import ClipsearchError, UnreadableImage
from clipsearch.index.records import PhotoMetadata, Word
from clipsearch.photos.decoder_handle import (
    DecoderClock,
    DecoderDied,
    DecoderHandle,
    NoProcess,
    no_process,
)
from clipsearch.photos.decoder_process import LEFT_TO_THE_PROGRAM, Settings, Wanted
from clipsearch.photos.preprocessing import Preprocessing

MOST_PROCESSES = 32
PIXELS = Wanted()  # for a model

_ENTRY = "from clipsearch.photos.decoder_process import main; main()"
_STARTS_TRIED = 3
_PAUSE_AFTER_A_FAILED_START = 0.3  # seconds, longer with each
_TICK = 0.5  # seconds between looks at the time limits

# The most that a legal picture needed: 26 bytes a pixel (gray in floating point, 24 megapixels).
_BYTES_PER_PIXEL = 28
_LEAST_MEMORY = 1 << 30


@dataclass(frozen=True)
class PreparedPhoto:
    """A photo ready for the encoder."""

    metadata: PhotoMetadata
    pixels: NDArray[np.uint8]  # (height, width, 3); (0, 0, 3) where none were wanted
    words: tuple[Word, ...] = ()
    picture: bytes | None = None  # a file for people to look at, where one was wanted and came out
    exposure: tuple[tuple[str, str], ...] = ()  # how it was taken, by name, where that was wanted


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
        self._most = workers or min(machine.cores(), MOST_PROCESSES)
        self._clock = DecoderClock(tick=min(_TICK, seconds / 4))
        self._changed = threading.Condition()  # of all that follows
        self._jobs: deque[_Job] = deque()
        self._threads: list[threading.Thread] = []  # one a process
        self._idle = 0  # threads that wait for a photo
        self._processes: set[DecoderHandle] = set()
        self._closed = False
        self._broken: str | None = None  # why no process can be started

    def start(self) -> None:
        """Start all processes now; returns at once."""
        with self._changed:
            while len(self._threads) < self._most and not (self._closed or self._broken):
                self._start_thread()

    def submit(self, data: bytes, wanted: Wanted = PIXELS) -> Future[PreparedPhoto]:
        """Decode a file's bytes, and make what is wanted of them; returns at once.

        The future raises UnreadableImage, the reason in one line; ClipsearchError if no process can
        be started; CancelledError after `close`.
        """
        job = _Job(data, wanted, Future())
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
                self._broken = no_process(str(error))
        else:
            self._threads.append(thread)
            self._idle += 1  # until it takes a photo

    def _serve(self) -> None:
        """Hand photos to a process, one after another, replacing it where needed."""
        # The process inherits this, so that Ctrl-C can't reach it before it ignores it. Nothing
        # else in this thread waits for signals.
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_THE_PROGRAM)
        process: DecoderHandle | None = None
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
        except NoProcess as error:
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

    def _decode(self, process: DecoderHandle, job: _Job) -> _Job | None:
        """Settle a photo; return it if it is to be tried again, in another process."""
        try:
            result: PreparedPhoto | UnreadableImage = PreparedPhoto(
                *process.decode(job.data, job.wanted, self._shape)
            )
        except UnreadableImage as error:
            result = error.with_traceback(None)  # which would hold the file
        except DecoderDied as death:
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

    def _started(self) -> DecoderHandle:
        """Start a process, trying a few times; raises NoProcess."""
        for tried in range(1, _STARTS_TRIED + 1):
            try:
                return self._started_once()
            except NoProcess:
                if self._closed or tried == _STARTS_TRIED:
                    raise
            with self._changed:
                self._changed.wait_for(lambda: self._closed, _PAUSE_AFTER_A_FAILED_START * tried)
        raise AssertionError

    def _started_once(self) -> DecoderHandle:
        process = DecoderHandle(self._entry, self._settings, self._clock)
        self._register(process)
        try:
            process.wait_until_ready()
        except NoProcess:
            self._discard(process)
            raise
        return process

    def _register(self, process: DecoderHandle) -> None:
        with self._changed:
            self._processes.add(process)
            closed = self._closed
        if closed:
            process.kill()

    def _discard(self, process: DecoderHandle | None) -> None:
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
    wanted: Wanted
    future: Future[PreparedPhoto]
    tried: bool = False


def memory_for(max_megapixels: float) -> int:
    """Return how many bytes any legal picture of that size may take to decode.

    Never more than three quarters of the machine's memory, and never less than a GiB.
    """
    needed = min(max_megapixels * 1e6 * _BYTES_PER_PIXEL, 2**50)
    return int(max(min(needed, machine.memory() * 0.75), _LEAST_MEMORY))


def _settle(future: Future[PreparedPhoto], result: PreparedPhoto | BaseException) -> None:
    with contextlib.suppress(InvalidStateError):  # cancelled meanwhile
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
