"""The vectors of one model as a reader searches them: the index files, and what is newer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.database import Database
from clipsearch.index.embeddings import embeddings_at_or_below, embeddings_between, removed_after
from clipsearch.index.vectors.segments import Segment, segments_of
from clipsearch.index.vectors.vector_files import UnusableFile
from clipsearch.index.vectors.vector_index import VectorIndex, best, gpu_available, no_hits

GPU_VECTORS = 100_000  # fewer are searched on the CPU before a GPU is even set up


@dataclass
class _Part:
    """The vectors of a segment: mapped, or read from the catalog where the file is no good."""

    segment: Segment
    index: VectorIndex
    note: str | None = None


class ModelVectors:
    """All vectors of a model in the catalog's latest committed state.

    An index file that is missing or damaged is left aside, and its vectors read from the catalog.
    """

    def __init__(self, folder: Path, model_id: int, width: int) -> None:
        self._folder = folder
        self._model_id = model_id
        self._width = width
        self._state: tuple[int, int, int] | None = None
        self._segments: list[Segment] | None = None  # as the catalog names them
        self._parts: list[_Part] = []
        self._newer = VectorIndex.empty(width)
        self._last_embedding = self._last_removed = 0
        self._hidden: tuple[Path, ...] = ()
        self._note: str | None = None

    @property
    def note(self) -> str | None:
        """Why an index file or a GPU is not used though it is there."""
        notes = [self._note, *(part.note or part.index.note for part in self._parts)]
        return next(filter(None, notes), None)

    def update(self, db: Database, without: Sequence[Path] = ()) -> None:
        """Follow the catalog, and hide the photos at or below some paths.

        Only what was added and removed since the last time is read.
        """
        hidden = tuple(without)
        with db.reading():  # files, additions, removals and paths of one and the same state
            state = db.state()
            same = state == self._state
            if same and hidden == self._hidden:
                return
            if not same:
                segments = segments_of(db, self._model_id)
                if segments != self._segments:
                    self._follow(db, segments)
                self._read_newer(db)
            if hidden or self._hidden:
                self._hide(embeddings_at_or_below(db, self._model_id, hidden))
        self._state, self._hidden = state, hidden

    def search(
        self, queries: NDArray[np.float32], k: int, *, exact: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return (scores, photo ids) as `VectorIndex.search` does."""
        found = [index.search(queries, k, exact=exact) for index in self._all() if len(index)]
        if not found:
            return no_hits(len(queries), k)
        if len(found) == 1:
            return found[0]
        scores = np.concatenate([scores for scores, _ in found], axis=1)
        return best(scores, np.concatenate([ids for _, ids in found], axis=1), k)

    def leave_files_aside(self, db: Database) -> None:
        """Read all vectors from the catalog in place of the files, which do not fit it."""
        segments = self._segments
        self._follow(db, [])
        self._segments = segments  # and don't open them again
        self._note = "the index file holds what the catalog does not; searched from the catalog"
        self._read_newer(db)
        self._hide(embeddings_at_or_below(db, self._model_id, self._hidden))

    def _all(self) -> list[VectorIndex]:
        return [*(part.index for part in self._parts), self._newer]

    def _hide(self, embedding_ids: NDArray[np.int64]) -> None:
        for index in self._all():
            index.hide(embedding_ids)

    def _follow(self, db: Database, segments: list[Segment]) -> None:
        """Take up other segments; those that stay are kept open."""
        kept = {part.segment: part for part in self._parts if part.note is None}
        self._parts = [kept.get(segment) or self._open(db, segment) for segment in segments]
        self._segments = segments
        self._note = None
        self._newer = VectorIndex.empty(self._width)
        self._last_embedding = segments[-1].stamp.watermark if segments else 0
        self._last_removed = 0

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
        after = self._last_embedding
        for vectors, ids in embeddings_between(db, self._model_id, self._width, after):
            self._newer.add(vectors, ids)
            self._last_embedding = int(ids[-1, 0])
        removed, self._last_removed = removed_after(db, self._model_id, self._last_removed)
        for index in self._all():
            index.remove(removed)
