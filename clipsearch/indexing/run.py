"""The path of photos into a library: changed files -> opened -> encoded -> stored."""

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
    ForgetFailure,
    Gone,
    Moved,
    SeenFile,
    ToOpen,
    Touched,
    compare,
    recognise,
    take_out_unchanged,
)
from clipsearch.index.paths import to_text
from clipsearch.index.records import FileState, PhotoRecord
from clipsearch.index.store import Store
from clipsearch.photos.away import (
    A_FOLDER,
    EMPTY,
    SURELY_NOT_THERE,
    away_folders,
    lies_below,
    replaced_folders,
)
from clipsearch.photos.decoder_pool import DecoderPool, PreparedPhoto
from clipsearch.photos.file_reading import read_whole
from clipsearch.photos.opening import DEFAULT_MAX_MEGAPIXELS, LARGEST_FILE, largest_file
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.photos.scanning import MountPoint, ScanProblem, scan_photos
from clipsearch.results import FailedFile, IndexOptions, IndexProgress

if TYPE_CHECKING:
    from clipsearch.models.encoder import Encoder

BATCH_SIZE = 32  # photos an encoder pass; more gains nothing on a processor
GPU_BATCH_SIZE = 256
BYTES_IN_FLIGHT = 256 * 2**20  # of files read ahead, whatever their number


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


class Decoders:
    """The processes that decode photos: started when they are needed, kept until closed."""

    def __init__(self) -> None:
        self._pool: DecoderPool | None = None
        self._made_for: tuple[Preprocessing, float] | None = None

    def pool(self, preprocessing: Preprocessing, max_megapixels: float) -> DecoderPool:
        """Return those for this model and limit; others are closed."""
        if self._pool is None or self._made_for != (preprocessing, max_megapixels):
            self.close()
            self._pool = DecoderPool(preprocessing, max_megapixels=max_megapixels)
            self._made_for = preprocessing, max_megapixels
        return self._pool

    def close(self) -> None:
        """End the processes; they are started anew if they are needed again."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class IndexRun:
    """One run over some folders, with one model; each finished batch is committed.

    With `preprocessing` given, photos are opened while the encoder is still being loaded.
    """

    def __init__(
        self,
        store: Store,
        model_id: int | None,
        load_encoder: Callable[[], tuple[Encoder, int]],
        *,
        preprocessing: Preprocessing | None,
        decoders: Decoders,
        options: IndexOptions,
        progress: Callable[[IndexProgress], None],
        stop: Callable[[], bool],
    ) -> None:
        self.model_id = model_id
        self.counts: Counter[str] = Counter()
        self.failures: list[FailedFile] = []
        self.problems: list[ScanProblem] = []
        self.interrupted = False
        self._store = store
        self._load_encoder = load_encoder
        self._preprocessing = preprocessing
        self._decoders = decoders
        self._encoder: Encoder | None = None
        self._options = options
        self._max_megapixels = options.max_megapixels or DEFAULT_MAX_MEGAPIXELS
        self._progress = progress
        self._stop = stop
        self._roots: Sequence[Path] = ()
        self._gone: dict[int, Path] = {}  # photos whose files are no longer there
        self._replaced: set[Path] = set()  # folders whose photos are gone, yet not forgotten
        self._changes: list[Change] = []  # waiting for the next commit
        self._ready: list[tuple[ReadFile, Placement, PreparedPhoto]] = []  # waiting for a batch
        self._same_content: dict[str, list[ReadFile]] = {}  # hash being embedded -> other files
        self._done = self._total = 0

    def run(self, roots: Sequence[Path]) -> None:
        """Bring the catalog in step with the files at or below the roots."""
        self._roots = roots
        try:
            self._take_in(self._compare(roots))
        except KeyboardInterrupt:
            self.interrupted = True
            self._progress(IndexProgress("saving", self._done, self._total))
        self._encode_and_commit()
        if not self.interrupted:
            self._remove_gone()

    def _compare(self, roots: Sequence[Path]) -> list[ToOpen]:
        """Settle what needs no look inside a file; return the files that do."""
        catalog = self._store.catalog
        seen = self._scan(roots)
        failed = {failure.file.path: failure.file for failure in catalog.failures(roots)}
        known = catalog.known_states(self.model_id, roots)
        files, rows = take_out_unchanged(seen, known, set(map(to_text, failed)))
        found = compare(
            map(SeenFile.state, files),
            catalog.known_of(self.model_id, rows),
            failed,
            retry_failed=self._options.retry_failed,
        )
        self.counts["unchanged"] = len(known) - len(rows) + len(found.same)
        self.counts["known failures"] = len(found.failed_still)
        unseen = {problem.path for problem in self.problems}
        self._gone = {
            k.photo_id: k.file.path for k in found.gone if not lies_below(k.file.path, unseen)
        }
        self._note_replaced(self._gone.values())
        forgotten = (path for path in found.failures_gone if not lies_below(path, unseen))
        self._changes += map(ForgetFailure, forgotten)
        postpone = self._options.postpone or (lambda _: False)
        to_open = [item for item in found.to_open if not postpone(item.file.path)]
        self._total = len(to_open)
        return to_open

    def _scan(self, roots: Sequence[Path]) -> list[SeenFile]:
        """Return the photos found; what can't be seen now goes to the problems."""
        away = self._note_away(roots)
        kinds = {folder.path: folder.kind for folder in self._store.catalog.folders()}
        seen: list[SeenFile] = []
        for root in roots:
            if lies_below(root, away) or self._became_another(root, kinds.get(root)):
                continue
            for entry in scan_photos(root, include_hidden=self._options.include_hidden):
                if isinstance(entry, SeenFile):
                    seen.append(entry)
                elif isinstance(entry, MountPoint):
                    self._store.catalog.add_mount(entry.path)
                elif entry.path != root or not _is_deleted(root):
                    self.problems.append(entry)
                if not len(seen) % 500:
                    self._stop_if_asked()
                    self._progress(IndexProgress("scanning", len(seen), 0))
        return seen

    def _became_another(self, root: Path, kind: str | None) -> bool:
        """Tell whether a folder is a file now, or a file a folder: then its photo is kept."""
        if kind == "file" and os.path.isdir(root):  # noqa: PTH112 - never raises
            self.problems.append(ScanProblem(root, f"{A_FOLDER}: its photo is kept"))
            return True
        return kind == "folder" and os.path.isfile(root)  # noqa: PTH113

    def _note_replaced(self, gone: Iterable[Path]) -> None:
        """Note folders below the roots in whose place is a file now: nobody deleted the photos."""
        if not self._options.prune:
            for folder, why in replaced_folders(gone).items():
                self._replaced.add(folder)
                self.problems.append(ScanProblem(folder, f"{why}: its photos are kept"))

    def _note_away(self, roots: Sequence[Path]) -> set[Path]:
        """Return what is away and not to be forgotten; note it where it has photos."""
        catalog = self._store.catalog
        away = away_folders(catalog.folders(), catalog.mounts())
        if self._options.prune:
            away = {path: why for path, why in away.items() if why not in SURELY_NOT_THERE}
        noted = {problem.path for problem in self.problems}
        for path, reason in away.items():
            concerned = lies_below(path, roots) or any(path in root.parents for root in roots)
            if concerned and path not in noted and catalog.photos_below(path):
                self.problems.append(ScanProblem(path, f"{reason}: its photos are kept"))
        return set(away)

    def _stop_if_asked(self) -> None:
        if self._stop():
            raise KeyboardInterrupt

    def _take_in(self, to_open: Sequence[ToOpen]) -> None:
        """Read, place, prepare and encode files; reading and decoding work ahead of the encoder."""
        in_flight: deque[tuple[ReadFile, Placement, Future[PreparedPhoto]]] = deque()
        size = 0
        pool = ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 2))
        try:
            for read in self._read_ahead(pool, to_open):
                self._stop_if_asked()
                if isinstance(read, Failed):
                    self._fail([read.file], read.reason)
                elif (placement := self._placement(read)) is not None:
                    in_flight.append((read, placement, self._decode(read.data)))
                    size += len(read.data)
                while in_flight and (
                    len(in_flight) > 2 * self._batch_size() or size > BYTES_IN_FLIGHT
                ):
                    size -= len(in_flight[0][0].data)
                    self._collect(*in_flight.popleft())
                del read  # else it stays in memory beside the next
            while in_flight:
                self._stop_if_asked()
                self._collect(*in_flight.popleft())
        finally:
            pool.shutdown(cancel_futures=True)
            for *_, prepared in in_flight:
                prepared.cancel()

    def _decode(self, data: bytes) -> Future[PreparedPhoto]:
        preprocessing = self._preprocessing or self._the_encoder().preprocessing
        return self._decoders.pool(preprocessing, self._max_megapixels).submit(data)

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
        same_content = self._store.catalog.photos_by_hash(read.content_hash)
        twins = [photo for photo in same_content if self._is_embedded(photo)]
        gone = {} if read.file.path in self._replaced else self._gone
        change = recognise(item, read.content_hash, twins, gone)
        embed = change is None
        if embed and known is None:  # a photo that moved keeps what other models made of it
            left = [photo for photo in same_content if photo.id in gone]
            change = recognise(item, read.content_hash, left, gone)
        if isinstance(change, Moved):
            self._gone.pop(change.photo_id, None)
            return Placement("moved", change, embed)
        if isinstance(change, Touched):
            return Placement("unchanged", change, embed)
        return Placement("changed" if known else "copied" if change else "added", change, embed)

    def _is_embedded(self, photo: PhotoRecord) -> bool:
        if self.model_id is None:
            return False
        return self._store.catalog.has_embedding(photo.id, self.model_id)

    def _collect(
        self, read: ReadFile, placement: Placement, prepared: Future[PreparedPhoto]
    ) -> None:
        error = prepared.exception()  # not raised: its traceback would keep the file's content
        if isinstance(error, UnreadableImage):
            same = self._same_content.pop(read.content_hash)
            self._fail([read.file, *(other.file for other in same)], str(error))
        else:  # without the content, which would fill the memory until the batch is full
            self._ready.append((replace(read, data=b""), placement, prepared.result()))
        if len(self._ready) >= self._batch_size():
            self._encode_and_commit()

    def _encode_and_commit(self) -> None:
        """Encode the photos that are ready and commit them with all other changes so far."""
        ready, self._ready = self._ready, []
        if ready:
            pixels = [photo.pixels for _, _, photo in ready]
            embeddings = self._the_encoder().encode_pixels(pixels)
            self._changes += [
                Embedded(read.file, read.content_hash, photo.metadata, embedding)
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
            self._store.apply(self._changes, self.model_id)
            self._changes = []

    def _remove_gone(self) -> None:
        if self._gone:
            # Again: a disk may have vanished during the run.
            away = self._replaced | self._note_away(self._roots)
            gone = sorted(id_ for id_, path in self._gone.items() if not lies_below(path, away))
            self._changes += map(Gone, gone)
            self.counts["removed"] = len(gone)
        self._commit()
        if self._options.prune:
            self._forget_places()

    def _forget_places(self) -> None:
        """Forget folders and mount points that are not there and hold no photos any more."""
        catalog = self._store.catalog
        away = away_folders(catalog.folders(), catalog.mounts())
        for path, reason in away.items():
            if reason in SURELY_NOT_THERE and not catalog.photos_below(path):
                catalog.remove_mount(path)
                if reason != EMPTY:
                    catalog.remove_folder(path)

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

    def _the_encoder(self) -> Encoder:
        if self._encoder is None:
            self._progress(IndexProgress("loading model", self._done, self._total))
            self._encoder, self.model_id = self._load_encoder()
        return self._encoder

    def _batch_size(self) -> int:
        if self._options.batch_size:
            return self._options.batch_size
        on_processor = self._encoder is None or self._encoder.device.type == "cpu"
        return BATCH_SIZE if on_processor else GPU_BATCH_SIZE


def _is_deleted(path: Path) -> bool:
    """Tell whether nothing is there, which is not known of what may not be looked at."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


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
