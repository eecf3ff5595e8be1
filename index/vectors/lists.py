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

How many lists a search looks into is tuned when they are made, against exact search.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

TARGET = 0.99  # of the ten nearest neighbours, the share that a search must find
# Of so many vectors, looking at all takes so long that a little more may be missed: what lists are
# tuned to find, and what they must.
LARGE = 2_000_000
LARGE_TARGET, LARGE_LEAST = 0.97, 0.95
NEIGHBOURS = 10
LEAST_PROBES = 8  # a margin for queries unlike those it is tuned with, which costs next to nothing
MOST_PROBES = 2  # a search that had to look into more than one in so many lists is no gain
MOST_CANDIDATES = 8  # times the least number of candidates

_SAMPLES = 32  # a list, to find the centroids
_ROUNDS = 5  # of k-means
_SEED = 1
_CODED = 2048  # vectors, from which the codes are learnt
_FITTED = 4  # times as many as a vector has dimensions: to fit vectors on their codes
_QUERIES = 128  # of each of two kinds, to tune with
_LIKE_PHOTOS = 0.5  # of what a text says about photos, the part that is of one of them
_ABOUT_PHOTOS = 0.4  # of a text, the part that says anything about photos
_SHARED = 16  # one in so many dimensions: what photos differ in least is what texts have beside
_ROWS_AT_ONCE = 1 << 15

_BLOCK = 32  # vectors whose codes are scanned at once, and so are stored together
_CODES = 16  # of two dimensions: four bits
_LARGEST = 1e3  # no number in lists of unit vectors is as large
_FIRST = 4  # times k: so many candidates are ranked before it is decided how many more
_WORTH_A_CORE = 1 << 14  # vectors
_DOUBT = 4.0  # standard deviations by which an estimate may be wrong before it is believed


def lists_for(vectors: int) -> int:
    """Return how many lists so many vectors are put in: a power of two, near 1.7 times the root."""
    return 1 << round(math.log2(vectors) / 2 + 0.75)


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
        codes = width // _dimensions(width)
        return [(lists, width), (codes, _CODES, _dimensions(width)), (width, width), (4,)]


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
        self._codes = np.split(codes, np.cumsum(_code_bytes(sizes, model.fit.shape[0]))[:-1])
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
        if len(codes) != _code_bytes(sizes, width).sum():
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
        turned = _products(queries, self._model.fit)
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
        shares = cores() // max(1, queries)
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
        products = _products(queries, self._model.centroids)
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


def cores() -> int:
    """Return how many threads FAISS searches with."""
    import faiss

    return int(faiss.omp_get_max_threads())


def _largest(numbers: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return where the largest of each row are [n, count], in no order."""
    if count == numbers.shape[1]:
        return np.tile(np.arange(count), (len(numbers), 1))
    return np.argpartition(-numbers, count - 1, axis=1)[:, :count].astype(np.int64)


def _products(queries: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
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


@dataclass(frozen=True)
class Tuned:
    """Lists that were made and tried out, not yet written."""

    model: Model
    index: Any  # FAISS's, filled
    probes: int
    recall: float  # of the ten nearest, the share found; of the worse of two kinds of query

    @property
    def lists(self) -> int:
        """The number of lists."""
        return len(self.model.centroids)

    @property
    def found_enough(self) -> bool:
        """Tell whether a search of the lists finds as many as it must."""
        return self.recall >= (LARGE_LEAST if self.index.ntotal > LARGE else TARGET)

    def write(self, write: Callable[[Any], None]) -> None:
        """Write them as bytes and arrays."""
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
    """Return of FAISS's lists their sizes, row numbers and codes; memory of the index."""
    import faiss

    inside: Any = faiss.downcast_InvertedLists(index.invlists)
    sizes = np.array([inside.list_size(number) for number in range(index.nlist)], np.int64)
    lengths = _code_bytes(sizes, index.d)
    filled = np.flatnonzero(sizes).tolist()
    rows = [faiss.rev_swig_ptr(inside.get_ids(n), int(sizes[n])) for n in filled]
    codes = [faiss.rev_swig_ptr(inside.get_codes(n), int(lengths[n])) for n in filled]
    return sizes, rows, codes


def build_lists(rows: NDArray[np.float16], width: int) -> Tuned:
    """Put vectors [n, width] in lists, and find out how many of them a search must look into."""
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
    lists = lists_for(len(rows))
    sample = _some(rows, _SAMPLES * lists, random)
    centroids = _centroids(sample, lists)
    coded = _some(rows, max(_CODED, _FITTED * width), random)
    codebook = _codebook(coded[:_CODED], _dimensions(width))
    fit = _fit(_decoded(coded, codebook), coded)
    products = photos @ centroids.T
    # Half the squared length of a centroid is what tells the nearest from the largest product.
    compactness = 0.5 / max(1e-9, float(products.std(axis=1).mean()))
    # No cosine is 2: all queries are like texts, until it is tuned.
    return Model(centroids, codebook, fit, np.array([compactness, 1, 2, 1], np.float32))


def _codebook(sample: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """Return 16 values [n, 16, dimensions] for each few dimensions: k-means of all at once."""
    parts = _parts(sample, dimensions)
    book = parts[:, np.arange(_CODES) % len(sample)]
    count = len(book) * _CODES
    for _ in range(_ROUNDS):
        nearest = _nearest_codes(parts, book) + _CODES * np.arange(len(book))[:, None]
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
    """Return what is left of vectors when they are coded."""
    codes = _nearest_codes(_parts(vectors, book.shape[2]), book)
    decoded = np.take_along_axis(book, codes[:, :, None], axis=1)
    return np.ascontiguousarray(decoded.transpose(1, 0, 2)).reshape(vectors.shape)


def _parts(vectors: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """Return vectors as [parts, vectors, dimensions of a part]."""
    parts = vectors.reshape(len(vectors), -1, dimensions).transpose(1, 0, 2)
    return np.ascontiguousarray(parts)


def _nearest_codes(parts: NDArray[np.float32], book: NDArray[np.float32]) -> NDArray[np.int64]:
    distances = np.square(book).sum(axis=2)[:, None] - 2 * parts @ book.transpose(0, 2, 1)
    nearest: NDArray[np.int64] = distances.argmin(axis=2)
    return nearest


def _fit(coded: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the matrix that brings codes nearest to their vectors, both without their means."""
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

    One half asks for photos like a photo of the library. The other half are like texts, of which
    a library knows none: a third of each are directions in which photos differ from each other,
    drawn at random, with a part of what one photo differs by from all; the rest lies where photos
    hardly differ (Liang et al., "Mind the gap", 2022). So they score 0.2 with the best photos, as
    captions do with CLIP models, and their best scores stand out from the others no more than
    those of captions and single words.
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

    def tune(self, model: Model, lists: Lists, vectors: NDArray[np.float16]) -> int:
        """Find the model's settings; return how many lists a search for a text looks into."""
        photos, texts = np.split(np.arange(len(self._queries)), 2)
        few, some = self._least(lists, photos, vectors)
        probes, more = self._least(lists, texts, vectors)
        probes = max(few, probes)
        nearest = _products(self.photos, model.centroids).max(axis=1)
        model.settings[1:] = max(some, more), np.quantile(nearest, 0.05), few / probes
        return probes

    def _least(
        self, lists: Lists, which: NDArray[np.int64], vectors: NDArray[np.float16]
    ) -> tuple[int, int]:
        """Return the least numbers of lists and of candidates with which some queries find enough.

        Candidates are counted in times the least number of them.
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
        """Return which share of the nearest a search finds: of the worse of the two kinds."""
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
        """Return the best of each row of candidates, as a search ranks them."""
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
    """Return unit vectors that are to this part like some, for the rest like others."""
    return _unit(part * _unit(some) + (1 - part**2) ** 0.5 * _unit(others))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-9)
    return unit


def over_memory(part: NDArray[np.uint8]) -> Any:
    """Return the FAISS index whose file lies in this memory, which must outlive it."""
    import faiss

    library: Any = faiss  # its types know nothing of this reader
    return faiss.read_index(library.ZeroCopyIOReader(faiss.swig_ptr(part), part.size))


def least_bytes(vectors: int, width: int, lists: int) -> int:
    """Return how long lists are in a file at least: what their codes take beyond is padding."""
    numbers = sum(math.prod(shape) for shape in Model.shapes(width, lists))
    codes = _code_bytes(np.array([vectors]), width)[0]
    return int(4 * numbers + 8 * lists + 4 * vectors + codes)


def _dimensions(width: int) -> int:
    """Return how many dimensions share a code."""
    return 2 if width % 2 == 0 else 1


def _code_bytes(sizes: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return how long the codes of lists are: whole blocks of them, each of an even number."""
    codes = width // _dimensions(width)
    blocks = -(-sizes // _BLOCK)
    return blocks * (_BLOCK // 2) * (codes + codes % 2)


def _numbers(part: NDArray[np.uint8], kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return numbers that lie in this memory; ValueError if it is too short for them."""
    return part.view(kind).reshape(shape) if part.size else np.empty(shape, kind)
