"""Files of vectors: how one is laid out, written and checked before it is used.

    FAISS's own file of an exact float16 index     a header, then the vectors, in order of their ids
    ids of embedding and photo                     int64 (n, 2)
    lists                                          only in a large file: see lists.py

A file is never changed once it is in place. It may come from elsewhere, so FAISS is given it only
when its header, which says how long and of what kind its parts are, is byte for byte the header of
a file of the recorded width and number of vectors, and all lengths are right.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
import threading
import weakref
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.vectors.lists import Lists, least_bytes
from clipsearch.index.vectors.small_exact import SMALL, SmallIndex

MAX_WIDTH = 1 << 16
EXACT = "exact float16"

_ID_BYTES = 16
_READ_BYTES = 1 << 20
_READ_BEFORE_MAPPED = 1 << 13  # vectors that StoredRows reads before it uses the map
_MAPPED_BYTES = 2 << 30  # of a larger file the vectors are always read


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
    lists: int = 0  # 0: it can only be searched exactly
    probes: int = 0  # of these lists, how many a search looks into

    @property
    def kind(self) -> str:
        """How the file is searched, in words."""
        if not self.lists:
            return EXACT
        return f"IVF {self.lists}, 2 bits a dimension, re-ranked from float16"


class StoredRows:
    """The vectors of an index file as bytes, each read when it is asked for.

    The first few thousand are read from the file, not through the map: for each vector the system
    may map a megabyte around it, too much for a process that searches once. A process that goes on
    searching then uses the map, which is six times faster.
    """

    def __init__(self, path: Path, start: int, rows: NDArray[np.uint8]) -> None:
        self._start = start
        self._rows = rows  # (n, 2 * width), mapped
        self._size = rows.shape[1]
        self._unread = _READ_BEFORE_MAPPED if rows.size <= _MAPPED_BYTES else len(rows) << 32
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the vectors in these rows (n,), as bytes (n, 2 * width)."""
        self._unread -= len(rows)
        if self._unread < 0:
            return self._rows[rows]
        places = (rows * self._size + self._start).tolist()
        parts = [self._read(place).ljust(self._size, b"\0") for place in places]
        return np.frombuffer(b"".join(parts), np.uint8).reshape(len(rows), self._size)

    def _read(self, place: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file, self._size, place)
        with _ONE_AT_A_TIME:  # Windows
            os.lseek(self._file, place, os.SEEK_SET)
            return os.read(self._file, self._size)


_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class MappedFile:
    """The parts of an index file, mapped: nothing is read before it is used."""

    index: Any  # FAISS's or a small one, over the mapped vectors
    rows: StoredRows
    ids: NDArray[np.int64]  # (n, 2): of embedding and photo, in order of the former
    lists: Lists | None


def write_file(
    path: Path,
    width: int,
    count: int,
    batches: Iterable[tuple[NDArray[np.float16], NDArray[np.int64]]],
    *,
    lists: bool = False,
) -> tuple[FileStamp, float | None]:
    """Write `count` vectors (n, width) with their ids (n, 2) to a new file, safely on disk.

    With `lists` they are put in lists, too, and tried out; the lists are written only if a search
    of them finds enough. The second value is the share of neighbours that it found, None without
    `lists`. Raises OSError where the disk refuses.
    """
    ids = np.empty((count, 2), dtype="<i8")
    path.unlink(missing_ok=True)
    with path.open("xb") as raw:  # not through a link to another file
        file = _Summed(raw)
        file.write(_header(width, count))
        at = 0
        for vectors, some_ids in batches:
            file.write(np.ascontiguousarray(vectors, dtype="<f2"))
            ids[at : at + len(some_ids)] = some_ids
            at += len(some_ids)
        assert at == count
        file.write(ids)
        tuned = None
        if lists:
            raw.flush()
            from clipsearch.index.vectors.list_building import build_lists

            tuned = build_lists(_mapped_rows(path, width, count), width)
            if tuned.found_enough:
                tuned.write(file.write)
        raw.flush()
        os.fsync(raw.fileno())
        size = raw.tell()
    parts = (tuned.lists, tuned.probes) if tuned and tuned.found_enough else (0, 0)
    stamp = FileStamp(count, width, int(ids[-1, 0]), size, file.checksum, *parts)
    return stamp, tuned.recall if tuned else None


def map_file(path: Path, stamp: FileStamp, *, verify: bool) -> MappedFile:
    """Map an index file; raise UnusableFile unless it is what the stamp says.

    With `verify` all of it is read and compared with the checksum, else only what FAISS relies on.
    """
    mapped = _opened(path, stamp, verify=verify)
    try:
        return _parts(path, mapped, stamp, verify=verify)
    except OSError as error:  # taken away just now
        raise UnusableFile(f"can't be read: {error.strerror or error}") from error


def ids_in_file(path: Path, stamp: FileStamp, *, verify: bool) -> NDArray[np.int64]:
    """Return the ids (n, 2) in an index file; raise UnusableFile as `map_file` does.

    Lists are not looked at. FAISS is not loaded: that would take longer than all else.
    """
    return _ids(_opened(path, stamp, verify=verify), stamp, verify=verify)


def _opened(path: Path, stamp: FileStamp, *, verify: bool) -> NDArray[np.uint8]:
    try:
        _check_shape(path, stamp)
        if verify and checksum(path) != stamp.checksum:
            raise UnusableFile("does not match its checksum")
        return _mapped(path)
    except FileNotFoundError as error:
        raise UnusableFile("is missing") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else None
        raise UnusableFile(f"can't be read: {reason or error}") from error


def _ids(mapped: NDArray[np.uint8], stamp: FileStamp, *, verify: bool) -> NDArray[np.int64]:
    header = _header(stamp.width, stamp.vectors)
    vectors_end = len(header) + stamp.vectors * 2 * stamp.width
    ids_end = vectors_end + stamp.vectors * _ID_BYTES
    if len(mapped) != stamp.bytes or mapped[: len(header)].tobytes() != header:
        raise _not_as_recorded()
    ids = mapped[vectors_end:ids_end].view("<i8").reshape(-1, 2).astype(np.int64, copy=False)
    if ids[-1, 0] != stamp.watermark or (verify and not (np.diff(ids[:, 0]) > 0).all()):
        raise _not_as_recorded()
    return ids


def _parts(path: Path, mapped: NDArray[np.uint8], stamp: FileStamp, *, verify: bool) -> MappedFile:
    ids = _ids(mapped, stamp, verify=verify)
    start = len(_header(stamp.width, stamp.vectors))
    vectors_end = start + stamp.vectors * 2 * stamp.width
    ids_end = vectors_end + stamp.vectors * _ID_BYTES
    try:
        lists = None
        if stamp.lists:
            part = mapped[ids_end:]
            lists = Lists.over(part, stamp.vectors, stamp.width, stamp.lists, stamp.probes)
        small = stamp.vectors <= SMALL and not stamp.lists
        index = None if small else _over_memory(mapped[:vectors_end])
    except (RuntimeError, ValueError) as error:
        raise _not_as_recorded() from error
    vectors = mapped[start:vectors_end].reshape(stamp.vectors, 2 * stamp.width)
    rows = StoredRows(path, start, vectors)
    return MappedFile(index or SmallIndex(vectors.view("<f2")), rows, ids, lists)


def checksum(path: Path) -> str:
    """Return the CRC-32 of a file as eight hex digits; it guards against accidents only."""
    crc = 0
    for chunk in _chunks(path):
        crc = zlib.crc32(chunk, crc)
    return f"{crc:08x}"


class _Summed:
    """A file that is summed up as it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._crc = 0

    def write(self, data: Any) -> None:  # bytes, or an array
        self._file.write(data)
        self._crc = zlib.crc32(data, self._crc)

    @property
    def checksum(self) -> str:
        return f"{self._crc:08x}"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            yield chunk


def _mapped(path: Path) -> NDArray[np.uint8]:
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, np.uint8)


def _mapped_rows(path: Path, width: int, count: int) -> NDArray[np.float16]:
    start = len(_header(width, count))
    rows = _mapped(path)[start : start + 2 * width * count].view("<f2")
    return rows.reshape(count, width)


def _check_shape(path: Path, stamp: FileStamp) -> None:
    """Raise UnusableFile unless there is a file, and it is as long as its recorded parts are."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnusableFile("is not a file")
    if status.st_size != stamp.bytes:
        raise UnusableFile("has another length than recorded")
    counts = stamp.vectors > 0 and 0 < stamp.width <= MAX_WIDTH
    if not counts or not 0 <= stamp.lists <= stamp.vectors:
        raise _not_as_recorded()
    length = stamp.vectors * (2 * stamp.width + _ID_BYTES)
    if length > stamp.bytes or stamp.lists * stamp.width > stamp.bytes:
        raise _not_as_recorded()
    length += len(_header(stamp.width, stamp.vectors))
    if stamp.lists:  # how long they are is said in the file itself
        length += least_bytes(stamp.vectors, stamp.width, stamp.lists)
    if length > stamp.bytes or (not stamp.lists and length != stamp.bytes):
        raise _not_as_recorded()


def _not_as_recorded() -> UnusableFile:
    return UnusableFile("holds something else than recorded")


def _header(width: int, vectors: int) -> bytes:
    """Return what stands before the vectors in FAISS's own file of an exact float16 index.

    It is written here and not by FAISS, because a small file is searched without loading FAISS.
    """
    parts = (b"IxSQ", width, vectors, 1 << 20, 1 << 20, True)
    metric, float16, ranges = 0, 4, (0, 0.0)  # an inner product; a quantizer without training
    sizes = (width, 2 * width, 0, vectors * 2 * width)
    return struct.pack("<4siqqq?iiifQQQQ", *parts, metric, float16, *ranges, *sizes)


def exact_index(width: int, vectors: int) -> Any:
    """Return an exact float16 index, still empty, for so many vectors: FAISS's if they are many."""
    if vectors <= SMALL:
        return SmallIndex(np.empty((0, width), dtype=np.float16))
    import faiss

    kind = faiss.ScalarQuantizer.QT_fp16
    return faiss.IndexScalarQuantizer(width, kind, faiss.METRIC_INNER_PRODUCT)


def _over_memory(part: NDArray[np.uint8]) -> Any:
    """Return the FAISS index whose file is the bytes `part`, which must outlive the index."""
    import faiss

    library: Any = faiss  # its types know nothing of this reader
    return faiss.read_index(library.ZeroCopyIOReader(faiss.swig_ptr(part), part.size))
