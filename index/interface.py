"""What a store must offer: all that the library, searching, indexing and training know of one.

In two parts, since engines differ in what they can promise. `SearchableStore` is enough for a
library that is searched; one that is filled elsewhere offers no more. `WritableStore` is what
indexing needs beside it.

Any thread may use a store. Every method raises LibraryClosed after `close`, and in a fork of the
process that opened the store; LibraryDamaged for what can't be right; and another LibraryError
where the store can't be reached. Paths are absolute, and may hold bytes that are no text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from clipsearch.errors import LibraryReadOnly

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.index.changes import Change, KnownFile, KnownState, SeenSidecar
    from clipsearch.index.facets import Facets
    from clipsearch.index.filters import Filter
    from clipsearch.index.listing import Order
    from clipsearch.index.records import (
        Failure,
        KnownPhoto,
        ModelIdentity,
        ModelRow,
        PhotoRecord,
        Places,
        StoreState,
        Word,
    )
    from clipsearch.index.selection import Selection
    from clipsearch.index.tags import TagTables
    from clipsearch.index.word_search.finding import WordsFound


@runtime_checkable
class SearchableStore(Protocol):
    """Photos with their vectors, searched and looked at."""

    def close(self) -> None:
        """Let go of everything; a second time does nothing. Nobody is waited for."""

    def reading(self) -> AbstractContextManager[None]:
        """Show the block one committed state, whatever others commit meanwhile; may be nested.

        Outside of a block each call shows the latest: every batch that was committed before it,
        and each batch whole or not at all.
        """

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

        Of the photos that are `selected` (None: all), the k nearest that the model has embedded,
        or all if there are fewer: then the row ends in -inf and -1. Best first, ties by photo id;
        the scores are those of the stored float16. With `exact` they are the best k for certain,
        else nearly all of them. Several threads may search at once, each its own selection.
        Raises InvalidInput for queries of another shape or that are not finite.
        """

    def find_words(self, words: Sequence[str], selected: Selection | None = None) -> WordsFound:
        """Return the photos, of those that are `selected` (None: all), that have some of the words.

        The words are those that `asked_words` makes of a question. A photo has the words of its
        path below an indexed folder, and of the texts that `words` returns
        (index/word_search/splitting.py). Words say the more the rarer they are among all photos of
        the store, as `finding.weight` counts it. A store that has no words finds none.
        """

    def select(
        self, filters: Filter, without: Sequence[Path], where: str | None = None
    ) -> Selection | None:
        """Return the photos that pass the filters and lie neither at nor below some paths.

        None for all of them. It speaks of the state in which it was made. `where` is a condition in
        SQL, which only the library's own store knows: all others raise InvalidInput.
        """

    def facets(self, selected: Selection | None) -> Facets:
        """Return what the selected photos (None: all) say, counted, as `Facets` says it.

        A store that has no tags, or no places, counts none.
        """

    def listed(
        self, selected: Selection | None, order: Order, *, offset: int = 0, limit: int
    ) -> NDArray[np.int64]:
        """Return the ids (n,) of selected photos (None: all): `limit` after the first `offset`.

        By "date" (of `moment`), the newest first and those without one last, or by "path"; what is
        alike in date, by path.
        """

    def vectors(self, model_id: int, photo_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the embeddings (n, width) of photos, as stored; LibraryError if one has none."""

    def photos(self, photo_ids: Sequence[int]) -> dict[int, PhotoRecord]:
        """Return photos by id; an id of no photo is left out."""

    def raw_photos(self, photo_ids: Sequence[int]) -> list[PhotoRecord]:
        """Return those of some photos that are raw ones, by id."""

    def photos_with_content(self, content_hash: str) -> list[KnownPhoto]:
        """Return the photos whose file has this SHA-256, by id, with who has embedded each."""

    def known_content(self, hashes: Sequence[str]) -> set[str]:
        """Return those of some SHA-256 that are of a photo's file."""

    def photos_at(self, paths: Iterable[Path]) -> list[KnownPhoto]:
        """Return the photos with one of these paths, by id, with who has embedded each."""

    def photos_below(self, paths: Sequence[Path] | None) -> NDArray[np.int64]:
        """Return the ids (n,), rising, of the photos at or below some paths; None: of all."""

    def models(self, *, count_to: int | None = None) -> list[ModelRow]:
        """Return all models, by id; the photos of each are counted no further than `count_to`.

        At most one of them is current: the one that queries use.
        """

    def places(self) -> Places:
        """Return where the photos are kept up to date from; a store without places has none."""

    def words(self, photo_ids: Sequence[int]) -> dict[int, tuple[Word, ...]]:
        """Return the words that photos and their sidecars bear, each once, by photo id.

        Those of sidecars come first. Photos without words are left out.
        """

    def incomplete(self) -> int:
        """Count the photos of which not all is known that could be read out of their files."""

    def failures(self, roots: Sequence[Path] | None = None) -> list[Failure]:
        """Return the files at or below the roots (None: all) that can't be indexed, by path."""

    def describe(self, model_id: int | None) -> StoreState:
        """Return how large the store is, and how it searches the vectors of a model."""


@runtime_checkable
class TaggedStore(Protocol):
    """What a store offers beside if its photos can have tags."""

    def tags_of(self, photo_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """Return the tags of photos by their ids, surest first; a photo without is left out."""

    def tag_tables(self) -> TagTables:
        """Return the tables of tags; only the one writer may change them."""


@runtime_checkable
class WritableStore(SearchableStore, Protocol):
    """A store that is filled here: what an index run asks of it, and gives to it."""

    def writing(
        self,
        *,
        wait: bool = False,
        stop: Callable[[], bool] | None = None,
        waiting: Callable[[str], None] | None = None,
    ) -> AbstractContextManager[None]:
        """Be the one writer for the block; raises LibraryLocked, which says who is, else.

        With `wait` wait until that is done, or `stop()` is true (then LibraryLocked); `waiting` is
        called once, with a line that names the other writer, if there is one. Raises
        LibraryReadOnly for a store that was opened for reading.
        """

    def apply(self, changes: Sequence[Change], model_id: int | None = None) -> None:
        """Write a batch of changes: all of them are committed, or none.

        They all speak of the store as it is before this call, so that files which were swapped, or
        renamed in a chain, come out right in whatever order they are listed. New content at a path
        drops what other models made of the old. New embeddings belong to `model_id`; ValueError
        for one that is no finite vector of its width. Only the one writer may call it.
        """

    def add_model(self, identity: ModelIdentity) -> int:
        """Return the id of the model with this fingerprint, made if missing.

        Its name becomes the one given now: a model folder may have moved.
        """

    def known_states(self, model_id: int | None, roots: Sequence[Path]) -> set[KnownState]:
        """Return the photos at or below the roots, as files are compared with them."""

    def unnamed_positions(self, limit: int) -> list[tuple[float, float]]:
        """Return latitudes and longitudes at which photos were taken whose place has no name yet.

        Each once, and no more than `limit`; where there is none (`Named` said so), it is known.
        """

    def known_of(self, model_id: int | None, states: Iterable[KnownState]) -> dict[Path, KnownFile]:
        """Return the photos that some of `known_states` are of, by path."""

    def known_sidecars(self, roots: Sequence[Path]) -> set[SeenSidecar]:
        """Return the sidecars whose words are known, of the photos at or below the roots."""

    def to_complete(self, roots: Sequence[Path]) -> list[KnownFile]:
        """Return the photos at or below the roots that `incomplete` counts, by path."""

    def refresh_vectors(self, model_id: int) -> None:
        """Make searches of a model's vectors fast again after changes; readers go on meanwhile.

        What that costs is in proportion to what changed, on average.
        """


def writable(store: SearchableStore, where: object) -> WritableStore:
    """Return the store as one that can be written to; LibraryReadOnly if it is filled elsewhere."""
    if not isinstance(store, WritableStore):
        raise LibraryReadOnly(f"{where}: this library is filled elsewhere: it is only searched")
    return store
