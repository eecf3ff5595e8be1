"""Finding neighbours without looking at all vectors: lists of short codes around centroids.

Each vector stands in the list of the centroid nearest to it, as a code of one bit a dimension
(FAISS's IVF and RaBitQ). A search looks into the lists nearest to the query and returns more
candidates than are asked for; whoever asks ranks them by their full vectors.

How many lists a search looks into is tuned when they are made, against exact search.

In a file, the lists stand as FAISS itself writes them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

TARGET = 0.99  # of the ten nearest neighbours, the share that a search must find
NEIGHBOURS = 10
LEAST_PROBES = 8  # a margin for queries unlike those it is tuned with, which costs next to nothing
MOST_PROBES = 4  # a search that had to look into more than one in so many lists is no gain

_SAMPLES = 64  # a list, to find the centroids
_ROUNDS = 8  # of k-means
_SEED = 1
_QUERIES = 128  # of each of two kinds, to tune with
_ROWS_AT_ONCE = 1 << 15

# In FAISS's file: where the numbers stand that are not the same in all of them.
_COUNT_AT = 8
_LISTS_AT = 37
_QUANTIZER_AT = 53
_QUANTIZER_COUNT_AT = _QUANTIZER_AT + 8
_FLOATS_AT = _QUANTIZER_AT + 37
_CENTROIDS_AT = _QUANTIZER_AT + 45


def lists_for(vectors: int) -> int:
    """Return how many lists so many vectors are put in: the power of two next to the root."""
    return 1 << round(math.log2(vectors) / 2)


def candidates_for(k: int) -> int:
    """Return how many candidates are ranked by their full vectors to find the best k of them."""
    return 32 * k + 80


class Lists:
    """The lists of a file, mapped."""

    def __init__(self, index: Any, probes: int) -> None:
        self._index = index
        self.count = int(index.nlist)
        self.probes = max(1, min(probes, self.count))

    @classmethod
    def over(
        cls, part: NDArray[np.uint8], vectors: int, width: int, lists: int, probes: int
    ) -> Lists:
        """Return the lists that lie in this memory; ValueError unless it is as long as they are.

        What they hold may be anything; how much they hold is compared.
        """
        before, after = _header(vectors, width, lists)
        centroids_end = len(before) + 4 * lists * width
        sizes_at = centroids_end + len(after)
        if len(part) != lists_bytes(vectors, width, lists):
            raise ValueError("another length")
        as_written = part[: len(before)].tobytes() == before
        if not as_written or part[centroids_end:sizes_at].tobytes() != after:
            raise ValueError("another header")
        sizes = np.frombuffer(part[sizes_at : sizes_at + 8 * lists].tobytes(), dtype="<u8")
        if (sizes > vectors).any() or sizes.sum() != vectors:
            raise ValueError("other lists")
        return cls(over_memory(part), probes)

    def candidates(
        self, queries: NDArray[np.float32], count: int, *, probes: int, selector: Any = None
    ) -> NDArray[np.int64]:
        """Return rows [n, count] that may be the nearest to each query, in no order of worth.

        -1 where there are no more, and in place of a number that no row has.
        """
        import faiss

        settings: Any = faiss.IVFRaBitQSearchParameters
        parameters = settings(nprobe=probes, qb=self._index.qb)
        if selector is not None:
            parameters.sel = selector
        rows: NDArray[np.int64] = self._index.search(queries, count, params=parameters)[1]
        return np.where(rows < self._index.ntotal, rows, -1)


@dataclass(frozen=True)
class Tuned:
    """Lists that were made and tried out, not yet written."""

    index: Any
    centroids: NDArray[np.float32]
    probes: int
    recall: float  # of the ten nearest, the share found; of the worse of two kinds of query

    @cached_property
    def lists(self) -> int:
        """The number of lists."""
        return int(self.index.nlist)

    @property
    def found_enough(self) -> bool:
        """Tell whether a search of the lists finds as many as it must."""
        return self.recall >= TARGET

    def write(self, write: Callable[[Any], None]) -> None:
        """Write them as FAISS does: bytes and arrays."""
        import faiss

        before, after = _header(self.index.ntotal, self.index.d, self.lists)
        inverted = self.index.invlists
        sizes = [inverted.list_size(number) for number in range(self.lists)]
        write(before)
        write(self.centroids.astype("<f4"))
        write(after)
        write(np.array(sizes, dtype="<u8"))
        for number, size in enumerate(sizes):
            if size:
                write(faiss.rev_swig_ptr(inverted.get_codes(number), size * inverted.code_size))
                write(faiss.rev_swig_ptr(inverted.get_ids(number), size).astype("<i8"))


def build_lists(rows: NDArray[np.float16], width: int) -> Tuned:
    """Put vectors [n, width] in lists, and find out how many of them a search must look into."""
    import faiss

    lists = lists_for(len(rows))
    random = np.random.default_rng(_SEED)
    chosen = random.choice(len(rows), min(len(rows), _SAMPLES * lists), replace=False)
    sample = rows[np.sort(chosen)].astype(np.float32)
    kmeans: Any = faiss.Kmeans(
        *(width, lists), niter=_ROUNDS, seed=_SEED,
        min_points_per_centroid=1, max_points_per_centroid=_SAMPLES,
    )  # fmt: skip
    kmeans.train(sample)
    index = _empty_index(width, lists)
    index.quantizer.add(kmeans.centroids)
    index.train(sample)
    trial = _Trial(rows, random)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[start : start + _ROWS_AT_ONCE].astype(np.float32)
        index.add(some)
        trial.see(some, start)
    probes, recall = trial.tune(index, rows)
    return Tuned(index, kmeans.centroids, probes, recall)


class _Trial:
    """Queries with their nearest neighbours, which a search of the lists has to find.

    One half asks for photos like a photo of the library. The other half are like texts: far from
    all photos, so that only the direction in which photos differ from each other counts.
    """

    def __init__(self, rows: NDArray[np.float16], random: np.random.Generator) -> None:
        chosen = np.sort(random.choice(len(rows), 2 * _QUERIES, replace=False))
        vectors = rows[chosen].astype(np.float32)
        middle = vectors.mean(axis=0)
        vectors[_QUERIES:] -= middle
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        self._queries = vectors
        self._scores = np.full((2 * _QUERIES, NEIGHBOURS), -np.inf, np.float32)
        self._nearest = np.full((2 * _QUERIES, NEIGHBOURS), -1, np.int64)
        self._own = np.where(np.arange(2 * _QUERIES) < _QUERIES, chosen, -1)

    def see(self, vectors: NDArray[np.float32], first_row: int) -> None:
        """Look at more vectors, whose rows follow `first_row`."""
        scores = self._queries @ vectors.T
        own = self._own - first_row
        here = np.flatnonzero((own >= 0) & (own < len(vectors)))
        scores[here, own[here]] = -np.inf  # that a photo is like itself needs no search
        count = min(NEIGHBOURS, len(vectors))
        top = np.argpartition(scores, len(vectors) - count, axis=1)[:, -count:]
        scores = np.concatenate([self._scores, np.take_along_axis(scores, top, axis=1)], axis=1)
        nearest = np.concatenate([self._nearest, top + first_row], axis=1)
        best = np.argsort(-scores, axis=1)[:, :NEIGHBOURS]
        self._scores = np.take_along_axis(scores, best, axis=1)
        self._nearest = np.take_along_axis(nearest, best, axis=1)

    def tune(self, index: Any, rows: NDArray[np.float16]) -> tuple[int, float]:
        """Return the least number of lists that is enough, and the share then found."""
        lists = Lists(index, 1)
        probes = min(LEAST_PROBES, lists.count // MOST_PROBES)
        while True:
            recall = self._recall(lists, rows, probes)
            if recall >= TARGET or probes * MOST_PROBES >= lists.count:
                return probes, recall
            probes = min(probes + max(1, probes // 3), lists.count // MOST_PROBES)

    def _recall(self, lists: Lists, rows: NDArray[np.float16], probes: int) -> float:
        found = lists.candidates(self._queries, candidates_for(NEIGHBOURS) + 1, probes=probes)
        # The ten nearest are ranked first whenever they are among the candidates at all.
        shares = [
            float(np.isin(nearest, row).mean())
            for row, nearest in zip(found, self._nearest, strict=True)
        ]
        return min(float(np.mean(shares[:_QUERIES])), float(np.mean(shares[_QUERIES:])))


def over_memory(part: NDArray[np.uint8]) -> Any:
    """Return the FAISS index whose file lies in this memory, which must outlive it."""
    import faiss

    library: Any = faiss  # its types know nothing of this reader
    return faiss.read_index(library.ZeroCopyIOReader(faiss.swig_ptr(part), part.size))


def lists_bytes(vectors: int, width: int, lists: int) -> int:
    """Return how long the lists are in a file."""
    before, after = _header(vectors, width, lists)
    codes = vectors * (int(_empty_index(width, 1).code_size) + 8)
    return len(before) + 4 * lists * width + len(after) + 8 * lists + codes


def _empty_index(width: int, lists: int) -> Any:
    import faiss

    # Lists are chosen by distance, not by product: centroids of lists that hold a little of
    # everything are short, and would lose against any other. (Centroids of unit length would win.)
    quantizer: Any = faiss.IndexFlatL2(width)
    index: Any = faiss.IndexIVFRaBitQ(quantizer, width, lists, faiss.METRIC_INNER_PRODUCT)
    quantizer.this.disown()
    index.own_fields = True
    return index


def _header(vectors: int, width: int, lists: int) -> tuple[bytes, bytes]:
    """Return what FAISS writes before and behind the centroids; then come the lists' lengths.

    FAISS writes it for one empty list; only its counts are different.
    """
    import faiss

    index = _empty_index(width, 1)
    one = np.zeros((1, width), np.float32)
    index.quantizer.add(one)
    index.train(one)
    data = bytearray(faiss.serialize_index(index).tobytes())
    struct.pack_into("<q", data, _COUNT_AT, vectors)
    struct.pack_into("<Q", data, _LISTS_AT, lists)
    struct.pack_into("<q", data, _QUANTIZER_COUNT_AT, lists)
    struct.pack_into("<Q", data, _FLOATS_AT, lists * width)
    between = data[_CENTROIDS_AT + 4 * width : data.rindex(b"ilar")]
    # "full": the length of each list follows, also of those that are empty
    after = between + struct.pack("<4sQQ4sQ", b"ilar", lists, index.code_size, b"full", lists)
    return bytes(data[:_CENTROIDS_AT]), bytes(after)
