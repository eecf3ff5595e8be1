"""A library's catalog and vectors, kept in step.

    catalog.sqlite   the one source of truth
    vectors/         index files derived from it
    lock             held by the process that writes

A store belongs to the thread that opened it. Any number of processes may read while one writes:
each search sees the last committed batch, whole.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
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
from clipsearch.index.durable import NO_SPACE, in_words, make_folder
from clipsearch.index.embeddings import all_embedded, embeddings_of
from clipsearch.index.generations import (
    build_generation,
    coverage,
    current_generation,
    needs_building,
    remove_litter,
)
from clipsearch.index.lock import do_once, writer_lock
from clipsearch.index.model_vectors import ModelVectors
from clipsearch.index.records import IndexInfo
from clipsearch.index.upgrading import bring_up_to_date
from clipsearch.index.vector_index import KIND, MAX_WIDTH, UnusableFile


class Store:
    """An open library folder."""

    def __init__(self, folder: Path, db: Database, *, read_only: bool) -> None:
        self.folder = folder
        self.catalog = Catalog(db)
        self._db = db
        self._read_only = read_only
        self._locked = False
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
        """Close the catalog and let go of the vectors."""
        self._vectors.clear()
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def reading(self) -> AbstractContextManager[None]:
        """Show the block one committed state of the library, whatever others commit meanwhile."""
        return self._db.reading()

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
        if self._read_only:
            raise LibraryReadOnly(f"{self.folder}: the library was opened for reading only")
        with writer_lock(self.folder / "lock", wait=wait, stop=stop, waiting=waiting):
            self._locked = True
            try:
                yield
            finally:
                self._locked = False

    def apply(self, changes: Sequence[Change], model_id: int | None) -> None:
        """Write a batch of changes: all of them are committed, or none.

        They all speak of the catalog as it is before this call; new embeddings belong to
        `model_id`.
        """
        self._check_writing()
        with self._db.writing():
            apply_changes(self._db, changes, model_id)

    def search(
        self,
        model_id: int,
        queries: NDArray[np.float32],
        k: int,
        *,
        without: Sequence[Path] = (),
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return (cosines float32, photo ids int64), both [n, k], for unit vectors [n, width].

        Exact over the stored float16; best first, ties by photo id; padded with -inf and -1 where
        fewer than k are left. Photos at or below the paths of `without` are no hits. Every batch
        that was committed before the call is seen.
        """
        width = self._width(model_id)
        if queries.ndim != 2 or queries.shape[1] != width or not np.isfinite(queries).all():
            raise InvalidInput(f"query vectors must be finite numbers of shape [n, {width}]")
        vectors = self._vectors.get(model_id)
        if vectors is None:
            vectors = ModelVectors(self.folder / "vectors", model_id, width)
            self._vectors[model_id] = vectors
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        with self._db.reading():
            vectors.update(self._db, without)
            scores, photo_ids = vectors.search(queries, k)
            if not all_embedded(self._db, model_id, photo_ids):
                vectors.leave_file_aside(self._db)
                scores, photo_ids = vectors.search(queries, k)
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
        """Make the next index file of a model if it is worth it, or the present one is no good."""
        self._check_writing()
        if needs_building(self._db, self.folder / "vectors", model_id):
            build_generation(self._db, self.folder / "vectors", model_id, self._width(model_id))
        else:
            remove_litter(self._db, self.folder / "vectors")

    def index_info(self, model_id: int) -> IndexInfo:
        """Describe how the vectors of a model are searched, without loading any."""
        with self._db.reading():
            generation = current_generation(self._db, model_id)
            found = coverage(self._db, model_id, generation)
        note = self._vectors[model_id].note if model_id in self._vectors else None
        if generation is None:
            return IndexInfo(KIND, 0, found.delta, 0, 0, None, note)
        stamp, path = generation.stamp, None
        with suppress(OSError, UnusableFile):
            path = generation.path(self.folder / "vectors")
            path = path if path.is_file() and path.stat().st_size == stamp.bytes else None
        if path is None:
            note = "the index file is missing or incomplete; the next index run makes it anew"
        return IndexInfo(
            *(KIND, stamp.vectors, found.delta, found.removed, stamp.bytes), path=path, note=note
        )

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
        if not self._locked:
            raise RuntimeError("the library is changed only inside `with store.writing():`")


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
