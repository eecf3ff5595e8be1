"""Exact search over few vectors without FAISS, which takes longer to load than the search itself.

The same vectors are found as by FAISS's exact index; scores may differ in the last bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.vectors.products import near_best

SMALL = 10_000  # vectors; more are left to FAISS
_KEPT = 1 << 20  # numbers, 4 MiB of which are kept in float32 as well


class SmallIndex:
    """Float16 vectors in memory or in a mapped file; has the methods of FAISS's that are used."""

    def __init__(self, vectors: NDArray[np.float16]) -> None:
        self._vectors = vectors  # (n, width)
        self._unpacked: NDArray[np.float32] | None = None  # the same, of few

    @property
    def d(self) -> int:
        """The length of a vector."""
        return int(self._vectors.shape[1])

    def __len__(self) -> int:
        return len(self._vectors)

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Add vectors (n, width), rounded to float16."""
        self._vectors = np.concatenate([self._vectors, vectors.astype(np.float16)])
        self._unpacked = None

    def reconstruct_n(self, start: int, count: int) -> NDArray[np.float32]:
        """Return the vectors (count, width) from row `start` on."""
        return self._vectors[start : start + count].astype(np.float32)

    def _all(self) -> NDArray[np.float32]:
        """Return all vectors: to convert a few thousand takes as long as the search itself."""
        if self._vectors.size > _KEPT:
            return self._vectors.astype(np.float32)
        if self._unpacked is None:
            self._unpacked = self._vectors.astype(np.float32)
        return self._unpacked

    def search(
        self,
        queries: NDArray[np.float32],
        count: int,
        *,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return scores and positions (queries, count), best first, of the allowed (n,) or all.

        No more than are allowed must be asked for.
        """
        rows = np.arange(len(self)) if allowed is None else np.flatnonzero(allowed)
        some = 2 * len(rows) < len(self)  # else to leave out the others costs more than they do
        vectors = self._vectors[rows].astype(np.float32) if some else self._all()
        inside = np.arange(len(rows)) if some else rows
        scores = np.empty((len(queries), count), dtype=np.float32)
        positions = np.empty((len(queries), count), dtype=np.int64)
        for number, (near, found) in enumerate(near_best(vectors, inside, queries, count)):
            nearest = np.argpartition(-found, count - 1)[:count]
            nearest = nearest[np.argsort(-found[nearest], kind="stable")]
            scores[number] = found[nearest]
            positions[number] = rows[near[nearest]] if some else near[nearest]
        return scores, positions
