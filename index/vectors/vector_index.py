"""Search over vectors of one model: FAISS, in memory, in a mapped file or on a GPU.

Vectors are float16 and of unit length, so that their inner product is the cosine. Each has the id
of its embedding and of its photo. Once others search an index, it does not change: whoever removes
vectors gets another index over the same memory. So any number of threads may search it at once,
each within a selection of its own.
"""

from __future__ import annotations

import copy
import math
import os
import threading
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.selection import Selection
from clipsearch.index.vectors.lists import MOST_PROBES, Lists, candidates_for, faiss_threads, ranked
from clipsearch.index.vectors.products import (
    QUERIES_AT_ONCE,
    candidates,
    margins,
    near_best,
    scores,
    worth_a_product,
)
from clipsearch.index.vectors.small_exact import SMALL, SmallIndex
from clipsearch.index.vectors.vector_files import FileStamp, StoredRows, exact_index, map_file

_SPARE = 16  # neighbours fetched beyond k, for ties (and on a GPU for removed vectors)
_GPU_MAX_K = 2048  # of FAISS
_GPU_VECTORS_AT_ONCE = 1 << 16
_WORTH_A_THREAD = 50_000  # vectors
# So many selected vectors, or fewer, are looked at whole, and lists are left aside, which is
# promised: of 500,000 that takes 24 ms of a processor, the lists 30.
EXACT_WITHIN = 50_000
_WORTH_SCANNING = 4  # so is one in so many of the index: lists would have to look into as much
# One selected vector in so many, or fewer: they are read one by one, which takes about 1 us each.
# Else all are passed by, those not selected unread, at 2 ns each (of 512 dimensions, on one core).
_WORTH_GATHERING = 200
_MOST_GATHERED = 10_000  # of more, the copies take longer than passing by all
_WORTH_LOOKING_UP = 20  # one selected in so many, or fewer: all others are not looked at
_WORTH_LISTS = 5  # times as many vectors as candidates, or all may as well be looked at
_RESULTS_AT_ONCE = 1 << 21  # neighbours fetched, of all queries: 24 MB with their scores


class _Left:
    """Which vectors of an index a search may find."""

    def __init__(self, marks: NDArray[np.bool_], *, selected: bool) -> None:
        """Take which rows (n,) may be found; and whether a selection says so, too."""
        self.count = int(np.count_nonzero(marks))
        self.marks = marks if self.count < len(marks) else None  # None: all of them
        self.selected = selected

    @cached_property
    def faiss_selector(self) -> Any:
        """The marks as FAISS takes them; None for all."""
        return None if self.marks is None else _bitmap(self.marks)


class VectorIndex:
    """Vectors with the ids of their embeddings and photos, some of which may be removed."""

    def __init__(
        self,
        faiss_index: Any,
        ids: NDArray[np.int64],
        rows: StoredRows | None = None,
        lists: Lists | None = None,
    ) -> None:
        self._index = faiss_index
        self._gpu_index: Any = None
        self._gpu_lock = threading.Lock()  # FAISS lets one thread use it
        self._ids = ids  # (n, 2), sorted by embedding id
        self._rows = rows  # of a file
        self._lists = lists
        self._removed = np.zeros(len(ids), dtype=bool)
        self._left_last: tuple[Selection | None, _Left] | None = None  # see _left
        # Photo ids (n,), rising, and their rows, once few are selected: 16 bytes a vector.
        self._by_photo: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        self._longest: float | None = None  # the length of the longest vector, once it is known
        self.note: str | None = None  # why a GPU that is there is not used

    @classmethod
    def empty(cls, width: int) -> VectorIndex:
        """Return an index in memory to which vectors of this width can be added."""
        return cls(exact_index(width, 0), np.empty((0, 2), dtype=np.int64))

    @classmethod
    def open(cls, path: Path, stamp: FileStamp, *, verify: bool) -> VectorIndex:
        """Map an index file; raise UnusableFile unless it is what the stamp says.

        With `verify` all of it is read and compared with the checksum, else its shape is.
        """
        file = map_file(path, stamp, verify=verify)
        return cls(file.index, file.ids, file.rows, file.lists)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def width(self) -> int:
        """The length of a vector."""
        return int(self._index.d)

    @property
    def removed(self) -> int:
        """The number of vectors marked as removed."""
        return int(self._removed.sum())

    def add(self, vectors: NDArray[np.float16], ids: NDArray[np.int64]) -> None:
        """Add vectors (n, width) with ids (n, 2): embedding (greater than all before), photo.

        Only to an index in memory that nobody searches yet.
        """
        if isinstance(self._index, SmallIndex) and len(self) + len(vectors) > SMALL:
            small, self._index = self._index, exact_index(self.width, len(self) + len(vectors))
            self._index.add(small.reconstruct_n(0, len(self)))
        self._index.add(vectors.astype(np.float32))  # it rounds back, to the same float16
        self._ids = np.concatenate([self._ids, ids])
        self._removed = np.concatenate([self._removed, np.zeros(len(ids), dtype=bool)])
        self._left_last = self._longest = self._by_photo = None

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids of embedding and photo (n, 2), in order of the former."""
        return self._ids

    def vectors(self, start: int, count: int) -> NDArray[np.float16]:
        """Return the vectors (count, width) from row `start` on, as they are stored."""
        vectors: NDArray[np.float32] = self._index.reconstruct_n(start, count)
        return vectors.astype(np.float16)

    def of_photos(self, photo_ids: NDArray[np.int64]) -> tuple[Any, NDArray[np.float32]] | None:
        """Return the places (m,) of photos (n,) that are here, and their vectors (m, width).

        None where a photo was embedded twice, so that one of the two is of the past.
        """
        sorted_ids, order = self._photos_sorted()
        first = sorted_ids.searchsorted(photo_ids)
        counts = sorted_ids.searchsorted(photo_ids, "right") - first
        if (counts > 1).any():
            return None
        places = np.flatnonzero(counts)
        rows = order[first[places]]
        here = ~self._removed[rows]
        places, rows = places[here], rows[here]
        if isinstance(self._index, SmallIndex):
            return places, self._index.reconstruct_n(0, len(self))[rows]
        return places, self._vectors_at(rows)

    def kept(self) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        """Return the vectors (n, width) that are not removed, and their ids (n, 2)."""
        keep = ~self._removed
        return self.vectors(0, len(self))[keep], self._ids[keep]

    def without(self, embedding_ids: NDArray[np.int64]) -> VectorIndex:
        """Return an index over the same memory that finds none of these; unknown ids do nothing."""
        if not len(self) or not len(embedding_ids):
            return self
        known = self._ids[:, 0]
        rows = np.searchsorted(known, embedding_ids).clip(max=len(known) - 1)
        rows = rows[known[rows] == embedding_ids]
        if self._removed[rows].all():
            return self
        other = copy.copy(self)
        other._removed = self._removed.copy()
        other._removed[rows] = True
        other._left_last = None
        return other

    def move_to_gpu(self) -> None:
        """Search on the first GPU from now on; if that can't be, say why in `note`."""
        import faiss

        try:
            settings = faiss.GpuIndexFlatConfig()
            settings.useFloat16 = True
            resources = faiss.StandardGpuResources()
            gpu_index = faiss.GpuIndexFlatIP(resources, self.width, settings)
            for start in range(0, len(self), _GPU_VECTORS_AT_ONCE):
                count = min(_GPU_VECTORS_AT_ONCE, len(self) - start)
                gpu_index.add(self._index.reconstruct_n(start, count))
        except RuntimeError as error:
            self.note = (
                f"searched on the CPU, because the GPU refused: {str(error).splitlines()[0]}"
            )
        else:
            self._gpu_index = gpu_index

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        selected: Selection | None = None,
        exact: bool = True,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return (scores, photo ids), both (n, k), best first, ties by photo id.

        Only photos that are `selected` are found, or any for None. Padded with -inf and -1 where
        fewer than k are left. Unless `exact`, a file that has lists is searched by them: scores
        are right, but a few of the best may be missing.
        """
        left = self._left(selected)
        if not k or not left.count:
            return no_hits(len(queries), k)
        if self._is_gathered(left):
            return self._search_rows(queries, k, left)
        if not exact and self._has_lists_for(k, left):
            parts = [
                self._search_lists(queries[start : start + QUERIES_AT_ONCE], k, left)
                for start in range(0, max(1, len(queries)), QUERIES_AT_ONCE)
            ]
            found, photo_ids = zip(*parts, strict=True)
            return np.concatenate(found), np.concatenate(photo_ids)
        return self._search_all(queries, k, left)

    def _left(self, selected: Selection | None) -> _Left:
        """Return what a search may find; the last answer is kept for the next search."""
        last = self._left_last
        if last is not None and last[0] is selected:
            return last[1]
        if selected is None:
            marks = ~self._removed
        elif not selected.all_but and len(selected.ids) * _WORTH_LOOKING_UP <= len(self):
            marks, rows = np.zeros(len(self), np.bool_), self._rows_of(selected.ids)
            marks[rows] = ~self._removed[rows]
        else:
            marks = ~self._removed & selected.holds(self._ids[:, 1])
        left = _Left(marks, selected=selected is not None)
        self._left_last = selected, left
        return left

    def _rows_of(self, photo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows (n,) of some photos: none of a photo, one, or several if it changed."""
        sorted_ids, order = self._photos_sorted()
        first, end = (sorted_ids.searchsorted(photo_ids, side) for side in ("left", "right"))
        counts = end - first
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        rows: NDArray[np.int64] = order[np.repeat(first, counts) + within]
        return rows

    def _photos_sorted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self._by_photo is None:
            order = np.argsort(self._ids[:, 1], kind="stable")
            self._by_photo = self._ids[order, 1], order
        return self._by_photo

    def _is_gathered(self, left: _Left) -> bool:
        """Tell whether so few are selected that each is read by itself."""
        is_small = isinstance(self._index, SmallIndex)  # which gathers by itself
        few = left.count <= min(_MOST_GATHERED, len(self) // _WORTH_GATHERING)
        return left.selected and few and not is_small

    def _has_lists_for(self, k: int, left: _Left) -> bool:
        """Tell whether lists are there and worth it, and nothing faster is at hand."""
        few = left.selected and left.count <= max(EXACT_WITHIN, len(self) // _WORTH_SCANNING)
        return self._lists is not None and not few and not self._on_gpu(k, left)

    def _search_rows(
        self, queries: NDArray[np.float32], k: int, left: _Left
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search the vectors that are left, each read by itself."""
        assert left.marks is not None
        rows = np.flatnonzero(left.marks)
        vectors, ids = self._vectors_at(rows), self._ids[rows, 1]
        found, photo_ids = no_hits(len(queries), k)
        near_ones = near_best(vectors, np.arange(len(rows)), queries, min(k, len(rows)))
        for number, (near, of_query) in enumerate(near_ones):
            of_photos = np.where(np.isneginf(of_query), -1, ids[near])
            hits = best(of_query[None], of_photos[None], k)
            found[number, : len(near)], photo_ids[number, : len(near)] = (row[0] for row in hits)
        return found, photo_ids

    def _search_all(
        self, queries: NDArray[np.float32], k: int, left: _Left
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search all that is left, some queries at a time: memory is bounded by _RESULTS_AT_ONCE.

        A query is asked again for more, where what was not fetched may still tie, or take the place
        of one that was removed: where the last hit does not score more than all of that.
        """
        found, photo_ids = no_hits(len(queries), k)
        open_rows = np.arange(len(queries))
        fetch = k + _SPARE
        while len(open_rows):
            at_once = max(1, min(QUERIES_AT_ONCE, _RESULTS_AT_ONCE // fetch))
            again = []
            for start in range(0, len(open_rows), at_once):
                rows = open_rows[start : start + at_once]
                some, ids, unseen = self._fetch(queries[rows], k, fetch, left)
                some, ids = best(some, ids, k)
                found[rows, : some.shape[1]] = some
                photo_ids[rows, : some.shape[1]] = ids
                again.append(rows[(found[rows, k - 1] <= unseen) & (unseen > -np.inf)])
            open_rows = np.concatenate(again)
            fetch *= 4
        return found, photo_ids

    def _fetch(
        self, queries: NDArray[np.float32], k: int, count: int, left: _Left
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Return the `count` nearest, or what of them may be among the best k, and their photos.

        Padded with -inf and -1, also in place of removed ones. The third says for each query what
        all others score at most: -inf where there are no others.
        """
        on_gpu = self._on_gpu(count, left)
        possible = len(self) if on_gpu else left.count
        count = min(count, possible)
        if on_gpu:
            with self._gpu_lock:
                found, positions = self._gpu_index.search(queries, count)
            unseen = found[:, -1]
        elif isinstance(self._index, SmallIndex) or not worth_a_product(queries):
            found, positions = self._scan(queries, count, left)
            unseen = found[:, -1]
        else:
            count = min(2 * count, possible)
            found, positions, unseen = self._multiplied(queries, min(k, count), count, left)
        gone = self._removed[positions] | (positions < 0) | ~np.isfinite(found)
        ids = np.where(gone, -1, self._ids[positions, 1])
        if count == possible:
            unseen = np.full(len(queries), -np.inf, np.float32)
        return np.where(gone, -np.inf, found).astype(np.float32), ids, unseen

    def _multiplied(
        self, queries: NDArray[np.float32], k: int, count: int, left: _Left
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Return scores and positions (n, count) of what may be among the best k, and the rest's.

        The rest, and what is passed by (-inf), score no more than the third (n,), or than the k-th.
        """
        rows = None if left.marks is None else np.flatnonzero(left.marks)
        products, positions, longest = candidates(
            partial(self._blocks, rows), queries, count, self._longest
        )
        self._longest = longest if rows is None else self._longest
        margin = margins(queries, longest)
        positions = positions if rows is None else rows[positions]
        found = np.full(products.shape, -np.inf, np.float32)
        near = products >= (products[:, k - 1] - 2 * margin)[:, None]
        computer = self._index.get_distance_computer()  # with the kernel of FAISS's scan
        for number, query in enumerate(queries):
            computer.set_query(_pointer(query))
            some = positions[number, near[number]].tolist()
            found[number, : len(some)] = [computer(position) for position in some]
        return found, positions, products[:, -1] + margin

    def _blocks(self, rows: NDArray[np.int64] | None, at_once: int) -> Iterator[NDArray[np.uint8]]:
        """Yield the vectors in some rows, or in all, as they are stored, so many at a time."""
        import faiss

        size = 2 * self.width
        stored = faiss.rev_swig_ptr(self._index.codes.data(), len(self) * size).reshape(-1, size)
        for start in range(0, len(self) if rows is None else len(rows), at_once):
            part = slice(start, start + at_once)
            yield stored[part] if rows is None else stored[rows[part]]

    def _on_gpu(self, count: int, left: _Left) -> bool:
        """Tell whether the GPU can find so many; it has no way to look at selected ones only."""
        return self._gpu_index is not None and count <= _GPU_MAX_K and not left.selected

    def _scan(
        self, queries: NDArray[np.float32], count: int, left: _Left
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search all vectors; FAISS gives each query to one thread, so one alone is shared out."""
        if isinstance(self._index, SmallIndex):
            return self._index.search(queries, count, allowed=left.marks)
        threads = len(self) // _WORTH_A_THREAD
        threads = min(faiss_threads(), threads) if threads > 1 else 1
        if len(queries) > 1 or threads < 2:
            params = _parameters(left.faiss_selector)
            found: tuple[Any, Any] = self._index.search(queries, count, params=params)
            return found
        from concurrent.futures import ThreadPoolExecutor

        import faiss

        ends = np.linspace(0, len(self), threads + 1).astype(int).tolist()
        parts = [faiss.IDSelectorRange(*ends[i : i + 2]) for i in range(threads)]
        both: Any = faiss.IDSelectorAnd
        if left.faiss_selector is not None:
            parts = [both(part, left.faiss_selector) for part in parts]
        with ThreadPoolExecutor(threads) as pool:
            shares = list(
                pool.map(
                    lambda part: self._index.search(queries, count, params=_parameters(part)), parts
                )
            )
        scores = np.concatenate([scores for scores, _ in shares], axis=1)
        positions = np.concatenate([positions for _, positions in shares], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return scores[:, order[0]], positions[:, order[0]]

    def _search_lists(
        self, queries: NDArray[np.float32], k: int, left: _Left
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search by the lists; exactly, where most of what they find near a query is left out.

        The less may be found, the more candidates there must be, and the more lists hold them.
        """
        assert self._lists is not None
        scores, photo_ids = no_hits(len(queries), k)
        open_rows = np.arange(len(queries))
        share = left.count / len(self)
        count = math.ceil(self._lists.candidates_for(k) / share)
        probes = math.ceil(self._lists.probes / math.sqrt(share))
        if probes * MOST_PROBES <= self._lists.count and count * _WORTH_LISTS <= left.count:
            rows, estimates = self._lists.candidates(queries, count, probes=probes)
            found = _mapped(
                lambda row, near, worth: self._ranked(queries[row], near, worth, k, left),
                *(open_rows, rows, estimates),
            )
            for row, hits in enumerate(found):
                if hits is not None:
                    scores[row], photo_ids[row] = hits
            open_rows = open_rows[[hits is None for hits in found]]
        if len(open_rows):
            found_all = self._search_all(queries[open_rows], k, left)
            scores[open_rows], photo_ids[open_rows] = found_all
        return scores, photo_ids

    def _ranked(
        self,
        query: NDArray[np.float32],
        candidates: NDArray[np.int64],
        estimates: NDArray[np.float32],
        k: int,
        left: _Left,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        """Return the best of some rows by their full vectors; None if too few are left to say."""
        keep = candidates >= 0
        if left.marks is not None:
            keep &= left.marks[candidates]
        rows = candidates[keep]
        if len(rows) < candidates_for(k) // 2:
            return None
        rows, found = ranked(rows, estimates[keep], k, partial(self._scores, query))
        hits = best(found[None], self._ids[rows, 1][None], k)
        return hits[0][0], hits[1][0]

    def _scores(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return scores(self._vectors_at(rows), query)

    def _vectors_at(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors (n, width) of some rows of an index of FAISS's."""
        vectors: NDArray[np.float32]
        if self._rows is None:
            vectors = self._index.reconstruct_batch(rows)
        else:
            vectors = self._index.sa_decode(self._rows.take(rows))
        return vectors


def _pointer(numbers: NDArray[np.float32]) -> Any:
    import faiss

    return faiss.swig_ptr(numbers)


def _bitmap(allowed: NDArray[np.bool_]) -> Any:
    import faiss

    bitmap: Any = faiss.IDSelectorBitmap
    return bitmap(np.packbits(allowed, bitorder="little"))


def _parameters(selector: Any) -> Any:
    if selector is None:
        return None
    import faiss

    settings: Any = faiss.SearchParameters
    return settings(sel=selector)


def _mapped(
    function: Callable[..., Any], rows: NDArray[np.int64], *columns: NDArray[Any]
) -> list[Any]:
    """Call a function with each row and its entry of each column, on all cores if many."""
    if len(rows) < 4:
        return list(map(function, rows.tolist(), *columns))
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, rows.tolist(), *columns))


def no_hits(rows: int, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scores and photo ids (rows, k) that stand for nothing found."""
    return np.full((rows, k), -np.inf, np.float32), np.full((rows, k), -1, np.int64)


def best(
    scores: NDArray[np.float32], photo_ids: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Sort each row by falling score, then photo id, and keep the first k."""
    order = np.lexsort((photo_ids, -scores))[:, :k]
    rows = np.arange(len(order))[:, None]
    return scores[rows, order], photo_ids[rows, order]


def gpu_available() -> bool:
    """Tell whether FAISS sees a GPU."""
    import faiss

    return bool(faiss.get_num_gpus() > 0)
