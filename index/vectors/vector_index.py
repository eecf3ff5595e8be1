"""Search over vectors of one model: FAISS, in memory, in a mapped file or on a GPU.

Vectors are float16 and of unit length, so that their inner product is the cosine. Each has the id
of its embedding and of its photo.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.vectors.lists import MOST_PROBES, Lists, candidates_for, faiss_threads, ranked
from clipsearch.index.vectors.small_exact import SMALL, SmallIndex
from clipsearch.index.vectors.vector_files import FileStamp, StoredRows, exact_index, map_file

_SPARE = 16  # neighbours fetched beyond k, for ties (and on a GPU for removed vectors)
_GPU_MAX_K = 2048  # of FAISS
_GPU_VECTORS_AT_ONCE = 1 << 16
_WORTH_A_THREAD = 50_000  # vectors
_WORTH_LISTS = 5  # times as many vectors as candidates, or all may as well be looked at
_WIDER = 4  # times the lists and candidates, where too much of them is left out
_QUERIES_AT_ONCE = 1 << 10


class VectorIndex:
    """Vectors with the ids of their embeddings and photos; some may be removed or hidden."""

    def __init__(
        self,
        faiss_index: Any,
        ids: NDArray[np.int64],
        rows: StoredRows | None = None,
        lists: Lists | None = None,
    ) -> None:
        self._index = faiss_index
        self._gpu_index: Any = None
        self._ids = ids  # [n, 2], sorted by embedding id
        self._rows = rows  # of a file
        self._lists = lists
        self._removed = np.zeros(len(ids), dtype=bool)
        self._hidden = np.zeros(len(ids), dtype=bool)
        self._selection: tuple[int, Any] | None = None  # what is left to find: see _left
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
        """Add vectors [n, width] with ids [n, 2]: embedding (greater than all before), photo.

        Only to an index in memory.
        """
        if isinstance(self._index, SmallIndex) and len(self) + len(vectors) > SMALL:
            small, self._index = self._index, exact_index(self.width, len(self) + len(vectors))
            self._index.add(small.reconstruct_n(0, len(self)))
        self._index.add(vectors.astype(np.float32))  # it rounds back, to the same float16
        self._ids = np.concatenate([self._ids, ids])
        self._removed = np.concatenate([self._removed, np.zeros(len(ids), dtype=bool)])
        self._hidden = np.concatenate([self._hidden, np.zeros(len(ids), dtype=bool)])
        self._selection = None

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids of embedding and photo [n, 2], in order of the former."""
        return self._ids

    def vectors(self, start: int, count: int) -> NDArray[np.float16]:
        """Return the vectors [count, width] from row `start` on, as they are stored."""
        vectors: NDArray[np.float32] = self._index.reconstruct_n(start, count)
        return vectors.astype(np.float16)

    def remove(self, embedding_ids: NDArray[np.int64]) -> None:
        """Leave embeddings out of all results from now on; unknown ids do nothing."""
        if self._mark(self._removed, embedding_ids):
            self._selection = None

    def hide(self, embedding_ids: NDArray[np.int64]) -> None:
        """Leave exactly these out of results until the next call; unknown ids do nothing."""
        self._hidden = np.zeros(len(self), dtype=bool)
        self._mark(self._hidden, embedding_ids)
        self._selection = None

    def _mark(self, marks: NDArray[np.bool_], embedding_ids: NDArray[np.int64]) -> bool:
        if not len(self) or not len(embedding_ids):
            return False
        known = self._ids[:, 0]
        positions = np.searchsorted(known, embedding_ids).clip(max=len(known) - 1)
        found = positions[known[positions] == embedding_ids]
        marks[found] = True
        return bool(len(found))

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
        self, queries: NDArray[np.float32], k: int, *, exact: bool = True
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return (scores, photo ids), both [n, k], best first, ties by photo id.

        Padded with -inf and -1 where fewer than k vectors are left. Unless `exact`, a file that
        has lists is searched by them: scores are right, but a few of the best may be missing.
        """
        by_lists = self._lists is not None and k > 0 and not self._on_gpu(k)
        if by_lists and not exact:
            parts = [
                self._search_lists(queries[start : start + _QUERIES_AT_ONCE], k)
                for start in range(0, max(1, len(queries)), _QUERIES_AT_ONCE)
            ]
            scores, photo_ids = zip(*parts, strict=True)
            return np.concatenate(scores), np.concatenate(photo_ids)
        return self._search_all(queries, k)

    def _search_all(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        scores, photo_ids = no_hits(len(queries), k)
        open_rows = np.arange(len(queries) if len(self) and k else 0)
        fetch = k + _SPARE
        while len(open_rows):
            found, ids, unseen = self._fetch(queries[open_rows], fetch)
            found, ids = best(found, ids, k)
            scores[open_rows, : found.shape[1]] = found
            photo_ids[open_rows, : found.shape[1]] = ids
            # What was not fetched may still tie, or take the place of one that was removed, where
            # the last hit does not score more than it.
            again = (scores[open_rows, k - 1] <= unseen) & (unseen > -np.inf)
            open_rows = open_rows[again]
            fetch *= 4
        return scores, photo_ids

    def _fetch(
        self, queries: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Return the `count` nearest, and for each row what all others score at most.

        Padded with -inf and -1, also in place of removed ones; the third is -inf where there are
        no others.
        """
        on_gpu = self._on_gpu(count)
        left, selector = (len(self), None) if on_gpu else self._left()
        rows, count = len(queries), min(count, left)
        if not count:
            return *no_hits(rows, 0), np.full(rows, -np.inf, np.float32)
        search = self._gpu_index.search if on_gpu else self._scan
        found, positions = search(queries, count, params=_parameters(selector))
        gone = self._removed[positions] | (positions < 0) | ~np.isfinite(found)
        ids = np.where(gone, -1, self._ids[positions, 1])
        unseen = found[:, -1] if count < left else np.full(rows, -np.inf, np.float32)
        return np.where(gone, -np.inf, found).astype(np.float32), ids, unseen

    def _on_gpu(self, count: int) -> bool:
        """Tell whether the GPU can find so many; it can't leave out what is hidden."""
        return self._gpu_index is not None and count <= _GPU_MAX_K and not self._hidden.any()

    def _scan(
        self, queries: NDArray[np.float32], count: int, *, params: Any
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search all vectors; FAISS gives each query to one thread, so one alone is shared out."""
        threads = len(self) // _WORTH_A_THREAD
        threads = min(faiss_threads(), threads) if threads > 1 else 1
        if len(queries) > 1 or threads < 2:
            found: tuple[Any, Any] = self._index.search(queries, count, params=params)
            return found
        from concurrent.futures import ThreadPoolExecutor

        import faiss

        ends = np.linspace(0, len(self), threads + 1).astype(int).tolist()
        parts = [faiss.IDSelectorRange(*ends[i : i + 2]) for i in range(threads)]
        both: Any = faiss.IDSelectorAnd
        if params is not None:
            parts = [both(part, params.sel) for part in parts]
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
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search by the lists; look into more of them where much of what is near is left out."""
        assert self._lists is not None
        scores, photo_ids = no_hits(len(queries), k)
        open_rows = np.arange(len(queries))
        count, probes = self._lists.candidates_for(k), self._lists.probes
        while (
            len(open_rows)
            and probes * MOST_PROBES <= self._lists.count
            and count * _WORTH_LISTS <= len(self)
        ):
            rows, estimates = self._lists.candidates(queries[open_rows], count, probes=probes)
            found = _mapped(
                lambda row, near, worth: self._ranked(queries[row], near, worth, k),
                *(open_rows, rows, estimates),
            )
            for row, hits in zip(open_rows.tolist(), found, strict=True):
                if hits is not None:
                    scores[row], photo_ids[row] = hits
            open_rows = open_rows[[hits is None for hits in found]]
            count, probes = count * _WIDER, probes * _WIDER
        if len(open_rows):
            scores[open_rows], photo_ids[open_rows] = self._search_all(queries[open_rows], k)
        return scores, photo_ids

    def _ranked(
        self,
        query: NDArray[np.float32],
        candidates: NDArray[np.int64],
        estimates: NDArray[np.float32],
        k: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        """Return the best of some rows by their full vectors; None if too few are left to say."""
        keep = candidates >= 0
        keep &= ~(self._removed[candidates] | self._hidden[candidates])
        rows = candidates[keep]
        if len(rows) < candidates_for(k) // 2:
            return None
        rows, scores = ranked(rows, estimates[keep], k, partial(self._scores, query))
        found, ids = best(scores[None], self._ids[rows, 1][None], k)
        return found[0], ids[0]

    def _scores(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        assert self._rows is not None
        vectors: NDArray[np.float32] = self._index.sa_decode(self._rows.take(rows))
        scores = np.einsum("ij,j->i", vectors, query)
        return np.where(np.isfinite(scores), scores, -np.inf).astype(np.float32)

    def _left(self) -> tuple[int, Any]:
        """Return how many vectors can be found, and FAISS's selector that leaves out the rest."""
        if self._selection is None:
            out = self._removed | self._hidden
            left = len(self) - int(out.sum())
            selector: Any = None
            if left < len(self):
                selector = ~out if isinstance(self._index, SmallIndex) else _bitmap(~out)
            self._selection = left, selector
        return self._selection


def _bitmap(allowed: NDArray[np.bool_]) -> Any:
    import faiss

    bitmap: Any = faiss.IDSelectorBitmap
    return bitmap(np.packbits(allowed, bitorder="little"))


def _parameters(selector: Any) -> Any:
    if selector is None or isinstance(selector, np.ndarray):  # of a small index
        return selector
    import faiss

    settings: Any = faiss.SearchParameters
    return settings(sel=selector)


def _mapped(
    function: Callable[..., Any], rows: NDArray[np.int64], *columns: NDArray[Any]
) -> list[Any]:
    """Call a function for each row and what is of it, on all cores where there are many."""
    if len(rows) < 4:
        return list(map(function, rows.tolist(), *columns))
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, rows.tolist(), *columns))


def no_hits(rows: int, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scores and photo ids [rows, k] that stand for nothing found."""
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
