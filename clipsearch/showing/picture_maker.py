"""Makes the pictures that people are shown of photos: once each, a few at a time.

The work is done by decoding processes: a photo that crashes, hangs or blows up costs itself alone.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from clipsearch import machine
from clipsearch.errors import LibraryClosed, ServerBusy, UnreadableImage
from clipsearch.index.records import PhotoRecord
from clipsearch.photos.as_indexed import read_as_indexed
from clipsearch.photos.opening import DEFAULT_MAX_MEGAPIXELS
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.photos.rendering import Rendering
from clipsearch.showing.kept_thumbnails import KeptThumbnails

if TYPE_CHECKING:
    from clipsearch.photos.decoder_pool import DecoderPool

SMALL, LARGE = 480, 1600  # pixels of the longer side
MOST_WAITING = 512  # pictures that are being made or wait for it

_SECONDS = 30.0  # for one photo
_MOST_PROCESSES = 4
_MOST_REMEMBERED = 2000  # failures, and photos of which it is known how they were taken
_ANY = Preprocessing(224, 224)  # no model's pixels are asked for


def side_of(photo: PhotoRecord, side: int) -> int:
    """Return by which side a photo's picture is kept: of a small photo, all are the same."""
    return SMALL if max(photo.metadata.width, photo.metadata.height) <= SMALL else side


class PictureMaker:
    """Makes pictures of photos, and keeps the small ones; for many threads.

    Whoever asks for what is being made already waits for that. The processes start with the first
    picture that is not kept, or with `start`.
    """

    def __init__(self, kept: KeptThumbnails, *, workers: int | None = None) -> None:
        self._kept = kept
        self._workers = workers or max(min(machine.cores(), _MOST_PROCESSES), 1)
        # One more than there are processes reads ahead for them.
        self._threads = ThreadPoolExecutor(self._workers + 1, thread_name_prefix="clipsearch-shown")
        self._lock = threading.Lock()  # of all that follows
        self._pool: DecoderPool | None = None
        self._begun: dict[tuple[str, Rendering], Future[bytes]] = {}
        self._failed: OrderedDict[tuple[str, Rendering], str] = OrderedDict()
        self._exposures: OrderedDict[str, tuple[tuple[str, str], ...]] = OrderedDict()
        self._closed = False

    def start(self) -> None:
        """Start the processes now, so that the first picture does not wait; returns at once."""
        self._processes().start()

    def kept(self, photo: PhotoRecord, side: int) -> bytes | None:
        """Return a small picture that is there already; reads a file."""
        return self._kept.get(photo.content_hash, side_of(photo, side))

    def thumbnail(
        self, photo: PhotoRecord, side: int, is_there: Callable[[], bool] | None = None
    ) -> Future[bytes]:
        """Return a photo as a WebP whose longer side has `side` pixels, or as many as the photo.

        The future raises UnreadableImage, the reason in one line. `is_there` is asked, in another
        thread, once the picture is kept: one of a photo that was removed meanwhile is not left.
        Raises ServerBusy, LibraryClosed.
        """
        return self._asked(photo, Rendering("WEBP", side_of(photo, side)), is_there or _yes)

    def whole(self, photo: PhotoRecord) -> Future[bytes]:
        """Return a photo at full size as a JPEG, which is not kept. Raises as `thumbnail` does."""
        return self._asked(photo, Rendering("JPEG"), _yes)

    def exposure(self, photo: PhotoRecord) -> Future[tuple[tuple[str, str], ...]]:
        """Return how a photo was taken, by name and in words. Raises as `thumbnail` does."""
        with self._lock:
            if self._closed:
                raise LibraryClosed("the server ends")
            return self._threads.submit(self._told, photo)

    def close(self) -> None:
        """End the processes; who waits for a picture is told."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
        self._threads.shutdown(cancel_futures=True)

    def _asked(
        self, photo: PhotoRecord, rendering: Rendering, is_there: Callable[[], bool]
    ) -> Future[bytes]:
        key = photo.content_hash, rendering
        with self._lock:
            if self._closed:
                raise LibraryClosed("the server ends")
            if key in self._begun:
                return self._begun[key]
            if key in self._failed:
                return _failed(self._failed[key])
            if len(self._begun) >= MOST_WAITING:
                raise ServerBusy("too many pictures are being made: try again later")
            future = self._threads.submit(self._made, photo, rendering, is_there)
            self._begun[key] = future
        future.add_done_callback(lambda done: self._done(key, done))
        return future

    def _done(self, key: tuple[str, Rendering], future: Future[bytes]) -> None:
        with self._lock:
            self._begun.pop(key, None)

    def _made(
        self, photo: PhotoRecord, rendering: Rendering, is_there: Callable[[], bool]
    ) -> bytes:
        data = read_as_indexed(photo)
        try:
            picture = self._decoded(data, rendering)
        except UnreadableImage as error:  # of these bytes, whatever file holds them
            with self._lock:
                self._failed[photo.content_hash, rendering] = str(error)
                if len(self._failed) > _MOST_REMEMBERED:
                    self._failed.popitem(last=False)
            raise
        kept = rendering.side is not None and self._kept.put(
            photo.content_hash, rendering.side, picture
        )
        if kept and not is_there():  # asked after it is kept: a later removal finds the file
            self._kept.forget(photo.content_hash)
        return picture

    def _told(self, photo: PhotoRecord) -> tuple[tuple[str, str], ...]:
        from clipsearch.photos.decoder_process import Wanted

        with self._lock:
            known = self._exposures.get(photo.content_hash)
        if known is not None:
            return known
        wanted = Wanted(pixels=False, exposure=True)
        said = self._processes().submit(read_as_indexed(photo), wanted).result().exposure
        with self._lock:
            self._exposures[photo.content_hash] = said
            if len(self._exposures) > _MOST_REMEMBERED:
                self._exposures.popitem(last=False)
        return said

    def _decoded(self, data: bytes, rendering: Rendering) -> bytes:
        from clipsearch.photos.decoder_process import Wanted

        wanted = Wanted(pixels=False, picture=rendering)
        try:
            made = self._processes().submit(data, wanted).result().picture
        except CancelledError:
            raise LibraryClosed("the server ends") from None
        assert made is not None  # for it was wanted
        return made

    def _processes(self) -> DecoderPool:
        from clipsearch.photos.decoder_pool import DecoderPool

        with self._lock:
            if self._closed:
                raise LibraryClosed("the server ends")
            if self._pool is None:
                self._pool = DecoderPool(
                    _ANY,
                    max_megapixels=DEFAULT_MAX_MEGAPIXELS,
                    workers=self._workers,
                    seconds=_SECONDS,
                )
            return self._pool


def _yes() -> bool:
    return True


def _failed(reason: str) -> Future[bytes]:
    future: Future[bytes] = Future()
    future.set_exception(UnreadableImage(reason))
    return future
