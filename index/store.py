"""A library's catalog and vectors, kept in step.

Any thread may use a store. Any number of processes and threads may read while one writes: each
search sees the last committed batch, whole.
"""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import (
    InvalidInput,
    LibraryDamaged,
    LibraryError,
    LibraryIncompatible,
    LibraryReadOnly,
)
from clipsearch.index.catalog import Catalog
from clipsearch.index.database import HOW_TO_MEND, Database
from clipsearch.index.double_slashes import join_double_slashes
from clipsearch.index.durable import NO_SPACE, in_words, make_folder
from clipsearch.index.embeddings import all_embedded, embeddings_of
from clipsearch.index.filters import EVERYTHING, Filter
from clipsearch.index.layout import Layout
from clipsearch.index.lock import do_once, writer_lock
from clipsearch.index.records import (
    Failure,
    IndexInfo,
    KnownPhoto,
    ModelIdentity,
    ModelRow,
    PhotoRecord,
    Places,
    StoreState,
    Word,
)
from clipsearch.index.selecting import Selector
from clipsearch.index.selection import Selection
from clipsearch.index.upgrading import bring_up_to_date
from clipsearch.index.vectors.model_vectors import ModelVectors, VectorFollower
from clipsearch.index.vectors.segments import Segment, coverage, refresh, segments_of
from clipsearch.index.vectors.vector_files import EXACT, MAX_WIDTH, UnusableFile
from clipsearch.index.word_search import word_index
from clipsearch.index.word_search.finding import WordFinder, WordsFound

if TYPE_CHECKING:  # of use to writers only, and takes longer to import than a search
    from clipsearch.index.changes import Change, KnownFile, KnownState, SeenSidecar
    from clipsearch.index.facets import Facets
    from clipsearch.index.listing import Order
    from clipsearch.index.tags import TagTables


class Store:
    """An open library folder: a `WritableStore`."""

    def __init__(self, folder: Path, db: Database, *, read_only: bool) -> None:
        self.folder = folder
        self.catalog = Catalog(db)
        self._db = db
        self._layout = Layout(folder)
        self._read_only = read_only
        self._writer: int | None = None  # the thread that holds the writer lock
        self._followers: dict[int, VectorFollower] = {}  # by model
        self._following = threading.Lock()  # held while vectors are brought up to date
        self._mine = threading.local()  # .vectors: those of this thread's `reading`, by model
        self._read = 0  # how often vectors were, that lie in memory
        self._selector = Selector(db, self.catalog)
        self._words = WordFinder(db)

    @classmethod
    def open(cls, folder: Path, *, create: bool = False, read_only: bool = False) -> Store:
        """Open a library, or with `create` make one where there is none.

        Opening one of an older schema for writing upgrades it. Raises LibraryNotFound,
        LibraryIncompatible (made by a newer clipsearch, or no library: it is left untouched),
        LibraryDamaged, LibraryReadOnly, or LibraryLocked if another process writes to a library
        that has to be made or upgraded first.
        """
        layout = Layout(folder)
        if create and not read_only and _is_vacant(layout.catalog):
            _make_folder(folder)
            do_once(
                layout.lock,
                needed=lambda: _is_vacant(layout.catalog),
                do=lambda: Database.create(layout.catalog),
            )
        db = Database.open(layout.catalog, read_only=read_only)
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
        self._followers = {}
        self._selector = Selector(self._db, self.catalog)

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
        """Show the block one committed state of the library, whatever others commit meanwhile.

        May be nested.
        """
        self._db.check_open()
        if self._vectors_of_block() is not None:
            yield
            return
        with ExitStack() as block:
            # The vectors follow the catalog, and never go back: the state of a block is chosen
            # while no other thread moves on.
            with self._following:
                block.enter_context(self._db.reading())
                vectors = {
                    model_id: follower.follow(self._db)
                    for model_id, follower in self._followers.items()
                }
            self._mine.vectors = vectors
            try:
                yield
            finally:
                self._mine.vectors = None

    def _vectors_of_block(self) -> dict[int, ModelVectors] | None:
        vectors: dict[int, ModelVectors] | None = getattr(self._mine, "vectors", None)
        return vectors

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
        self._db.check_open()
        if self._read_only:
            raise LibraryReadOnly(f"{self.folder}: the library was opened for reading only")

        def given_up() -> bool:
            self._db.check_open()
            return stop is not None and stop()

        with writer_lock(self._layout.lock, wait=wait, stop=given_up, waiting=waiting):
            join_double_slashes(self._db)
            word_index.keep(self._db)
            self._writer = threading.get_ident()
            try:
                yield
            finally:
                self._writer = None

    def apply(self, changes: Sequence[Change], model_id: int | None = None) -> None:
        """Write a batch of changes: all of them are committed, or none.

        They all speak of the catalog as it is before this call; new embeddings belong to
        `model_id`.
        """
        from clipsearch.index.applying import apply_changes

        self._check_writing()
        if not changes:
            return
        with self._db.writing():
            apply_changes(self._db, changes, model_id)
            word_index.take_in(self._db)

    def make_words_anew(self) -> None:
        """Make the index of words from the rest of the catalog, whatever is in its place."""
        self._check_writing()
        word_index.make_anew(self._db)

    def select(
        self,
        filters: Filter = EVERYTHING,
        without: Sequence[Path] = (),
        where: str | None = None,
    ) -> Selection | None:
        """Return the photos that pass the filters and lie neither at nor below some paths.

        None for all of them. With `where` that condition in SQL on the view `photo` is true, too;
        InvalidInput for one that is wrong, does more than compare, or takes too long.
        """
        with self._db.reading():
            return self._selector.selection(filters, without, where)

    def photos_below(self, paths: Sequence[Path] | None) -> NDArray[np.int64]:
        """Return the ids (n,), rising, of the photos at or below some paths; None: of all."""
        if paths is None:
            return self.catalog.all_ids()
        with self._db.reading():
            return self._selector.ids_below(paths)

    def facets(self, selected: Selection | None) -> Facets:
        """Return what the selected photos (None: all) say, counted."""
        with self._db.reading():
            return self._selector.facets(selected)

    def listed(
        self, selected: Selection | None, order: Order, *, offset: int = 0, limit: int
    ) -> NDArray[np.int64]:
        """Return the ids (n,) of selected photos by "date" or "path", a page of them."""
        with self._db.reading():
            return self._selector.listed(selected, order, offset, limit)

    def search(
        self,
        model_id: int,
        queries: NDArray[np.float32],
        k: int,
        *,
        selected: Selection | None = None,
        exact: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return (cosines float32, photo ids int64), both (n, k), for unit vectors (n, width).

        Only photos that are `selected` are found; None: all are. Scores are those of the stored
        float16; best first, ties by photo id; padded with -inf and -1 where fewer than k are left.
        Every batch that was committed before the call is seen. The best k are found for certain
        with `exact`, or where `index_info` names no recall; else nearly all of them.
        """
        width = self._width(model_id)
        if queries.ndim != 2 or queries.shape[1] != width or not np.isfinite(queries).all():
            raise InvalidInput(f"query vectors must be finite numbers of shape [n, {width}]")
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        with self.reading():
            vectors = self._vectors_now(model_id, width)
            scores, photo_ids = vectors.search(queries, k, selected=selected, exact=exact)
            if _twice(photo_ids) or not all_embedded(self._db, model_id, photo_ids):
                vectors = self._vectors_without_files(model_id, width)
                scores, photo_ids = vectors.search(queries, k, selected=selected, exact=exact)
                if not all_embedded(self._db, model_id, photo_ids):
                    raise LibraryDamaged(
                        f"{self.folder}: an embedding in the catalog is of no photo; {HOW_TO_MEND}"
                    )
        return scores, photo_ids

    def find_words(self, words: Sequence[str], selected: Selection | None = None) -> WordsFound:
        """Return the photos, of those selected, whose path or texts have some of the words."""
        return self._words.find(words, selected)

    def _vectors_now(self, model_id: int, width: int) -> ModelVectors:
        """Return a model's vectors in the state that the block of `reading` shows."""
        vectors = self._vectors_of_block()
        assert vectors is not None  # in a block
        if model_id not in vectors:
            with self._following:
                follower = VectorFollower(self._layout.vectors, model_id, width)
                vectors[model_id] = follower.follow(self._db)
                # Another thread may have opened them since this block began, in a later state;
                # then these are for this block alone.
                self._followers.setdefault(model_id, follower)
        return vectors[model_id]

    def _vectors_without_files(self, model_id: int, width: int) -> ModelVectors:
        """Return the same from the catalog alone, and leave the files aside from now on."""
        vectors = self._vectors_of_block()
        assert vectors is not None
        with self._following:
            follower = self._followers.get(model_id)
            if follower is None or not follower.gave(vectors[model_id]):  # in another state
                follower = VectorFollower(self._layout.vectors, model_id, width)
            vectors[model_id] = follower.leave_files_aside(self._db)
        return vectors[model_id]

    def photos(self, photo_ids: Sequence[int]) -> dict[int, PhotoRecord]:
        """Return photos by id; an id that is not in the catalog is left out."""
        return self.catalog.photos(photo_ids)

    def raw_photos(self, photo_ids: Sequence[int]) -> list[PhotoRecord]:
        """Return those of some photos that are raw ones, by id."""
        return self.catalog.raw_photos(photo_ids)

    def tags_of(self, photo_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """Return the tags of photos by their ids, surest first; a photo without is left out."""
        return self.catalog.tags_of(photo_ids)

    def tag_tables(self) -> TagTables:
        """Return the tables of tags; only the one writer may change them."""
        from clipsearch.index.tags import TagTables

        return TagTables(self._db)

    def photos_with_content(self, content_hash: str) -> list[KnownPhoto]:
        """Return the photos whose file has this SHA-256, by id, with who has embedded each."""
        return self.catalog.photos_with_content(content_hash)

    def known_content(self, hashes: Sequence[str]) -> set[str]:
        """Return those of some SHA-256 that are of a photo's file."""
        return self.catalog.known_content(hashes)

    def photos_at(self, paths: Iterable[Path]) -> list[KnownPhoto]:
        """Return the photos with one of these paths, by id, with who has embedded each."""
        return self.catalog.photos_at(paths)

    def models(self, *, count_to: int | None = None) -> list[ModelRow]:
        """Return all models, by id; the photos of each are counted no further than `count_to`."""
        return self.catalog.models(count_to=count_to)

    def places(self) -> Places:
        """Return where the photos are kept up to date from, and what is left out there."""
        with self._db.reading():
            return Places(
                tuple(self.catalog.folders()),
                tuple(self.catalog.mounts()),
                tuple(self.catalog.exclusions()),
            )

    def words(self, photo_ids: Sequence[int]) -> dict[int, tuple[Word, ...]]:
        """Return the words that photos and their sidecars bear; those of sidecars come first."""
        return self.catalog.words(photo_ids)

    def incomplete(self) -> int:
        """Count the photos of which not all is known that could be read out of their files."""
        return self.catalog.incomplete()

    def failures(self, roots: Sequence[Path] | None = None) -> list[Failure]:
        """Return the files at or below the roots (None: all) that can't be indexed, by path."""
        return self.catalog.failures(roots)

    def describe(self, model_id: int | None) -> StoreState:
        """Return how large the library is, and how it searches the vectors of a model."""
        info = self.index_info(model_id) if model_id is not None else None
        return StoreState(self.catalog.counts(None).photos, info, self._layout.bytes_of_parts())

    def add_model(self, identity: ModelIdentity) -> int:
        """Return the id of the model with this fingerprint, made if missing."""
        self._check_writing()
        return self.catalog.add_model(identity)

    def known_states(self, model_id: int | None, roots: Sequence[Path]) -> set[KnownState]:
        """Return the photos at or below the roots, as files are compared with them."""
        return self.catalog.known_states(model_id, roots)

    def unnamed_positions(self, limit: int) -> list[tuple[float, float]]:
        """Return the positions of photos whose place has no name yet, each once."""
        return self.catalog.unnamed_positions(limit)

    def known_of(self, model_id: int | None, states: Iterable[KnownState]) -> dict[Path, KnownFile]:
        """Return the photos that some of `known_states` are of, by path."""
        return self.catalog.known_of(model_id, states)

    def known_sidecars(self, roots: Sequence[Path]) -> set[SeenSidecar]:
        """Return the sidecars whose words are known, of the photos at or below the roots."""
        return self.catalog.known_sidecars(roots)

    def to_complete(self, roots: Sequence[Path]) -> list[KnownFile]:
        """Return the photos at or below the roots that `incomplete` counts, by path."""
        return self.catalog.to_complete(roots)

    def vectors(self, model_id: int, photo_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the embeddings (n, width) of photos, as stored; LibraryError if one has none."""
        searched = (self._vectors_of_block() or {}).get(model_id)
        if searched is not None:
            self._read += 1
            # The first time by SQL, as in a program that asks once: places have to be sorted else.
            if self._read > 1:
                found = searched.of_photos(np.array(photo_ids, np.int64))
                if found is not None:
                    return found
        stored = embeddings_of(self._db, model_id, self._width(model_id), photo_ids)
        return stored.astype(np.float32)

    def refresh_vectors(self, model_id: int) -> None:
        """Make the index files that are worth it, and those that are no good, anew.

        What that costs is in proportion to what changed, on average. Readers are not held up.
        """
        self._check_writing()
        refresh(self._db, self._layout.vectors, model_id, self._width(model_id))

    def index_info(self, model_id: int) -> IndexInfo:
        """Describe how the vectors of a model are searched, without loading any."""
        with self._db.reading():
            segments = segments_of(self._db, model_id)
            found = coverage(self._db, model_id, segments)
        follower = self._followers.get(model_id)
        note = follower.note if follower else None
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
            path = segment.path(self._layout.vectors)
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
