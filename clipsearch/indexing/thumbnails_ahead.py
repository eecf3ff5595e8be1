"""Small pictures made while photos are indexed, so that nobody waits for them later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

from clipsearch.errors import UnreadableImage
from clipsearch.index.interface import WritableStore
from clipsearch.index.records import PhotoRecord
from clipsearch.options import IndexProgress
from clipsearch.photos.as_indexed import read_as_indexed
from clipsearch.photos.decoder_process import Wanted
from clipsearch.photos.rendering import Rendering
from clipsearch.showing.kept_thumbnails import KeptThumbnails
from clipsearch.showing.picture_maker import SMALL

if TYPE_CHECKING:
    from clipsearch.photos.decoder_pool import PreparedPhoto

PHASE = "making thumbnails"
WANTED = Rendering("WEBP", SMALL)
_ALONE = Wanted(pixels=False, picture=WANTED)
_IN_FLIGHT = 16  # photos that are decoded ahead
_AT_ONCE = 500  # rows of the catalog

Decode = Callable[[bytes, Wanted], "Future[PreparedPhoto]"]


class ThumbnailsAhead:
    """Keeps the thumbnails that come with photos, and makes those that are missing.

    As many as there is room for: none has to go for another. One that does not come out is left to
    whoever looks at the photo.
    """

    wanted = WANTED  # beside a photo's pixels

    def __init__(self, kept: KeptThumbnails) -> None:
        self._kept = kept
        self.made = 0

    def keep(self, content_hash: str, photo: PreparedPhoto) -> None:
        """Keep the picture that came with a photo's pixels, if one did."""
        if photo.picture is not None and self._kept.put(content_hash, SMALL, photo.picture):
            self.made += 1

    def make_missing(
        self,
        store: WritableStore,
        decode: Decode,
        progress: Callable[[IndexProgress], None],
        check_stop: Callable[[], None],
    ) -> None:
        """Make the pictures of all photos that have none."""
        missing = list(self._missing(store))
        in_flight: deque[tuple[str, Future[PreparedPhoto]]] = deque()
        try:
            for done, photo in enumerate(missing):
                check_stop()
                if done % _AT_ONCE == 0 and not self._kept.has_room():
                    break
                progress(IndexProgress(PHASE, done, len(missing)))
                try:
                    data = read_as_indexed(photo)
                except UnreadableImage:
                    continue
                in_flight.append((photo.content_hash, decode(data, _ALONE)))
                while len(in_flight) > _IN_FLIGHT:
                    self._collect(*in_flight.popleft())
            while in_flight:
                self._collect(*in_flight.popleft())
        finally:
            for _, prepared in in_flight:
                prepared.cancel()

    def _missing(self, store: WritableStore) -> Iterator[PhotoRecord]:
        ids = store.photos_below(None).tolist()
        seen: set[str] = set()
        for start in range(0, len(ids), _AT_ONCE):
            for photo in store.photos(ids[start : start + _AT_ONCE]).values():
                if photo.content_hash in seen or self._kept.has(photo.content_hash, SMALL):
                    continue
                seen.add(photo.content_hash)
                yield photo

    def _collect(self, content_hash: str, prepared: Future[PreparedPhoto]) -> None:
        error = prepared.exception()
        if error is None:
            self.keep(content_hash, prepared.result())
        elif not isinstance(error, UnreadableImage):
            raise error
