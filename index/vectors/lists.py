"""Finding neighbours without looking at all vectors: lists of short codes around centroids.

Each vector stands in the list of the centroid nearest to it, as a code of two bits a dimension
(FAISS's product quantizer, scanned with SIMD). A search looks into the lists that promise most, and
takes from them more candidates than are asked for, with estimates of their scores; whoever asks
ranks those by their full vectors.

Texts are harder to search for than photos: CLIP's texts lie apart from all photos, so that most of
a query speaks of what all photos have in common, and only a small rest tells them apart. Lists are
therefore ranked in a way that does not change when a query shrinks or moves by what all photos
share. Before codes are scanned, a query is turned by the least-squares fit of the vectors on their
codes: so it says nothing in directions in which the codes' errors are larger than the differences
between photos. And what lies no nearer to a centroid than texts do is looked for in more lists.

How lists are made, and how many of them a search looks into, is in list_building.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_PROBES = 2  # a search that had to look into more than one in so many lists is no gain
MOST_CANDIDATES = 8  # times the least number of candidates
CODES = 16  # of two dimensions: four bits

_BLOCK = 32  # vectors whose codes are scanned at once, and so are stored together
_LARGEST = 1e3  # no number in lists of unit vectors is as large
_FIRST = 4  # times k: so many candidates are ranked before it is decided how many more
_WORTH_A_CORE = 1 << 14  # vectors
_DOUBT = 4.0  # standard deviations by which an estimate may be wrong before it is believed


def candidates_for(k: int) -> int:
    """Return how many candidates are looked at to find the best k of them, at the least."""
    return 32 * k + 80


@dataclass(frozen=True)
class Model:
    """What is learnt from vectors before they are put in lists."""

    centroids: NDArray[np.float32]  # [lists, width]
    codebook: NDArray[np.float32]  # [width / dimensions of a code, 16, dimensions of a code]
    fit: NDArray[np.float32]  # [width, width]: codes times it come nearest to the vectors
    settings: NDArray[np.float32]  # [4]: what the length of a centroid counts in its rank; how
    # many times the least number of candidates a search takes; the cosine with a centroid from
    # which on a query is like a photo; and the share of the lists that then is looked into

    def index(self, chooser: Any = None) -> Any:
        """Return FAISS's index of these lists, all of them empty.

        Vectors can be added with an index of the centroids, which chooses their lists.
        """
        import faiss

        lists, width = self.centroids.shape
        chooser = chooser or faiss.IndexFlatL2(width)
        index: Any = faiss.IndexIVFPQFastScan(
            chooser, width, lists, len(self.codebook), 4, faiss.METRIC_INNER_PRODUCT, _BLOCK
        )
        chooser.this.disown()
        index.own_fields = True
        faiss.copy_array_to_vector(self.codebook.ravel(), index.pq.centroids)
        index.is_trained = True
        return index

    def arrays(self) -> list[NDArray[np.float32]]:
        """Return all of it, in the order in which it stands in a file."""
        return [self.centroids, self.codebook, self.fit, self.settings]

    @staticmethod
    def shapes(width: int, lists: int) -> list[tuple[int, ...]]:
        """Return the shapes of `arrays`."""
        codes = width // dimensions_of_a_code(width)
        return [(lists, width), (codes, CODES, dimensions_of_a_code(width)), (width, width), (4,)]


class Lists:
    """Lists that can be searched, in a mapped file: each is read when it is first looked into."""

    def __init__(
        self,
        model: Model,
        sizes: NDArray[np.int64],
        rows: NDArray[np.int32],
        codes: NDArray[np.uint8],
        probes: int,
    ) -> None:
        import faiss

        self.count = len(sizes)
        self.probes = max(1, min(probes, self.count))
        self._vectors = len(rows)
        self._compactness, wider, self._near, self._share = model.settings.tolist()
        self._wider = int(np.clip(wider, 1, MOST_CANDIDATES))
        self._model = model
        self._lengths = np.square(model.centroids).sum(axis=1)
        self._sizes = np.append(sizes, 0)  # the last is that of list -1, which is none
        self._rows = np.split(rows, np.cumsum(sizes)[:-1])
        self._codes = np.split(codes, np.cumsum(code_bytes(sizes, model.fit.shape[0]))[:-1])
        self._index = model.index()
        self._index.ntotal = self._vectors
        self._inside = faiss.downcast_InvertedLists(self._index.invlists)
        self._read = sizes == 0

    @classmethod
    def over(
        cls, part: NDArray[np.uint8], vectors: int, width: int, lists: int, probes: int
    ) -> Lists:
        """Return the lists that lie in this memory; ValueError unless it is as long as they are.

        FAISS reads none of it: it is given codes, any of which is one, and row numbers, which
        `candidates` compares with how many rows there are.
        """
        arrays, at = [], 0
        for shape in Model.shapes(width, lists):
            end = at + 4 * math.prod(shape)
            array = _numbers(part[at:end], "<f4", shape).astype(np.float32, copy=False)
            arrays.append(np.ascontiguousarray(array))
            at = end
            if not (np.abs(arrays[-1]) < _LARGEST).all():
                raise ValueError("other numbers")
        sizes = _numbers(part[at : at + 8 * lists], "<i8", (lists,)).astype(np.int64)
        at += 8 * lists
        if ((sizes < 0) | (sizes > vectors)).any() or sizes.sum() != vectors:
            raise ValueError("other lists")
        rows = _numbers(part[at : at + 4 * vectors], "<i4", (vectors,))
        codes = part[at + 4 * vectors :]
        if len(codes) != code_bytes(sizes, width).sum():
            raise ValueError("another length")
        return cls(Model(*arrays), sizes, rows, codes, probes)

    def candidates_for(self, k: int) -> int:
        """Return how many candidates to look at to find the best k of them."""
        return self._wider * candidates_for(k)

    def candidates(
        self, queries: NDArray[np.float32], count: int, *, probes: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return rows [n, count] that may be the nearest to each query, and estimates of scores.

        By falling estimate, which is off by the same for all of a query. The row is -1 where
        there are no more, and in place of a number that no row has. A query that is like a photo
        gets as many candidates as `candidates_for` would without what texts need.
        """
        chosen, near = self._chosen(queries, min(probes, self.count))
        wanted = np.where(near, count // self._wider, count)
        self._look_into(chosen)
        turned = inner_products(queries, self._model.fit)
        rows, estimates = self._scanned(turned, int(wanted.max(initial=1)), chosen)
        # Which of those with the last estimate are among them is chance, and not the same for a
        # query alone and one of many: none is taken, unless they are most.
        above = estimates > estimates[np.arange(len(wanted)), wanted - 1][:, None]
        keep = (above.sum(axis=1) >= wanted // 2)[:, None]
        keep = np.where(keep, above, np.arange(rows.shape[1]) < wanted[:, None])
        keep &= (rows >= 0) & (rows < self._vectors)
        return np.where(keep, rows, -1), estimates

    def _scanned(
        self, turned: NDArray[np.float32], count: int, chosen: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows [n, count] with the best estimates among some lists, and these.

        FAISS gives a query to one core; so that a few keep all busy, each is asked several times,
        for other lists.
        """
        queries, probes = chosen.shape
        sizes = self._sizes[chosen]
        shares = faiss_threads() // max(1, queries)
        shares = max(1, min(shares, probes, int(sizes.sum()) // _WORTH_A_CORE))
        each = -(-probes // shares)
        dealt = np.full((queries, each * shares), -1)
        dealt[:, :probes] = np.take_along_axis(chosen, np.argsort(-sizes, axis=1), axis=1)
        dealt = dealt.reshape(queries, each, shares).transpose(0, 2, 1).reshape(-1, each)
        self._index.nprobe = each
        estimates, rows = self._index.search_preassigned(
            np.repeat(turned, shares, axis=0), count, dealt, np.zeros(dealt.shape, np.float32)
        )
        if shares == 1:
            return rows, estimates
        estimates, rows = estimates.reshape(queries, -1), rows.reshape(queries, -1)
        best = np.arange(queries)[:, None], np.argsort(-estimates, axis=1, kind="stable")[:, :count]
        return rows[best], estimates[best]

    def _chosen(
        self, queries: NDArray[np.float32], probes: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the lists [n, probes] that promise most to each query, and which are like photos.

        Fewer, then -1, to one that is like a photo. By the distance of a centroid, if the query
        was as near to photos as a photo is: what all photos share adds the same to all products,
        and how much these differ is the scale.
        """
        products = inner_products(queries, self._model.centroids)
        scale = products.std(axis=1, keepdims=True)
        worth = products - self._compactness * scale * self._lengths
        near = products.max(axis=1) >= self._near
        few = min(max(1, math.ceil(self._share * probes)), probes)
        if near.all():
            return _largest(worth, few), near
        chosen = _largest(worth, probes)
        if few < probes and near.any():
            chosen[near, few:] = -1
            chosen[near, :few] = _largest(worth[near], few)
        return chosen, near

    def _look_into(self, chosen: NDArray[np.int64]) -> None:
        import faiss

        for number in set(chosen[~self._read[chosen] & (chosen >= 0)].tolist()):
            rows, codes = self._rows[number], self._codes[number]
            self._inside.resize(number, len(rows))
            faiss.rev_swig_ptr(self._inside.get_codes(number), len(codes))[:] = codes
            faiss.rev_swig_ptr(self._inside.get_ids(number), len(rows))[:] = rows
            self._read[number] = True


def faiss_threads() -> int:
    """Return how many threads FAISS searches with."""
    import faiss

    return int(faiss.omp_get_max_threads())


def _largest(numbers: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return where the largest of each row are [n, count], in no order."""
    if count == numbers.shape[1]:
        return np.tile(np.arange(count), (len(numbers), 1))
    return np.argpartition(-numbers, count - 1, axis=1)[:, :count].astype(np.int64)


def inner_products(
    queries: NDArray[np.float32], others: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return queries @ others.T, on one core: for so little work, others cost more than they do."""
    import faiss

    products = np.empty((len(queries), len(others)), np.float32)
    library: Any = faiss  # its types know nothing of this function
    multiply = library.fvec_inner_products_ny
    for query, row in zip(queries, products, strict=True):
        parts = map(faiss.swig_ptr, (row, query, others))
        multiply(*parts, others.shape[1], len(others))
    return products


def ranked(
    rows: NDArray[np.int64],
    estimates: NDArray[np.float32],
    k: int,
    scores_of: Callable[[NDArray[np.int64]], NDArray[np.float32]],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return candidates that may be among the best k, and their scores; the rest is not read.

    `rows` are by falling estimate. After the first, only those are looked at whose estimates may
    be wrong by enough: as far as those of the first are.
    """
    first = _FIRST * k + 24
    scores = scores_of(rows[:first])
    if len(rows) <= first:
        return rows, scores
    errors = scores - estimates[:first]
    least = np.partition(scores, len(scores) - k)[-k]
    hopeful = estimates[first:] + errors.mean() + _DOUBT * errors.std() >= least
    # By falling estimate: they are the next so many.
    more = rows[first : first + int(hopeful.sum())]
    return rows[: first + len(more)], np.concatenate([scores, scores_of(more)])


def least_bytes(vectors: int, width: int, lists: int) -> int:
    """Return how long lists are in a file at least: what their codes take beyond is padding."""
    numbers = sum(math.prod(shape) for shape in Model.shapes(width, lists))
    codes = code_bytes(np.array([vectors]), width)[0]
    return int(4 * numbers + 8 * lists + 4 * vectors + codes)


def dimensions_of_a_code(width: int) -> int:
    """Return how many dimensions share a code."""
    return 2 if width % 2 == 0 else 1


def code_bytes(sizes: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return how long the codes of lists are: whole blocks of them, each of an even number."""
    codes = width // dimensions_of_a_code(width)
    blocks = -(-sizes // _BLOCK)
    return blocks * (_BLOCK // 2) * (codes + codes % 2)


def _numbers(part: NDArray[np.uint8], kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return numbers that lie in this memory; ValueError if it is too short for them."""
    return part.view(kind).reshape(shape) if part.size else np.empty(shape, kind)
