"""Exact search over the vectors of one model: FAISS, in memory, in a mapped file or on a GPU.

Vectors are float16 and of unit length, so that their inner product is the cosine. Each has the id
of its embedding and of its photo. A file is FAISS's own format with the ids after it: int64
[n, 2], embedding and photo; it is never changed once it is in place.

A file may come from elsewhere: FAISS is given it only when its header is, byte for byte, the one
that an index of this kind, width and number of vectors has, and its length fits.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KIND = "exact float16"

MAX_WIDTH = 1 << 16

_SPARE = 16  # neighbours fetched beyond k, for ties (and on a GPU for removed vectors)
_GPU_MAX_K = 2048  # of FAISS
_ID_BYTES = 16
_COUNT_AT = 8  # in FAISS's header: after four letters and the width, an int32
_READ_BYTES = 1 << 20
_GPU_VECTORS_AT_ONCE = 1 << 16


class UnusableFile(Exception):
    """An index file is missing or damaged; never leaves the index: the catalog has it all."""


@dataclass(frozen=True)
class FileStamp:
    """What an index file must be, as the catalog recorded it when the file was made."""

    vectors: int
    width: int
    watermark: int  # the highest embedding id in it
    bytes: int
    checksum: str


class VectorIndex:
    """Vectors with the ids of their embeddings and photos; some may be removed or hidden."""

    def __init__(self, faiss_index: Any, ids: NDArray[np.int64]) -> None:
        self._index = faiss_index
        self._gpu_index: Any = None
        self._ids = ids  # [n, 2], sorted by embedding id
        self._removed = np.zeros(len(ids), dtype=bool)
        self._hidden = np.zeros(len(ids), dtype=bool)
        self._selection: tuple[int, Any] | None = None  # what is left to find: see _left
        self.note: str | None = None  # why a GPU that is there is not used

    @classmethod
    def empty(cls, width: int) -> VectorIndex:
        """Return an index in memory to which vectors of this width can be added."""
        import faiss

        kind = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexScalarQuantizer(width, kind, faiss.METRIC_INNER_PRODUCT)
        return cls(index, np.empty((0, 2), dtype=np.int64))

    @classmethod
    def open(cls, path: Path, stamp: FileStamp, *, verify: bool) -> VectorIndex:
        """Map an index file; raise UnusableFile unless it is what the stamp says.

        With `verify` all of it is read and compared with the checksum, else its length is.
        """
        import faiss

        try:
            _check_file(path, stamp)
            if verify and checksum(path) != stamp.checksum:
                raise UnusableFile("does not match its checksum")
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
            ids_start = stamp.bytes - stamp.vectors * _ID_BYTES
            ids = np.fromfile(path, dtype="<i8", offset=ids_start).reshape(-1, 2)
        except FileNotFoundError as error:
            raise UnusableFile("is missing") from error
        except OSError as error:
            raise UnusableFile(f"can't be read: {error.strerror or error}") from error
        except (RuntimeError, TypeError, UnicodeError) as error:  # TypeError: a path not in UTF-8
            raise UnusableFile(f"can't be read: {error}") from error
        opened = cls(index, ids.astype(np.int64, copy=False))
        if opened.watermark != stamp.watermark or not _rises(opened._ids[:, 0]):
            raise UnusableFile("holds something else than recorded")
        return opened

    def save(self, path: Path) -> FileStamp:
        """Write the index to a new file, safely on disk when this returns; may raise OSError."""
        import faiss

        size = len(self) * 2 * self.width
        codes: Any = faiss.rev_swig_ptr(self._index.codes.data(), size) if size else b""
        crc = 0
        path.unlink(missing_ok=True)
        with path.open("xb") as file:  # not through a link to another file
            for part in (_header(self.width, len(self)), codes, self._ids.astype("<i8").tobytes()):
                file.write(part)
                crc = zlib.crc32(part, crc)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        return FileStamp(len(self), self.width, self.watermark, size, _hex(crc))

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def width(self) -> int:
        """The length of a vector."""
        return int(self._index.d)

    @property
    def watermark(self) -> int:
        """The highest embedding id; 0 where there is none."""
        return int(self._ids[-1, 0]) if len(self) else 0

    @property
    def removed(self) -> int:
        """The number of vectors marked as removed."""
        return int(self._removed.sum())

    def add(self, vectors: NDArray[np.float16], ids: NDArray[np.int64]) -> None:
        """Add vectors [n, width] with ids [n, 2]: embedding (greater than all before), photo."""
        self._index.add(vectors.astype(np.float32))  # FAISS rounds back, to the same float16
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
        if len(self):
            known = self._ids[:, 0]
            positions = np.searchsorted(known, embedding_ids).clip(max=len(known) - 1)
            self._removed[positions[known[positions] == embedding_ids]] = True
            self._selection = None

    def hide(self, photo_ids: NDArray[np.int64]) -> None:
        """Leave exactly these photos out of results until the next call; unknown ids do nothing."""
        self._hidden = np.isin(self._ids[:, 1], photo_ids)
        self._selection = None

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
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return (scores, photo ids), both [n, k], best first, ties by photo id.

        Padded with -inf and -1 where fewer than k vectors are left.
        """
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
        on_gpu = self._gpu_index is not None and count <= _GPU_MAX_K and not self._hidden.any()
        left, parameters = (len(self), None) if on_gpu else self._left()
        rows, count = len(queries), min(count, left)
        if not count:
            return *no_hits(rows, 0), np.full(rows, -np.inf, np.float32)
        index = self._gpu_index if on_gpu else self._index
        found, positions = index.search(queries, count, params=parameters)
        gone = self._removed[positions] | (positions < 0) | ~np.isfinite(found)
        ids = np.where(gone, -1, self._ids[positions, 1])
        unseen = found[:, -1] if count < left else np.full(rows, -np.inf, np.float32)
        return np.where(gone, -np.inf, found).astype(np.float32), ids, unseen

    def _left(self) -> tuple[int, Any]:
        """Return how many vectors can be found, and FAISS's parameters that leave out the rest."""
        if self._selection is None:
            import faiss

            out = self._removed | self._hidden
            left = len(self) - int(out.sum())
            parameters = None
            if left < len(self):
                selector: Any = faiss.IDSelectorBitmap
                settings: Any = faiss.SearchParameters
                parameters = settings(sel=selector(np.packbits(~out, bitorder="little")))
            self._selection = left, parameters
        return self._selection


def no_hits(rows: int, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scores and photo ids [rows, k] that stand for nothing found."""
    return np.full((rows, k), -np.inf, np.float32), np.full((rows, k), -1, np.int64)


def best(
    scores: NDArray[np.float32], photo_ids: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Sort each row by falling score, then photo id, and keep the first k."""
    order = np.lexsort((photo_ids, -scores))[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(photo_ids, order, axis=1)


def gpu_available() -> bool:
    """Tell whether FAISS sees a GPU."""
    import faiss

    return bool(faiss.get_num_gpus() > 0)


def checksum(path: Path) -> str:
    """Return the CRC-32 of a file as eight hex digits; it guards against accidents only."""
    crc = 0
    for chunk in _chunks(path):
        crc = zlib.crc32(chunk, crc)
    return _hex(crc)


def _hex(crc: int) -> str:
    return f"{crc:08x}"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            yield chunk


def _check_file(path: Path, stamp: FileStamp) -> None:
    """Raise UnusableFile unless FAISS can be given the file."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnusableFile("is not a file")
    if status.st_size != stamp.bytes:
        raise UnusableFile("has another length than recorded")
    header_length = stamp.bytes - stamp.vectors * (2 * stamp.width + _ID_BYTES)
    if not (stamp.vectors > 0 and 0 < stamp.width <= MAX_WIDTH and header_length > 0):
        raise UnusableFile("holds something else than recorded")
    expected = _header(stamp.width, stamp.vectors)
    with path.open("rb") as file:
        header = file.read(len(expected))
    if header != expected or header_length != len(expected):
        raise UnusableFile("holds something else than recorded")


def _header(width: int, vectors: int) -> bytes:
    """Return what stands before the vectors in FAISS's file of such an index.

    FAISS writes it for one without vectors; only its two counts are different.
    """
    import faiss

    header = bytearray(faiss.serialize_index(VectorIndex.empty(width)._index).tobytes())
    struct.pack_into("<q", header, _COUNT_AT, vectors)
    struct.pack_into("<Q", header, len(header) - 8, vectors * 2 * width)  # bytes of vectors
    return bytes(header)


def _rises(numbers: NDArray[np.int64]) -> bool:
    return bool((np.diff(numbers) > 0).all())
