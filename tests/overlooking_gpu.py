"""Stands in for FAISS's index on a GPU, where there is none: it searches all, whatever is asked."""

from __future__ import annotations

import copy

import numpy as np

from clipsearch.index.vectors.vector_index import VectorIndex


class Overlooking:
    """Searches all of an index, and takes no selector."""

    def __init__(self, index: VectorIndex) -> None:
        self._all = index

    def search(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        scores, ids = self._all.search(queries, count)
        return scores, np.searchsorted(self._all.ids[:, 1], ids)


def move_to_stand_in(index: VectorIndex) -> None:
    """Do what `VectorIndex.move_to_gpu` does; photos must be embedded in order of their ids."""
    index._gpu_index = Overlooking(copy.copy(index))
