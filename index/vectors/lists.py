"""Finding neighbours without looking at all vectors: lists of short codes around centroids.

Each vector stands in the list of the centroid nearest to it, as a code of two bits a dimension
(FAISS's product quantizer, scanned with SIMD). A search looks into the lists that promise most, and
takes from them more candidates than are asked for, with estimates of their scores; the caller ranks
the candidates by their full vectors.

Texts are harder to search for than photos. CLIP puts all texts far from all photos: most of a
text's vector says what photos have in common, and only a small rest tells photos apart. Therefore:

- The order in which lists are searched stays the same when a query is scaled, or moved in the
  direction that all photos share.
- Before codes are scanned, a query is multiplied by a matrix: the least-squares fit of the vectors
  on their codes. It takes from the query the directions in which the codes' errors are larger than
  the differences between photos.
- A query that is no nearer to any centroid than texts are is searched for in more lists.

How lists are made, and how many of them a search looks into, is in list_building.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_PROBES = 2  # to search more than half (1 / 2) of the lists takes as long as to search exactly
MOST_CANDIDATES = 8  # the most candidates a search takes, as a multiple of `candidates_for`
CODES = 16  # values of a code, which has four bits

_BLOCK = 32  # vectors whose codes FAISS scans at once, and so stores together
_LARGEST = 1e3  # what is learnt from unit vectors has no number as large
_FIRST = 4  # `ranked` scores 4 * k + 24 candidates before it decides how many more it needs
_WORTH_A_CORE = 1 << 14  # vectors to scan for which one more core is worth its start
_DOUBT = 4.0  # standard deviations by which `ranked` takes an estimate to be wrong at most


def candidates_for(k: int) -> int:
    """Return the least number of candidates from which the best k are chosen."""
    return 32 * k + 80


@dataclass(frozen=True)
class Model:
    """What is learnt from vectors before they are put in lists."""

    centroids: NDArray[np.float32]  # (lists, width)
    codebook: NDArray[np.float32]  # (codes, 16, dimensions of a code): what each code stands for
    fit: NDArray[np.float32]  # (width, width): decoded vectors @ fit come nearest to the vectors
    # (4,): by how much of its squared length a centroid ranks lower; how many candidates a search
    # takes, as a multiple of `candidates_for`; from which cosine with a centroid on a query counts
    # as like a photo; and in which share of the lists such a query is searched for.
    settings: NDArray[np.float32]

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
    """Lists in a mapped file, ready to be searched; each is read when it is first looked into."""

    def __init__(
        self,
        model: Model,
        sizes: NDArray[np.int64],
        rows: NDArray[np.int32],
        codes: NDArray[np.uint8],
        probes: int,
    ) -> None:
        """Take the vectors in each list (lists,), and their row numbers (n,) and codes (bytes,).

        Row numbers and codes are in the order of the lists. `probes` is how many lists a search
        looks into.
        """
        import faiss

        self.count = len(sizes)
        self.probes = max(1, min(probes, self.count))
        self._vectors = len(rows)
        self._compactness, wider, self._near, self._share = model.settings.tolist()
        self._wider = int(np.clip(wider, 1, MOST_CANDIDATES))
        self._model = model
        self._lengths = np.square(model.centroids).sum(axis=1)
        self._sizes = np.append(sizes, 0)  # the last for "list" -1, which stands for none
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
        """Return the lists that lie in the bytes `part`; they may come from anywhere.

        Raises ValueError unless the length is that of such lists, and the numbers are possible.
        Codes and row numbers can do no harm: any bytes are valid codes, and `candidates` leaves out
        row numbers that no row has.
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
        """Return from how many candidates the best k are chosen in these lists."""
        return self._wider * candidates_for(k)

    def candidates(
        self, queries: NDArray[np.float32], count: int, *, probes: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the candidates of each query: rows (n, count) and estimated scores (n, count).

        They are by falling estimate. All estimates of a query may be off by the same amount. A row
        is -1 where there are no more candidates, or where the file holds a number that no row has.
        A query that is like a photo gets fewer: the multiple that texts need is left out.
        """
        chosen, near = self._chosen(queries, min(probes, self.count))
        wanted = np.where(near, count // self._wider, count)
        self._look_into(chosen)
        turned = inner_products(queries, self._model.fit)
        rows, estimates = self._scanned(turned, int(wanted.max(initial=1)), chosen)
        # Several candidates may have the last estimate, and it is chance which of them are
        # returned: for a query alone others than for the same query among many. So all of them are
        # left out, unless they are most of the candidates.
        above = estimates > estimates[np.arange(len(wanted)), wanted - 1][:, None]
        keep = (above.sum(axis=1) >= wanted // 2)[:, None]
        keep = np.where(keep, above, np.arange(rows.shape[1]) < wanted[:, None])
        keep &= (rows >= 0) & (rows < self._vectors)
        return np.where(keep, rows, -1), estimates

    def _scanned(
        self, turned: NDArray[np.float32], count: int, chosen: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows (n, count) with the best estimates in the chosen lists, and these.

        FAISS searches for each query on one core. So that a few queries keep all cores busy, each
        is given to FAISS several times, with a share of its lists each time.
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
        """Return the best lists for each query (n, probes), and which queries are like photos (n,).

        A query that is like a photo gets fewer lists; the rest of its row is -1.

        A list is the better, the nearer its centroid would be if the query lay as near to photos
        as a photo does. What all photos share adds the same to all products, and so changes no
        rank; by how much the products differ gives the scale.
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
        """Give FAISS the contents of the chosen lists that it does not have yet."""
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
    """Return in which columns the largest numbers of each row stand (n, count), in no order."""
    if count == numbers.shape[1]:
        return np.tile(np.arange(count), (len(numbers), 1))
    return np.argpartition(-numbers, count - 1, axis=1)[:, :count].astype(np.int64)


def inner_products(
    queries: NDArray[np.float32], others: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return queries @ others.T (n, m), on one core: more cost time to start, and save less."""
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
    """Return the candidates that may be among the best k, and their scores.

    `rows` (n,) are by falling estimate. `scores_of` reads vectors and returns their exact scores.
    The first few candidates show how far estimates are off; of the others, only those are scored
    whose estimates could be wrong by enough.
    """
    first = _FIRST * k + 24
    scores = scores_of(rows[:first])
    if len(rows) <= first:
        return rows, scores
    errors = scores - estimates[:first]
    least = np.partition(scores, len(scores) - k)[-k]
    hopeful = estimates[first:] + errors.mean() + _DOUBT * errors.std() >= least
    # As estimates fall, all that are hopeful come before all that are not.
    more = rows[first : first + int(hopeful.sum())]
    return rows[: first + len(more)], np.concatenate([scores, scores_of(more)])


def least_bytes(vectors: int, width: int, lists: int) -> int:
    """Return how many bytes lists take in a file at least; their codes may be padded to more."""
    numbers = sum(math.prod(shape) for shape in Model.shapes(width, lists))
    codes = code_bytes(np.array([vectors]), width)[0]
    return int(4 * numbers + 8 * lists + 4 * vectors + codes)


def dimensions_of_a_code(width: int) -> int:
    """Return how many dimensions share a code."""
    return 2 if width % 2 == 0 else 1


def code_bytes(sizes: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return how many bytes the codes of each list (lists,) take: they fill whole blocks."""
    codes = width // dimensions_of_a_code(width)
    blocks = -(-sizes // _BLOCK)
    return blocks * (_BLOCK // 2) * (codes + codes % 2)


def _numbers(part: NDArray[np.uint8], kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the numbers that lie in the bytes `part`; ValueError if it is too short for them."""
    return part.view(kind).reshape(shape) if part.size else np.empty(shape, kind)
