"""The vectors of one model as a reader searches them: the index files, and what is newer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.database import Database
from clipsearch.index.embeddings import embeddings_between, removed_after
from clipsearch.index.selection import Selection
from clipsearch.index.vectors.segments import TAKEN_IN, Segment, segments_of
from clipsearch.index.vectors.vector_files import UnusableFile
from clipsearch.index.vectors.vector_index import VectorIndex, best, gpu_available, no_hits

GPU_VECTORS = 100_000  # fewer are searched on the CPU before a GPU is even set up


class ModelVectors:
    """All vectors of a model in one committed state of the catalog; any thread may search them."""

    def __init__(self, parts: tuple[VectorIndex, ...]) -> None:
        self.parts = parts

    def search(
        self, queries: NDArray[np.float32], k: int, *, selected: Selection | None, exact: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return (scores, photo ids), both (n, k), as `VectorIndex.search` does."""
        found = [part.search(queries, k, selected=selected, exact=exact) for part in self.parts]
        if not found:
            return no_hits(len(queries), k)
        if len(found) == 1:
            return found[0]
        scores = np.concatenate([scores for scores, _ in found], axis=1)
        return best(scores, np.concatenate([ids for _, ids in found], axis=1), k)

    def of_photos(self, photo_ids: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Return the vectors (n, width) of photos, as stored; None where that can't be told."""
        if not self.parts:
            return None
        vectors = np.empty((len(photo_ids), self.parts[0].width), np.float32)
        known = np.zeros(len(photo_ids), np.bool_)
        for part in self.parts:
            found = part.of_photos(photo_ids)
            if found is None or known[found[0]].any():
                return None
            vectors[found[0]], known[found[0]] = found[1], True
        return vectors if known.all() else None


@dataclass(frozen=True)
class _Part:
    """The vectors of a segment: mapped, or read from the catalog where the file is no good."""

    segment: Segment
    index: VectorIndex
    note: str | None = None


class VectorFollower:
    """Keeps the vectors of a model up with the catalog; one thread at a time.

    What it gave out before stays as it is. An index file that is missing or damaged is left aside,
    and its vectors are read from the catalog.
    """

    def __init__(self, folder: Path, model_id: int, width: int) -> None:
        self._folder = folder
        self._model_id = model_id
        self._width = width
        self._state: tuple[int, int, int] | None = None
        self._segments: list[Segment] | None = None  # as the catalog names them
        self._parts: list[_Part] = []
        self._newer: list[VectorIndex] = []  # in memory, each about twice as large as the next
        self._last_embedding = self._last_removed = 0
        self._note: str | None = None
        self._vectors = ModelVectors(())

    @property
    def note(self) -> str | None:
        """Why an index file or a GPU is not used though it is there."""
        notes = [self._note, *(part.note or part.index.note for part in self._parts)]
        return next(filter(None, notes), None)

    def follow(self, db: Database) -> ModelVectors:
        """Return the vectors in the state that this thread reads now, or else the latest.

        It must be none before that of the last call. Only what was added and removed since is read.
        """
        with db.reading():  # files, additions and removals of one and the same state
            state = db.state()
            if state != self._state:
                segments = segments_of(db, self._model_id)
                if segments != self._segments:
                    self._take_up(db, segments)
                self._read_newer(db)
        self._state = state
        return self._vectors

    def gave(self, vectors: ModelVectors) -> bool:
        """Tell whether these are the ones that it gave out last."""
        return vectors is self._vectors

    def leave_files_aside(self, db: Database) -> ModelVectors:
        """Read all vectors from the catalog in place of the files, which do not fit it."""
        segments = self._segments
        self._take_up(db, [])
        self._segments = segments  # and don't open them again
        self._note = "the index file holds what the catalog does not; searched from the catalog"
        self._read_newer(db)
        return self._vectors

    def _take_up(self, db: Database, segments: list[Segment]) -> None:
        """Take up other segments; those that stay are kept open."""
        kept = {part.segment: part for part in self._parts if part.note is None}
        self._parts = [kept.get(segment) or self._open(db, segment) for segment in segments]
        self._segments = segments
        self._note = None
        self._newer = []
        self._last_embedding = segments[-1].stamp.watermark if segments else 0
        self._last_removed = 0
        self._vectors = ModelVectors(())

    def _open(self, db: Database, segment: Segment) -> _Part:
        try:
            index = segment.open(self._folder)
        except UnusableFile as error:
            index = VectorIndex.empty(self._width)
            after, up_to = segment.after, segment.stamp.watermark
            for some in embeddings_between(db, self._model_id, self._width, after, up_to):
                index.add(*some)
            return _Part(segment, index, f"the index file {error}; searched from the catalog")
        if len(index) >= GPU_VECTORS and gpu_available():
            index.move_to_gpu()
        return _Part(segment, index)

    def _read_newer(self, db: Database) -> None:
        added = VectorIndex.empty(self._width)
        after = self._last_embedding
        for some in embeddings_between(db, self._model_id, self._width, after):
            added.add(*some)
        removed, last_removed = removed_after(db, self._model_id, self._last_removed)
        self._parts = [_Part(p.segment, p.index.without(removed), p.note) for p in self._parts]
        self._newer = [index.without(removed) for index in _with_added(self._newer, added)]
        if len(added):
            self._last_embedding = int(added.ids[-1, 0])
        self._last_removed = last_removed
        indexes = tuple(
            index for index in (*(part.index for part in self._parts), *self._newer) if len(index)
        )
        if indexes != self._vectors.parts:  # else what others keep for these stays of use
            self._vectors = ModelVectors(indexes)


def _with_added(indexes: list[VectorIndex], added: VectorIndex) -> list[VectorIndex]:
    """Return these and one more, which takes in the last of them that are not much larger.

    None of them is changed: others may search them. So a vector is copied a few times at most.
    """
    if not len(added):
        return indexes
    first, size = len(indexes), len(added)
    while first and len(indexes[first - 1]) <= TAKEN_IN * size:
        first -= 1
        size += len(indexes[first])
    if first == len(indexes):
        return [*indexes, added]
    merged = VectorIndex.empty(added.width)
    for index in (*indexes[first:], added):
        merged.add(*index.kept())
    return [*indexes[:first], merged]
