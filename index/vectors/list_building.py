"""Making lists: learning what they need from the vectors, and tuning how they are searched.

How many lists a search looks into, and how many candidates it takes from them, is the least with
which it finds enough of what an exact search finds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.vectors.lists import (
    CODES,
    MOST_CANDIDATES,
    MOST_PROBES,
    Lists,
    Model,
    candidates_for,
    code_bytes,
    dimensions_of_a_code,
    inner_products,
    ranked,
)

TARGET = 0.99  # of the ten nearest neighbours, the share that a search must find
# An exact search of more vectors than this takes so long that lists may miss a bit more: they are
# tuned to find LARGE_TARGET, and used if they find LARGE_LEAST.
LARGE = 2_000_000
LARGE_TARGET, LARGE_LEAST = 0.97, 0.95
NEIGHBOURS = 10
LEAST_PROBES = 8  # a margin for queries unlike those of the trial; it costs next to nothing

_SAMPLES = 32  # vectors for each list, from which the centroids are learnt
_ROUNDS = 5  # of k-means
_SEED = 1
_CODED = 2048  # vectors from which the codebook is learnt
_FITTED = 4  # vectors for each dimension, from which the fit is learnt
_QUERIES = 128  # of each of the two kinds in a trial
# What the queries like texts are mixed of, as cosines: how much of one is about photos, and how
# much of that is about one photo. The rest of a query lies in a sixteenth of the dimensions, those
# in which photos differ least.
_ABOUT_PHOTOS = 0.4
_LIKE_PHOTOS = 0.5
_SHARED = 16
_ROWS_AT_ONCE = 1 << 15


def lists_for(vectors: int) -> int:
    """Return how many lists so many vectors are put in: a power of two, near 1.7 times the root."""
    return 1 << round(math.log2(vectors) / 2 + 0.75)


@dataclass(frozen=True)
class Tuned:
    """Lists that were made and tried out, not yet written."""

    model: Model
    index: Any  # FAISS's, filled
    probes: int
    recall: float  # share of the ten nearest found, for the kind of query that finds less

    @property
    def lists(self) -> int:
        """The number of lists."""
        return len(self.model.centroids)

    @property
    def found_enough(self) -> bool:
        """Tell whether a search of the lists finds as many as it must."""
        return self.recall >= (LARGE_LEAST if self.index.ntotal > LARGE else TARGET)

    def write(self, write: Callable[[Any], None]) -> None:
        """Hand all that stands in the file to `write`, as arrays, in the order of the file."""
        for array in self.model.arrays():
            write(np.ascontiguousarray(array, "<f4"))
        sizes, rows, codes = _contents(self.index)
        write(sizes.astype("<i8"))
        for some_rows in rows:
            write(some_rows.astype("<i4"))
        for some_codes in codes:
            write(some_codes)


def _contents(
    index: Any,
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]], list[NDArray[np.uint8]]]:
    """Return what FAISS's lists hold: their sizes (lists,), and the row numbers and codes of each.

    Lists without vectors are left out of the latter two, which are memory of the index.
    """
    import faiss

    inside: Any = faiss.downcast_InvertedLists(index.invlists)
    sizes = np.array([inside.list_size(number) for number in range(index.nlist)], np.int64)
    lengths = code_bytes(sizes, index.d)
    filled = np.flatnonzero(sizes).tolist()
    rows = [faiss.rev_swig_ptr(inside.get_ids(n), int(sizes[n])) for n in filled]
    codes = [faiss.rev_swig_ptr(inside.get_codes(n), int(lengths[n])) for n in filled]
    return sizes, rows, codes


def build_lists(rows: NDArray[np.float16], width: int) -> Tuned:
    """Put vectors (n, width) in lists, and find out how many lists a search must look into."""
    random = np.random.default_rng(_SEED)
    trial = _Trial(rows, random)
    model = _learnt(rows, width, trial.photos, random)
    index = model.index(_nearest_of(model.centroids))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[start : start + _ROWS_AT_ONCE].astype(np.float32)
        index.add(some)
        trial.see(some, start)
    sizes, all_rows, codes = _contents(index)
    parts = sizes, np.concatenate(all_rows).astype(np.int32), np.concatenate(codes)
    probes = trial.tune(model, Lists(model, *parts, 1), rows)
    recall = trial.recall(Lists(model, *parts, probes), rows)
    return Tuned(model, index, probes, recall)


def _learnt(
    rows: NDArray[np.float16],
    width: int,
    photos: NDArray[np.float32],
    random: np.random.Generator,
) -> Model:
    """Learn a model, not yet tuned, from vectors (n, width); `photos` (m, width) are queries."""
    lists = lists_for(len(rows))
    sample = _some(rows, _SAMPLES * lists, random)
    centroids = _centroids(sample, lists)
    coded = _some(rows, max(_CODED, _FITTED * width), random)
    codebook = _codebook(coded[:_CODED], dimensions_of_a_code(width))
    fit = _fit(_decoded(coded, codebook), coded)
    products = photos @ centroids.T
    # Half the squared length of a centroid is what tells the nearest from the largest product.
    compactness = 0.5 / max(1e-9, float(products.std(axis=1).mean()))
    # No cosine reaches 2: until the model is tuned, all queries count as like texts.
    return Model(centroids, codebook, fit, np.array([compactness, 1, 2, 1], np.float32))


def _codebook(sample: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """Return what the values of each code stand for (codes, 16, dimensions): k-means of each."""
    parts = _parts(sample, dimensions)
    book = parts[:, np.arange(CODES) % len(sample)]
    count = len(book) * CODES
    for _ in range(_ROUNDS):
        nearest = _nearest_codes(parts, book) + CODES * np.arange(len(book))[:, None]
        sizes = np.bincount(nearest.ravel(), minlength=count)
        sums = [
            np.bincount(nearest.ravel(), parts[:, :, axis].ravel(), count)
            for axis in range(dimensions)
        ]
        means = np.stack(sums, axis=1) / np.maximum(sizes, 1)[:, None]
        means = np.where(sizes[:, None] > 0, means, book.reshape(count, dimensions))
        book = means.reshape(book.shape).astype(np.float32)
    return book


def _decoded(vectors: NDArray[np.float32], book: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vectors (n, width) that the codes of these vectors stand for."""
    codes = _nearest_codes(_parts(vectors, book.shape[2]), book)
    decoded = np.take_along_axis(book, codes[:, :, None], axis=1)
    return np.ascontiguousarray(decoded.transpose(1, 0, 2)).reshape(vectors.shape)


def _parts(vectors: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """Return vectors (n, width) as (codes, n, dimensions): the part of each that a code covers."""
    parts = vectors.reshape(len(vectors), -1, dimensions).transpose(1, 0, 2)
    return np.ascontiguousarray(parts)


def _nearest_codes(parts: NDArray[np.float32], book: NDArray[np.float32]) -> NDArray[np.int64]:
    distances = np.square(book).sum(axis=2)[:, None] - 2 * parts @ book.transpose(0, 2, 1)
    nearest: NDArray[np.int64] = distances.argmin(axis=2)
    return nearest


def _fit(coded: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the matrix (width, width) with which `coded` @ matrix come nearest to `vectors`.

    Both are (n, width), and count without their means.
    """
    some, others = coded - coded.mean(axis=0), vectors - vectors.mean(axis=0)
    squares = (some.T @ some).astype(np.float64)
    little = 1e-4 * np.trace(squares) / len(squares) + 1e-9
    squares[np.diag_indices_from(squares)] += little
    # By rows: vectors come near codes @ fit, so a query times them near (fit @ query) times codes.
    solved: NDArray[np.float64] = np.linalg.solve(squares, (some.T @ others).astype(np.float64))
    return solved.astype(np.float32)


def _centroids(sample: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    import faiss

    kmeans: Any = faiss.Kmeans(
        *(sample.shape[1], count), niter=_ROUNDS, seed=_SEED,
        min_points_per_centroid=1, max_points_per_centroid=len(sample),
    )  # fmt: skip
    kmeans.train(sample)
    centroids: NDArray[np.float32] = kmeans.centroids
    return centroids


def _nearest_of(centroids: NDArray[np.float32]) -> Any:
    import faiss

    index: Any = faiss.IndexFlatL2(centroids.shape[1])
    index.add(centroids)
    return index


def _some(
    rows: NDArray[np.float16], count: int, random: np.random.Generator
) -> NDArray[np.float32]:
    chosen = random.choice(len(rows), min(len(rows), count), replace=False)
    some: NDArray[np.float32] = rows[np.sort(chosen)].astype(np.float32)
    return some


class _Trial:
    """Queries with their nearest neighbours, which a search of the lists has to find.

    Half of them are photos of the library. The other half stand in for texts, of which a library
    knows none. Most of such a query lies in dimensions in which photos hardly differ, where CLIP's
    texts lie (Liang et al., "Mind the gap", 2022). The smaller part is what it says about photos:
    how one photo differs from the mean, mixed with a random direction in which photos differ. So
    these queries score 0.2 with the best photos, as captions do with CLIP models, and their best
    scores stand out no more than those of captions and single words.
    """

    def __init__(self, rows: NDArray[np.float16], random: np.random.Generator) -> None:
        chosen = np.sort(random.choice(len(rows), min(len(rows), 8 * _QUERIES), replace=False))
        vectors = rows[chosen].astype(np.float32)
        apart = vectors - vectors.mean(axis=0)
        count = min(_QUERIES, len(vectors))
        mixed = random.standard_normal((count, len(apart)), dtype=np.float32) @ apart
        alike = random.choice(len(vectors), count, replace=False)
        self.photos = vectors[alike]
        differing = np.linalg.eigh(apart.T @ apart)[1].astype(np.float32)
        least = differing[:, : max(1, len(differing) // _SHARED)]
        shared = least @ random.standard_normal((least.shape[1], count), dtype=np.float32)
        about = _mixed(_LIKE_PHOTOS, apart[alike], mixed)
        self._queries = np.concatenate([self.photos, _mixed(_ABOUT_PHOTOS, about, shared.T)])
        self._own = np.concatenate([chosen[alike], np.full(count, -1)])
        self._target = LARGE_TARGET if len(rows) > LARGE else TARGET
        self._scores = np.full((2 * count, NEIGHBOURS), -np.inf, np.float32)
        self._nearest = np.full((2 * count, NEIGHBOURS), -1, np.int64)

    def see(self, vectors: NDArray[np.float32], first_row: int) -> None:
        """Keep the nearest neighbours among these vectors (n, width), too.

        `first_row` is the row number of the first of them.
        """
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

    def tune(self, model: Model, lists: Lists, vectors: NDArray[np.float16]) -> int:
        """Set the model's settings; return how many lists a search for a text looks into."""
        photos, texts = np.split(np.arange(len(self._queries)), 2)
        few, some = self._least(lists, photos, vectors)
        probes, more = self._least(lists, texts, vectors)
        probes = max(few, probes)
        nearest = inner_products(self.photos, model.centroids).max(axis=1)
        model.settings[1:] = max(some, more), np.quantile(nearest, 0.05), few / probes
        return probes

    def _least(
        self, lists: Lists, which: NDArray[np.int64], vectors: NDArray[np.float16]
    ) -> tuple[int, int]:
        """Return with how few lists and candidates the queries in `which` find enough.

        The latter is a multiple of `candidates_for`. Where nothing is enough, both are the most.
        """
        counts = [candidates_for(NEIGHBOURS) << n for n in range(MOST_CANDIDATES.bit_length())]
        most = lists.count // MOST_PROBES
        probes = min(LEAST_PROBES, most)
        while True:
            rows, estimates = lists.candidates(self._queries[which], counts[-1], probes=probes)
            for count in counts if self._share(rows, which) >= self._target else ():
                if self._share(rows[:, :count], which) < self._target:
                    continue
                best = self._ranked(rows[:, :count], estimates[:, :count], which, vectors)
                if self._share(best, which) >= self._target:
                    return probes, count // counts[0]
            if probes == most:
                return probes, MOST_CANDIDATES
            probes = min(probes + max(1, probes * 2 // 5), most)

    def recall(self, lists: Lists, vectors: NDArray[np.float16]) -> float:
        """Return the share of the nearest that a search finds, of the kind that finds less."""
        count, shares = lists.candidates_for(NEIGHBOURS), []
        for which in np.split(np.arange(len(self._queries)), 2):
            rows, estimates = lists.candidates(self._queries[which], count, probes=lists.probes)
            best = self._ranked(rows, estimates, which, vectors)
            shares.append(self._share(best, which))
        return min(shares)

    def _share(self, found: NDArray[np.int64], which: NDArray[np.int64]) -> float:
        nearest = self._nearest[which]
        return float(
            np.mean([np.isin(one, row).mean() for one, row in zip(nearest, found, strict=True)])
        )

    def _ranked(
        self,
        found: NDArray[np.int64],
        estimates: NDArray[np.float32],
        which: NDArray[np.int64],
        vectors: NDArray[np.float16],
    ) -> NDArray[np.int64]:
        """Return the best candidates of each query (n, 10), as a search ranks them, then -1."""
        hits = np.full((len(found), NEIGHBOURS), -1)
        for number, query in enumerate(self._queries[which]):
            keep = (found[number] >= 0) & (found[number] != self._own[which[number]])
            near, scores = ranked(
                found[number, keep],
                estimates[number, keep],
                NEIGHBOURS,
                partial(_scores, vectors, query),
            )
            best = near[np.argsort(-scores)[:NEIGHBOURS]]
            hits[number, : len(best)] = best
        return hits


def _scores(
    vectors: NDArray[np.float16], query: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    return np.asarray(vectors[rows].astype(np.float32) @ query)


def _mixed(
    part: float, some: NDArray[np.float32], others: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return vectors with the cosine `part` with `some`, and for the rest like `others`.

    All are (n, width). The cosine is exact where `some` and `others` are orthogonal.
    """
    return _unit(part * _unit(some) + (1 - part**2) ** 0.5 * _unit(others))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-9)
    return unit
