"""The path of photos into a library: changed files -> opened -> encoded -> stored.

A run is a plan (`Plan`), two stages that know no library (`prepare` in the decoding processes,
`Encoder.encode_pixels`), and commits around them.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.errors import UnreadableImage
from clipsearch.index.changes import (
    Change,
    Copied,
    Embedded,
    Failed,
    KnownFile,
    Moved,
    ToOpen,
    Touched,
    recognise,
)
from clipsearch.index.interface import WritableStore
from clipsearch.index.records import FileState
from clipsearch.indexing.model_choice import ModelChoice, loading
from clipsearch.indexing.more_facts import Completion
from clipsearch.indexing.plan import Plan
from clipsearch.options import IndexOptions, IndexProgress
from clipsearch.photos.decoder_pool import PreparedPhoto
from clipsearch.photos.decoder_process import Wanted
from clipsearch.photos.decoders import Decoders
from clipsearch.photos.file_reading import read_whole
from clipsearch.photos.opening import DEFAULT_MAX_MEGAPIXELS, LARGEST_FILE, largest_file
from clipsearch.results import FailedFile, IndexReport

if TYPE_CHECKING:
    from clipsearch.indexing.thumbnails_ahead import ThumbnailsAhead
    from clipsearch.models.encoder import Encoder
    from clipsearch.models.image.encoder import ImageEncoder

BATCH_SIZE = 32  # photos an encoder pass; more gains nothing on a processor
GPU_BATCH_SIZE = 256
BYTES_IN_FLIGHT = 256 * 2**20  # of files read ahead, whatever their number


class _Stopped(Exception):
    """The run was asked to stop."""


@dataclass(frozen=True)
class ReadFile:
    """A file's content, until it is decoded, with the state it had when it was read."""

    item: ToOpen
    file: FileState
    data: bytes
    content_hash: str


@dataclass(frozen=True)
class Placement:
    """What a file's content means for the catalog."""

    counted_as: str  # "added", "changed", "copied", "moved" or "unchanged"
    change: Touched | Moved | Copied | None
    embed: bool  # whether the content must go through the encoder


class IndexRun:
    """One run over some folders, with one model; each finished batch is committed.

    Where the library has a model, photos are opened while that is still being loaded.
    """

    def __init__(
        self,
        store: WritableStore,
        model: ModelChoice,
        roots: Sequence[Path],
        *,
        decoders: Decoders,
        options: IndexOptions,
        progress: Callable[[IndexProgress], None],
        stop: Callable[[], bool],
        thumbnails: ThumbnailsAhead | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[FailedFile] = []
        self.interrupted = False
        self.plan = Plan(store, roots, options, progress, self._check_stop)
        self._store = store
        self._model = model
        self._decoders = decoders
        self._options = options
        self._progress = progress
        self._stop = stop
        self._thumbnails = thumbnails
        self._max_megapixels = options.max_megapixels or DEFAULT_MAX_MEGAPIXELS
        self._changes: list[Change] = []  # waiting for the next commit
        self._ready: list[tuple[ReadFile, Placement, PreparedPhoto]] = []  # waiting for a batch
        self._same_content: dict[str, list[ReadFile]] = {}  # hash being embedded -> other files
        self._done = self._total = 0

    def run(self) -> None:
        """Bring the catalog in step with the files at or below the roots."""
        try:
            to_open = self.plan.files_to_open(self._model.id)
            self._changes += self.plan.changes
            self._total = self._model.photos = len(to_open)
            self._take_in(to_open)
        except (_Stopped, KeyboardInterrupt):
            self.interrupted = True
            self._progress(IndexProgress("saving", self._done, self._total))
        self.counts["unchanged"] += self.plan.unchanged
        self.counts["known failures"] = self.plan.known_failures
        self._encode_and_commit()
        if not self.interrupted:
            self._remove_gone()
            self._read_more()
        if not self.interrupted:
            self._make_thumbnails()

    @property
    def let_go(self) -> bool:
        """Whether the catalog may hold less than before the run: photos, or earlier contents."""
        less = ("removed", "left out", "changed", "moved")
        return self._options.prune or any(self.counts[what] for what in less)

    def report(self, model: str, notes: Sequence[str], seconds: float) -> IndexReport:
        """Return what the run did."""
        counts = self.counts
        return IndexReport(
            model=model,
            added=counts["added"] + counts["copied"],
            changed=counts["changed"],
            moved=counts["moved"],
            copied=counts["copied"],
            removed=counts["removed"],
            left_out=counts["left out"],
            unchanged=counts["unchanged"],
            embedded=counts["embedded"],
            failures=tuple(self.failures),
            known_failures=counts["known failures"],
            problems=tuple(self.plan.problems),
            notes=tuple(notes),
            seconds=seconds,
            interrupted=self.interrupted,
            completed=counts["completed"],
            sidecars=counts["sidecars"],
            thumbnails=self._thumbnails.made if self._thumbnails else 0,
        )

    def _check_stop(self) -> None:
        if self._stop():
            raise _Stopped

    def _read_more(self) -> None:
        """Read sidecars that changed, and what an earlier version left unread in photos."""
        completion = Completion(self._store, self._decode, self._progress)
        try:
            for change in self.plan.sidecars_changed():
                self._changes.append(change)
                self.counts["sidecars"] += 1
                self._check_stop()
            photos = self.plan.photos_to_complete()
            if photos:
                completion.complete(self._to_complete(completion.to_open(photos)))
        except (_Stopped, KeyboardInterrupt):
            self.interrupted = True
        completion.commit()
        self.counts["completed"] = completion.done
        self._commit()

    def _to_complete(self, files: Iterable[ToOpen]) -> Iterator[tuple[KnownFile, bytes, str]]:
        """Yield what can be read of files that are as they were, until the run is stopped."""
        pool = ThreadPoolExecutor(max_workers=2)
        try:
            for read in self._read_ahead(pool, files):
                self._check_stop()
                known = read.item.known if isinstance(read, ReadFile) else None
                if isinstance(read, ReadFile) and known is not None and read.file == known.file:
                    yield known, read.data, read.content_hash
                del read  # else it stays in memory beside the next
        finally:
            pool.shutdown(cancel_futures=True)

    def _take_in(self, to_open: Sequence[ToOpen]) -> None:
        """Read, place, prepare and encode files; reading and decoding work ahead of the encoder."""
        in_flight: deque[tuple[ReadFile, Placement, Future[PreparedPhoto]]] = deque()
        size = 0
        pool = ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 2))
        try:
            for read in self._read_ahead(pool, to_open):
                self._check_stop()
                if isinstance(read, Failed):
                    self._fail([read.file], read.reason)
                elif (placement := self._placement(read)) is not None:
                    wanted = Wanted(picture=self._thumbnails.wanted) if self._thumbnails else None
                    in_flight.append((read, placement, self._decode(read.data, wanted)))
                    size += len(read.data)
                while in_flight and (
                    len(in_flight) > 2 * self._batch_size() or size > BYTES_IN_FLIGHT
                ):
                    size -= len(in_flight[0][0].data)
                    self._collect(*in_flight.popleft())
                del read  # else it stays in memory beside the next
            while in_flight:
                self._check_stop()
                self._collect(*in_flight.popleft())
        finally:
            pool.shutdown(cancel_futures=True)
            for *_, prepared in in_flight:
                prepared.cancel()

    def _make_thumbnails(self) -> None:
        """Make the pictures of photos that were there before, if pictures are wanted."""
        if self._thumbnails is None:
            return
        try:
            self._thumbnails.make_missing(
                self._store, self._decode, self._progress, self._check_stop
            )
        except (_Stopped, KeyboardInterrupt):
            self.interrupted = True

    def _decode(self, data: bytes, wanted: Wanted | None = None) -> Future[PreparedPhoto]:
        if (preprocessing := self._model.preprocessing) is None:
            preprocessing = self._encoder().preprocessing
        return self._decoders.submit(data, preprocessing, self._max_megapixels, wanted)

    def _read_ahead(
        self, pool: ThreadPoolExecutor, to_open: Iterable[ToOpen]
    ) -> Iterator[ReadFile | Failed]:
        """Yield the files' contents in order, read by the pool some files ahead."""
        reads: deque[tuple[int, Future[ReadFile | Failed]]] = deque()
        size = 0
        most = largest_file(self._max_megapixels)
        for item in to_open:
            reads.append((item.file.size, pool.submit(read_file, item, most)))
            size += item.file.size
            while reads and (len(reads) > self._batch_size() or size > BYTES_IN_FLIGHT):
                size -= reads[0][0]
                yield reads.popleft()[1].result()  # no name, which would keep it here
        while reads:
            yield reads.popleft()[1].result()

    def _placement(self, read: ReadFile) -> Placement | None:
        """Return the placement of content that needs the encoder; settle all other files here."""
        if read.content_hash in self._same_content:
            self._same_content[read.content_hash].append(replace(read, data=b""))
            return None
        placement = self._place(read)
        self._record(placement)
        if not placement.embed:
            self._count(placement)
            return None
        self._same_content[read.content_hash] = []
        return placement

    def _place(self, read: ReadFile) -> Placement:
        """Decide what a file's content means: the same, moved, copied, or to be embedded."""
        known = read.item.known
        item = ToOpen(read.file, known)
        same_content = self._store.photos_with_content(read.content_hash)
        twins = [twin.photo for twin in same_content if self._model.id in twin.embedded_by]
        gone = {} if read.file.path in self.plan.replaced else self.plan.gone
        change = recognise(item, read.content_hash, twins, gone)
        embed = change is None
        if embed and known is None:  # a photo that moved keeps what other models made of it
            left = [twin.photo for twin in same_content if twin.photo.id in gone]
            change = recognise(item, read.content_hash, left, gone)
        if isinstance(change, Moved):
            self.plan.gone.pop(change.photo_id, None)
            return Placement("moved", change, embed)
        if isinstance(change, Touched):
            return Placement("unchanged", change, embed)
        return Placement("changed" if known else "copied" if change else "added", change, embed)

    def _collect(
        self, read: ReadFile, placement: Placement, prepared: Future[PreparedPhoto]
    ) -> None:
        error = prepared.exception()  # not raised: its traceback would keep the file's content
        if isinstance(error, UnreadableImage):
            same = self._same_content.pop(read.content_hash)
            self._fail([read.file, *(other.file for other in same)], str(error))
        else:  # without the content, which would fill the memory until the batch is full
            photo = prepared.result()
            if self._thumbnails is not None:
                self._thumbnails.keep(read.content_hash, photo)
            self._ready.append((replace(read, data=b""), placement, replace(photo, picture=None)))
        if len(self._ready) >= self._batch_size():
            self._encode_and_commit()

    def _encode_and_commit(self) -> None:
        """Encode the photos that are ready and commit them with all other changes so far."""
        ready, self._ready = self._ready, []
        if ready:
            pixels = [photo.pixels for _, _, photo in ready]
            embeddings = self._encoder().encode_pixels(pixels)
            self._changes += [
                Embedded(read.file, read.content_hash, photo.metadata, embedding, photo.words)
                for (read, _, photo), embedding in zip(ready, embeddings, strict=True)
            ]
        self._commit()
        self.counts["embedded"] += len(ready)
        for read, placement, _ in ready:
            self._count(placement)
            for other in self._same_content.pop(read.content_hash):
                copied = self._place(other)
                self._record(copied)
                self._count(copied)
        self._commit()

    def _commit(self) -> None:
        if self._changes:
            self._store.apply(self._changes, self._model.id)
            self._changes = []

    def _remove_gone(self) -> None:
        gone = self.plan.photos_gone()
        self.counts["left out"] = self.plan.left_out
        self.counts["removed"] = len(gone) - self.plan.left_out
        self._changes += gone
        self._commit()
        if self._options.prune:
            self._changes += self.plan.places_gone()
            self._commit()

    def _fail(self, files: Iterable[FileState], reason: str) -> None:
        for file in files:
            self._changes.append(Failed(file, reason))
            self.failures.append(FailedFile(file.path, reason))
            self._advance()

    def _record(self, placement: Placement) -> None:
        if placement.change:
            self._changes.append(placement.change)

    def _count(self, placement: Placement) -> None:
        self.counts[placement.counted_as] += 1
        self._advance()

    def _advance(self) -> None:
        self._done += 1
        self._progress(IndexProgress("encoding", self._done, self._total))

    def _encoder(self) -> Encoder | ImageEncoder:
        if self._model.loaded is None:
            self._progress(loading(self._model.name, self._done, self._total))
        return self._model.encoder()

    def _batch_size(self) -> int:
        if self._options.batch_size:
            return self._options.batch_size
        encoder = self._model.loaded
        return BATCH_SIZE if encoder is None or encoder.on_processor else GPU_BATCH_SIZE


def read_file(item: ToOpen, most: int = LARGEST_FILE) -> ReadFile | Failed:
    """Read and hash a file; the state kept is that of the file that was really read.

    One of more than `most` bytes is not read: it fails in the state that it has.
    """
    path = item.file.path
    try:
        data, status = read_whole(path, most)
    except UnreadableImage as error:
        return Failed(item.file, str(error))
    except OSError as error:
        # A state that no file has, so that it is tried again when the disk or the rights are back.
        return Failed(FileState(path, -1, -1), f"can't be read: {error.strerror or error}")
    file = FileState(path, status.st_size, status.st_mtime_ns)
    return ReadFile(item, file, data, hashlib.sha256(data).hexdigest())
