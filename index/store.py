"""A library's catalog and vectors, kept in step.

    catalog.sqlite   the one source of truth
    vectors/         index files derived from it
    lock             held by the process that writes

Any thread may use a store. Any number of processes and threads may read while one writes: each
search sees the last committed batch, whole. One thread at a time searches.
"""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import (
    InvalidInput,
    LibraryDamaged,
    LibraryError,
    LibraryIncompatible,
    LibraryReadOnly,
)
from clipsearch.index.applying import apply_changes
from clipsearch.index.catalog import Catalog
from clipsearch.index.changes import Change
from clipsearch.index.database import HOW_TO_MEND, Database
from clipsearch.index.double_slashes import join_double_slashes
from clipsearch.index.durable import NO_SPACE, in_words, make_folder
from clipsearch.index.embeddings import all_embedded, embeddings_of
from clipsearch.index.lock import do_once, writer_lock
from clipsearch.index.records import IndexInfo
from clipsearch.index.upgrading import bring_up_to_date
from clipsearch.index.vectors.model_vectors import ModelVectors
from clipsearch.index.vectors.segments import Segment, coverage, refresh, segments_of
from clipsearch.index.vectors.vector_files import EXACT, MAX_WIDTH, UnusableFile


class Store:
    """An open library folder."""

    def __init__(self, folder: Path, db: Database, *, read_only: bool) -> None:
        self.folder = folder
        self.catalog = Catalog(db)
        self._db = db
        self._read_only = read_only
        self._writer: int | None = None  # the thread that holds the writer lock
        self._searching = threading.RLock()  # held by the thread that uses the vectors
        self._vectors: dict[int, ModelVectors] = {}

    @classmethod
    def open(cls, folder: Path, *, create: bool = False, read_only: bool = False) -> Store:
        """Open a library, or with `create` make one where there is none.

        Opening one of an older schema for writing upgrades it. Raises LibraryNotFound,
        LibraryIncompatible (made by a newer clipsearch, or no library: it is left untouched),
        LibraryDamaged, LibraryReadOnly, or LibraryLocked if another process writes to a library
        that has to be made or upgraded first.
        """
        catalog = folder / "catalog.sqlite"
        if create and not read_only and _is_vacant(catalog):
            _make_folder(folder)
            do_once(
                folder / "lock",
                needed=lambda: _is_vacant(catalog),
                do=lambda: Database.create(catalog),
            )
        db = Database.open(catalog, read_only=read_only)
        try:
            if not read_only:
                bring_up_to_date(db)
        except BaseException:
            db.close()
            raise
        return cls(folder, db, read_only=read_only)

    def close(self) -> None:
        """Close the catalog and let go of the vectors.

        Nobody is waited for: what other threads have begun ends with its answer or LibraryClosed.
        """
        self._db.close()
        self._vectors = {}

    @property
    def closed(self) -> bool:
        """Tell whether it was closed."""
        return self._db.closed

    def check_open(self) -> None:
        """Raise LibraryClosed after `close`, and in a fork of the process that opened it."""
        self._db.check_open()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Show the block one committed state of the library, whatever others commit meanwhile."""
        self.check_open()
        # The vectors follow the catalog, and never go back: no thread may see an older state of it
        # than the one that used them before.
        with self._searching, self._db.reading():
            yield

    @contextmanager
    def writing(
        self,
        *,
        wait: bool = False,
        stop: Callable[[], bool] | None = None,
        waiting: Callable[[str], None] | None = None,
    ) -> Iterator[None]:
        """Be the one writer for the block; LibraryLocked says which process is, if another is.

        With `wait` wait until that is done, or `stop()` is true (then LibraryLocked); `waiting` is
        called once, with a line that names the other process, if there is one.
        """
        self.check_open()
        if self._read_only:
            raise LibraryReadOnly(f"{self.folder}: the library was opened for reading only")

        def given_up() -> bool:
            self.check_open()
            return stop is not None and stop()

        with writer_lock(self.folder / "lock", wait=wait, stop=given_up, waiting=waiting):
            self._writer = threading.get_ident()
            try:
                yield
            finally:
                self._writer = None

    def apply(self, changes: Sequence[Change], model_id: int | None) -> None:
        """Write a batch of changes: all of them are committed, or none.

        They all speak of the catalog as it is before this call; new embeddings belong to
        `model_id`.
        """
        self._check_writing()
        with self._db.writing():
            apply_changes(self._db, changes, model_id)

    def join_double_slashes(self) -> None:
        """Make one of the two slashes that paths of older libraries may begin with."""
        self._check_writing()
        join_double_slashes(self._db)

    def search(
        self,
        model_id: int,
        queries: NDArray[np.float32],
        k: int,
        *,
        without: Sequence[Path] = (),
        exact: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return (cosines float32, photo ids int64), both [n, k], for unit vectors [n, width].

        Scores are those of the stored float16; best first, ties by photo id; padded with -inf and
        -1 where fewer than k are left. Photos at or below the paths of `without` are no hits.
        Every batch that was committed before the call is seen. The best k are found for certain
        with `exact`, or where `index_info` names no recall; else nearly all of them.
        """
        width = self._width(model_id)
        if queries.ndim != 2 or queries.shape[1] != width or not np.isfinite(queries).all():
            raise InvalidInput(f"query vectors must be finite numbers of shape [n, {width}]")
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        with self.reading():
            vectors = self._vectors.get(model_id)
            if vectors is None:
                vectors = ModelVectors(self.folder / "vectors", model_id, width)
                self._vectors[model_id] = vectors
            vectors.update(self._db, without)
            scores, photo_ids = vectors.search(queries, k, exact=exact)
            if _twice(photo_ids) or not all_embedded(self._db, model_id, photo_ids):
                vectors.leave_files_aside(self._db)
                scores, photo_ids = vectors.search(queries, k, exact=exact)
                if not all_embedded(self._db, model_id, photo_ids):
                    raise LibraryDamaged(
                        f"{self.folder}: an embedding in the catalog is of no photo; {HOW_TO_MEND}"
                    )
        return scores, photo_ids

    def vectors(self, model_id: int, photo_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the embeddings [n, width] of photos, as stored; LibraryError if one has none."""
        stored = embeddings_of(self._db, model_id, self._width(model_id), photo_ids)
        return stored.astype(np.float32)

    def refresh_vectors(self, model_id: int) -> None:
        """Make the index files that are worth it, and those that are no good, anew.

        What that costs is in proportion to what changed, on average. Readers are not held up.
        """
        self._check_writing()
        refresh(self._db, self.folder / "vectors", model_id, self._width(model_id))

    def index_info(self, model_id: int) -> IndexInfo:
        """Describe how the vectors of a model are searched, without loading any."""
        with self._db.reading():
            segments = segments_of(self._db, model_id)
            found = coverage(self._db, model_id, segments)
        vectors = self._vectors.get(model_id)
        note = vectors.note if vectors else None
        if not segments:
            return IndexInfo(EXACT, 0, found.newer, 0, 0, None, note)
        paths = [self._intact(segment) for segment in segments]
        if None in paths:
            note = "the index file is missing or incomplete; the next index run makes it anew"
        stamps = [segment.stamp for segment in segments]
        largest = max(range(len(stamps)), key=lambda number: stamps[number].vectors)
        recalls = [segment.recall for segment in segments if segment.stamp.lists]
        return IndexInfo(
            kind=stamps[largest].kind,
            vectors=sum(stamp.vectors for stamp in stamps),
            delta=found.newer,
            removed=sum(found.removed),
            bytes=sum(stamp.bytes for stamp in stamps),
            path=paths[largest],
            note=note,
            files=len(segments),
            recall=min((recall for recall in recalls if recall is not None), default=None),
        )

    def _intact(self, segment: Segment) -> Path | None:
        """Return the file of a segment if it is there, with the length that it should have."""
        with suppress(OSError, UnusableFile, ValueError):
            path = segment.path(self.folder / "vectors")
            if path.is_file() and path.stat().st_size == segment.stamp.bytes:
                return path
        return None

    def _width(self, model_id: int) -> int:
        width = self._db.value("SELECT width FROM models WHERE id = ?", (model_id,))
        if width is None:
            raise LibraryError(f"{self.folder}: there is no model {model_id} in this library")
        if not isinstance(width, int) or not 0 < width <= MAX_WIDTH:
            raise LibraryDamaged(
                f"{self.folder}: a model in the catalog has vectors of length {width}; "
                + HOW_TO_MEND
            )
        return width

    def _check_writing(self) -> None:
        if self._writer != threading.get_ident():
            raise RuntimeError("the library is changed only inside `with store.writing():`")


def _twice(photo_ids: NDArray[np.int64]) -> bool:
    """Tell whether a photo is among the hits of one query twice; -1 stands for none."""
    hits = ([id_ for id_ in row if id_ != -1] for row in photo_ids.tolist())
    return any(len(set(row)) < len(row) for row in hits)


def _is_vacant(catalog: Path) -> bool:
    try:
        status = catalog.stat()
        return status.st_size == 0 and stat.S_ISREG(status.st_mode)
    except FileNotFoundError:
        return True
    except NotADirectoryError as error:
        raise LibraryIncompatible(f"{catalog.parent}: a file, not a library folder") from error
    except OSError as error:
        raise LibraryError(f"{catalog.parent}: can't be opened ({error.strerror})") from error


def _make_folder(folder: Path) -> None:
    try:
        str(folder).encode()
        make_folder(folder)
    except UnicodeEncodeError as error:
        raise LibraryError(f"{folder}: FAISS needs a folder whose name is UTF-8") from error
    except OSError as error:
        if in_words(error) == NO_SPACE:
            raise LibraryError(f"{folder}: {NO_SPACE}") from error
        raise LibraryReadOnly(f"{folder}: can't be made ({error.strerror})") from error
