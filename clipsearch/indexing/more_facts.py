"""What a run reads beside new photos: sidecars that changed, and what older versions left unread.

No photo is embedded for it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.errors import UnreadableImage
from clipsearch.index.changes import (
    Change,
    Completed,
    KnownFile,
    SeenSidecar,
    SidecarsRead,
    ToOpen,
)
from clipsearch.index.interface import WritableStore
from clipsearch.index.paths import to_path
from clipsearch.index.records import FACTS, Word
from clipsearch.options import IndexProgress
from clipsearch.photos.file_reading import read_whole
from clipsearch.photos.words_in_photos import kept, words_in_sidecar
from clipsearch.photos.xmp import LONGEST_XMP

if TYPE_CHECKING:
    from clipsearch.photos.decoder_pool import PreparedPhoto

PHASE = "completing"
_IN_FLIGHT = 32  # photos that are decoded ahead
_A_BATCH = 200  # photos a commit


def changed_sidecars(
    seen: Iterable[SeenSidecar], known: set[SeenSidecar]
) -> dict[str, list[SeenSidecar]]:
    """Return the photos of which a sidecar is new, changed or gone, each with all that it has now.

    Photos by their paths, as the catalog writes them.
    """
    now: dict[str, list[SeenSidecar]] = {}
    for sidecar in seen:
        now.setdefault(sidecar.photo, []).append(sidecar)
    different = known.symmetric_difference(one for beside in now.values() for one in beside)
    return {photo: now.get(photo, []) for photo in sorted({one.photo for one in different})}


def sidecars_read(
    store: WritableStore, photo: Path, beside: Sequence[SeenSidecar]
) -> Iterator[Change]:
    """Yield what the sidecars of a photo say, if the store has the photo.

    One that can't be read now is tried again by the next run.
    """
    for entry in store.photos_at([photo]):
        read = [(one.state(), _words_in(one)) for one in beside]
        files = tuple(file for file, words in read if words is not None)
        words = kept(word for _, found in read for word in found or ())
        yield SidecarsRead(entry.photo.id, files, words)


def _words_in(sidecar: SeenSidecar) -> tuple[Word, ...] | None:
    try:
        return words_in_sidecar(read_whole(to_path(sidecar.path), LONGEST_XMP)[0])
    except UnreadableImage:  # longer than any
        return ()
    except (OSError, ValueError):
        return None


class Completion:
    """Opens photos again of which less was read than is today, and says what is in them.

    What can't be read now is left to the next run. What is no picture to today's decoders, or looks
    unchanged and is not, is done without: it would be opened in vain each time.
    """

    def __init__(
        self,
        store: WritableStore,
        decode: Callable[[bytes], Future[PreparedPhoto]],
        progress: Callable[[IndexProgress], None],
    ) -> None:
        self._store = store
        self._decode = decode
        self._progress = progress
        self._in_flight: deque[tuple[KnownFile, Future[PreparedPhoto]]] = deque()
        self._copies: Counter[str] = Counter()  # photos with each content
        self.changes: list[Change] = []  # not committed yet
        self.done = 0  # photos completed

    def to_open(self, photos: Sequence[KnownFile]) -> list[ToOpen]:
        """Return the files to open for these photos: one for each content."""
        self._copies.update(known.content_hash for known in photos)
        first = {known.content_hash: known for known in reversed(photos)}
        return [ToOpen(known.file, known) for known in reversed(first.values())]

    def complete(self, files: Iterable[tuple[KnownFile, bytes, str]]) -> None:
        """Take files as they are read, each with its content and the hash of that."""
        total = self._copies.total()
        self._progress(IndexProgress(PHASE, 0, total, _what(total)))
        try:
            for known, data, content_hash in files:
                self._take(known, data, content_hash)
                del data  # else it stays in memory beside the next
                while len(self._in_flight) > _IN_FLIGHT:
                    self._collect()
            while self._in_flight:
                self._collect()
        finally:
            for _, prepared in self._in_flight:
                prepared.cancel()

    def _take(self, known: KnownFile, data: bytes, content_hash: str) -> None:
        if known.content_hash == content_hash:
            self._in_flight.append((known, self._decode(data)))
        else:
            self._do_without(known)

    def _collect(self) -> None:
        known, prepared = self._in_flight.popleft()
        error = prepared.exception()  # not raised: its traceback would keep the file's content
        if error is None:
            photo = prepared.result()
            self.changes.append(Completed(known.content_hash, photo.metadata, photo.words))
        elif isinstance(error, UnreadableImage):
            self._do_without(known)
        else:
            raise error
        self.done += self._copies[known.content_hash]
        self._progress(IndexProgress(PHASE, self.done, self._copies.total()))
        if len(self.changes) >= _A_BATCH:
            self.commit()

    def _do_without(self, known: KnownFile) -> None:
        photos = self._store.photos([known.photo_id]).values()
        self.changes += [
            Completed(known.content_hash, replace(one.metadata, facts=FACTS)) for one in photos
        ]

    def commit(self) -> None:
        """Commit what was read so far."""
        changes, self.changes = self.changes, []
        if changes:
            self._store.apply(changes)


def _what(photos: int) -> str:
    count = f"{photos:,} photo{'s' * (photos != 1)}"
    return f"completing {count} of an earlier version: words in them, and what tells copies"
