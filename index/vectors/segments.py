"""Index files in vectors/, made from the catalog: which there are, and making the next.

The embeddings of a model, in order of their ids, are covered by a few files, *segments*: each
holds those above the watermark of the segment before it, up to its own. What is newer than the
last one is read from the catalog. So to add a photo costs a row; now and then a new segment takes
in what has come since, together with the segments before it that are not much larger. A vector
is written a few times in its life, however large the library grows.

A file is written under a passing name, put in place, and only then recorded in the catalog;
files that the catalog does not name are litter. So a crash at any step leaves the former files in
use, and at worst there is none: the catalog alone answers every search, only slower.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from clipsearch.errors import LibraryError
from clipsearch.index.database import Database
from clipsearch.index.durable import in_words, make_folder, put_in_place
from clipsearch.index.embeddings import embeddings_between, removed_after
from clipsearch.index.records import utc_now
from clipsearch.index.vectors.vector_files import FileStamp, UnusableFile, ids_in_file, write_file
from clipsearch.index.vectors.vector_index import VectorIndex

# To read so many embeddings from the catalog at the start of a program takes 10 ms. A library of no
# more has one index file, made anew after every change.
NEWEST = 2_000
# A new segment takes in the one before it, if that is at most so many times as large as it is.
TAKEN_IN = 2
# A segment is made anew without its removed vectors, if they are more than this share of it.
REMOVED_SHARE = 0.05
# A smaller library is searched exactly in some 10 ms (512 dimensions, two cores), which nobody
# notices. In a larger one, segments of at least LISTS_FROM vectors get lists, and are searched
# exactly only if a search asks for it.
APPROXIMATE_FROM = 500_000
LISTS_FROM = 20_000
# Files up to this size are compared with their checksums before they are used, by readers and
# writers alike. A larger file that is damaged, but has the right shape, is found out by
# `clipsearch check` alone.
VERIFIED_BYTES = 16 << 20

# The names of files in vectors/ that this module makes, and so may remove.
_OURS = re.compile(r"model-\d+(\.new|-\d+-[0-9a-f]{8}\.faiss)")


@dataclass(frozen=True)
class Segment:
    """An index file as the catalog records it."""

    file: str  # its name in vectors/
    stamp: FileStamp
    after: int  # it holds the embeddings with ids above this one, up to its watermark
    recall: float | None  # measured when it was made; None if it was made for exact search

    def path(self, folder: Path) -> Path:
        """Return the file's path; UnusableFile if the catalog gives a name that can't be ours."""
        if not _OURS.fullmatch(self.file):
            raise UnusableFile("has a name that is none of an index file")
        return folder / self.file

    def open(self, folder: Path) -> VectorIndex:
        """Return the index in the file, as `VectorIndex.open` does."""
        verify = self.stamp.bytes <= VERIFIED_BYTES
        index = VectorIndex.open(self.path(folder), self.stamp, verify=verify)
        if index.ids[0, 0] <= self.after:
            raise UnusableFile("holds something else than recorded")
        return index

    def check(self, folder: Path) -> None:
        """Raise UnusableFile where `open` does; without lists this takes less time than `open`."""
        verify = self.stamp.bytes <= VERIFIED_BYTES
        if self.stamp.lists:
            self.open(folder)
        elif ids_in_file(self.path(folder), self.stamp, verify=verify)[0, 0] <= self.after:
            raise UnusableFile("holds something else than recorded")


@dataclass(frozen=True)
class Coverage:
    """How the segments of a model compare with the catalog."""

    newer: int  # embeddings newer than all segments
    removed: list[int]  # vectors of each segment whose embeddings are no longer in the catalog


@dataclass(frozen=True)
class Held:
    """What `planned` must know of a segment."""

    vectors: int
    removed: int
    usable: bool
    made_for_lists: bool

    @property
    def left(self) -> int:
        """The number of vectors whose embeddings are still in the catalog."""
        return self.vectors - self.removed


def segments_of(db: Database, model_id: int) -> list[Segment]:
    """Return the segments of a model, in the order of the ids that they hold."""
    numbers, more_numbers = (
        ", ".join(f"CAST(coalesce({name}, 0) AS INTEGER)" for name in names)
        for names in (("vectors", "width", "watermark", "bytes"), ("lists", "probes"))
    )
    rows = db.rows(
        f"SELECT CAST(file AS TEXT), {numbers}, checksum, {more_numbers}, CAST(recall AS REAL) "
        "FROM vector_indexes JOIN models ON models.id = model_id "
        "WHERE model_id = ? ORDER BY CAST(watermark AS INTEGER)",
        (model_id,),
    )
    segments: list[Segment] = []
    for file, *stamp, recall in rows:
        after = segments[-1].stamp.watermark if segments else 0
        segments.append(Segment(file, FileStamp(*stamp), after, recall))
    return segments


def coverage(db: Database, model_id: int, segments: Sequence[Segment]) -> Coverage:
    """Compare the records of a model's segments with the catalog; none of them is opened."""
    last = segments[-1].stamp.watermark if segments else 0
    newer = db.value(
        "SELECT count(*) FROM embeddings WHERE model_id = ? AND id > ?", (model_id, last)
    )
    removed = [
        db.value(
            "SELECT count(*) FROM removed_embeddings "
            "WHERE model_id = ? AND embedding_id > ? AND embedding_id <= ?",
            (model_id, segment.after, segment.stamp.watermark),
        )
        for segment in segments
    ]
    return Coverage(newer, removed)


def refresh(db: Database, folder: Path, model_id: int, width: int) -> None:
    """Make the segments that are worth making, and make anew those that can't be used any more.

    The writer lock must be held. Readers go on with the files that they have.
    """
    with db.reading():
        segments = segments_of(db, model_id)
        found = coverage(db, model_id, segments)
        held = [
            Held(
                segment.stamp.vectors,
                removed,
                _is_good(db, folder, model_id, segment, removed),
                segment.recall is not None,
            )
            for segment, removed in zip(segments, found.removed, strict=True)
        ]
    total = sum(segment.left for segment in held) + found.newer
    for first, end in planned(held, found.newer):
        to_the_end = end > len(segments)
        replaced = segments[first:end]
        after = segments[first].after if first < len(segments) else _last(segments)
        _make(db, folder, model_id, width, replaced, after, to_the_end=to_the_end, total=total)
    remove_litter(db, folder)


def rebuild(db: Database, folder: Path, model_id: int, width: int) -> None:
    """Put all embeddings of a model in one segment, made anew; the writer lock must be held."""
    segments = segments_of(db, model_id)
    total = coverage(db, model_id, []).newer
    _make(db, folder, model_id, width, segments, 0, to_the_end=True, total=total)
    remove_litter(db, folder)


def planned(held: Sequence[Held], newer: int) -> list[tuple[int, int]]:
    """Return which segments to make anew: each (first, end) of the result becomes one segment.

    They do not overlap. An end of one more than there are segments means that the embeddings newer
    than all segments go in, too.
    """
    count = len(held)
    total = sum(segment.left for segment in held) + newer
    if total <= NEWEST:
        outdated = newer or count > 1 or any(not one.usable or one.removed for one in held)
        return [(0, count + 1)] if outdated else []
    first = count
    if newer > NEWEST:
        size = newer
        while first and held[first - 1].left <= TAKEN_IN * size:
            first -= 1
            size += held[first].left
    plan = [
        (number, number + 1)
        for number, segment in enumerate(held[:first])
        if not segment.usable
        or segment.removed > REMOVED_SHARE * segment.vectors
        or (_wants_lists(segment.left, total) and not segment.made_for_lists)
    ]
    return [*plan, (first, count + 1)] if newer > NEWEST else plan


def _wants_lists(vectors: int, total: int) -> bool:
    return vectors >= LISTS_FROM and total >= APPROXIMATE_FROM


def _is_good(db: Database, folder: Path, model_id: int, segment: Segment, removed: int) -> bool:
    """Tell whether a segment can be used; a small one must also hold as many vectors as it should.

    `removed` is how many of its embeddings are no longer in the catalog.
    """
    try:
        segment.check(folder)
    except UnusableFile:
        return False
    if segment.stamp.bytes > VERIFIED_BYTES:
        return True
    covered = db.value(
        "SELECT count(*) FROM embeddings WHERE model_id = ? AND id > ? AND id <= ?",
        (model_id, segment.after, segment.stamp.watermark),
    )
    return bool(covered + removed == segment.stamp.vectors)


def _last(segments: Sequence[Segment]) -> int:
    return segments[-1].stamp.watermark if segments else 0


def _make(
    db: Database,
    folder: Path,
    model_id: int,
    width: int,
    replaced: Sequence[Segment],
    after: int,
    *,
    to_the_end: bool,
    total: int,
) -> None:
    """Make one segment of the embeddings that the replaced ones, which follow `after`, should hold.

    `to_the_end` adds the embeddings newer than those. `total` is how many embeddings the model has.
    """
    up_to = None if to_the_end else _last(replaced)
    with db.reading():
        _, last_removed = removed_after(db, model_id, 0)
        count = db.value(
            "SELECT count(*) FROM embeddings WHERE model_id = ? AND id > ? "
            "AND id <= coalesce(?, id)",
            (model_id, after, up_to),
        )
        made = None
        if count:
            batches = embeddings_between(db, model_id, width, after, up_to)
            aside = folder / f"model-{model_id}.new"
            with _disk_errors(folder, aside):
                make_folder(folder)
                stamp, recall = write_file(
                    aside, width, count, batches, lists=_wants_lists(count, total)
                )
                # The checksum in the name: other content never comes under a name in use.
                file = f"model-{model_id}-{stamp.watermark}-{stamp.checksum}.faiss"
                put_in_place(aside, folder / file)
            made = Segment(file, stamp, after, recall)
    _record(db, model_id, replaced, made, (after, up_to, last_removed))


@contextmanager
def _disk_errors(folder: Path, aside: Path) -> Iterator[None]:
    """Say in one line why an index file can't be written, and leave nothing of it."""
    try:
        yield
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise LibraryError(
            f"{folder}: the vector index can't be written: {in_words(error)}"
        ) from error


def _record(
    db: Database,
    model_id: int,
    replaced: Sequence[Segment],
    made: Segment | None,
    span: tuple[int, int | None, int],
) -> None:
    """Record a new segment in place of those that it replaces, in one transaction.

    `span` is (after, up to, last removed). The segment covers the embedding ids above the first, up
    to the second (None: to the newest). It was made without the embeddings that removed_embeddings
    names in its entries up to the third; those of them that lie in the span are deleted.
    """
    with db.writing():
        for segment in replaced:
            db.write(
                "DELETE FROM vector_indexes WHERE model_id = ? AND watermark = ?",
                (model_id, segment.stamp.watermark),
            )
        db.write(
            "DELETE FROM removed_embeddings WHERE model_id = ? AND embedding_id > ? "
            "AND embedding_id <= coalesce(?, embedding_id) AND id <= ?",
            (model_id, *span),
        )
        if made is not None:
            stamp = made.stamp
            db.write(
                "INSERT INTO vector_indexes (model_id, watermark, file, vectors, kind, bytes, "
                "checksum, lists, probes, recall, built_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(model_id, stamp.watermark, made.file, stamp.vectors, stamp.kind),
                    *(stamp.bytes, stamp.checksum, stamp.lists, stamp.probes, made.recall),
                    utc_now(),
                ),
            )


def remove_litter(db: Database, folder: Path) -> None:
    """Remove index files that the catalog does not name, as a crash leaves them."""
    in_use = {row[0] for row in db.rows("SELECT file FROM vector_indexes")}
    with suppress(OSError):
        for file in list(folder.iterdir()):
            if file.name not in in_use and _OURS.fullmatch(file.name):
                with suppress(OSError):  # Windows keeps a file that a reader has mapped
                    file.unlink()
