"""The vectors of one model as a reader searches them: the index file, and what is newer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.database import Database
from clipsearch.index.embeddings import embeddings_after, photos_at_or_below, removed_after
from clipsearch.index.generations import Generation, current_generation
from clipsearch.index.vector_index import UnusableFile, VectorIndex, best, gpu_available, no_hits

VERIFIED_BYTES = (
    64 << 20
)  # a larger file is verified by writers only: it would delay a first search
GPU_VECTORS = 100_000  # fewer are searched on the CPU before a GPU is even set up


class ModelVectors:
    """All vectors of a model in the catalog's latest committed state.

    An index file that is missing or damaged is left aside, and its vectors read from the catalog.
    """

    def __init__(self, folder: Path, model_id: int, width: int) -> None:
        self._folder = folder
        self._model_id = model_id
        self._width = width
        self._state: tuple[int, int] | None = None
        self._generation: Generation | None = None
        self._note: str | None = None
        self._hidden: tuple[Path, ...] = ()
        self._start_from(None)

    @property
    def note(self) -> str | None:
        """Why the index file or a GPU is not used though it is there."""
        return self._note or (self._base.note if self._base else None)

    def update(self, db: Database, without: Sequence[Path] = ()) -> None:
        """Follow the catalog, and hide the photos at or below some paths.

        Only what was added and removed since the last time is read.
        """
        hidden = tuple(without)
        with db.reading():  # file, additions, removals and paths of one and the same state
            state = db.state()
            same = state == self._state
            if same and hidden == self._hidden:
                return
            if not same:
                generation = current_generation(db, self._model_id)
                if self._state is None or generation != self._generation:
                    self._start_from(generation)
                self._read_newer(db)
            if hidden or self._hidden:
                self._hide(photos_at_or_below(db, hidden))
        self._state, self._hidden = state, hidden

    def search(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return (scores, photo ids) as `VectorIndex.search` does."""
        found = [part.search(queries, k) for part in (self._base, self._delta) if part]
        if not found:
            return no_hits(len(queries), k)
        scores = np.concatenate([scores for scores, _ in found], axis=1)
        return best(scores, np.concatenate([ids for _, ids in found], axis=1), k)

    def leave_file_aside(self, db: Database) -> None:
        """Read all vectors from the catalog in place of the file, which does not fit it."""
        generation = self._generation
        self._start_from(None)
        self._generation = generation  # and don't open it again
        self._note = "the index file holds what the catalog does not; searched from the catalog"
        self._read_newer(db)
        self._hide(photos_at_or_below(db, self._hidden))

    def _hide(self, photo_ids: NDArray[np.int64]) -> None:
        for part in (self._base, self._delta):
            if part is not None:
                part.hide(photo_ids)

    def _start_from(self, generation: Generation | None) -> None:
        self._generation = generation
        self._base: VectorIndex | None = None
        self._delta: VectorIndex | None = None
        self._note = None
        self._last_embedding = self._last_removed = 0
        if generation is None:
            return
        verify = generation.stamp.bytes <= VERIFIED_BYTES
        try:
            base = generation.open(self._folder, verify=verify)
        except UnusableFile as error:
            self._note = f"the index file {error}; searched from the catalog"
            return
        if len(base) >= GPU_VECTORS and gpu_available():
            base.move_to_gpu()
        self._base = base
        self._last_embedding = generation.stamp.watermark

    def _read_newer(self, db: Database) -> None:
        after = self._last_embedding
        for vectors, ids in embeddings_after(db, self._model_id, self._width, after):
            if self._delta is None:
                self._delta = VectorIndex.empty(self._width)
            self._delta.add(vectors, ids)
            self._last_embedding = int(ids[-1, 0])
        removed, self._last_removed = removed_after(db, self._model_id, self._last_removed)
        for part in (self._base, self._delta):
            if part is not None:
                part.remove(removed)
