"""All that is asked of a library: questions (answering.py), lists, counts, and single photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import shown as in_words
from clipsearch.errors import InvalidInput
from clipsearch.index.records import Failure, Folder, PhotoRecord
from clipsearch.options import SearchOptions
from clipsearch.results import Hit, Hits, LibraryInfo
from clipsearch.searching import looking_up
from clipsearch.searching.answering import Answering, check_visual
from clipsearch.searching.looking_up import PhotoDetails, PhotoIds
from clipsearch.searching.query import (
    Query,
    QueryPicture,
    as_vectors,
)

if TYPE_CHECKING:
    from clipsearch.copies import Duplicates
    from clipsearch.index.facets import Facets

    TagsOf = Callable[[Sequence[int]], dict[int, tuple[str, ...]]]

# Scores of `search_vectors` that may stand for nothing found; more are rather a slip in k.
_MOST_PADDED = 10_000_000
BATCH = 4096  # queries that are encoded and searched for together: what bounds memory


class StoreSearcher(Answering):
    """A `Searcher` (searcher.py) over a store and the models that embedded its photos."""

    def listed(self, options: SearchOptions) -> Hits:
        """Return the photos that pass the filters, without a question: by date or path."""
        from clipsearch.searching.listing import page

        model = self._model(None, count_to=0)
        left_out = self._left_out(options)
        with self._store.reading():
            selected = self._selected(options, left_out)
            hits = page(self._store, model.id, selected, options)
            return Hits(self._with_tags(hits), left_out)

    def facets(self, options: SearchOptions) -> Facets:
        """Return what the photos that pass the filters say, counted."""
        self._model(None, count_to=0)  # else there are no photos
        left_out = self._left_out(options)
        with self._store.reading():
            return self._store.facets(self._selected(options, left_out))

    def count(self, options: SearchOptions) -> int:
        """Return how many photos pass the filters."""
        left_out = self._left_out(options)
        with self._store.reading():
            return looking_up.count_of(self._store, self._selected(options, left_out))

    def duplicates(self, options: SearchOptions) -> Duplicates:
        """Return the groups of the same photo, of bursts and of look-alikes of what passes."""
        from clipsearch.searching.duplicates import find_duplicates

        model = self._model(options.model, count_to=None)
        with self._store.reading():
            selected = self._selected(options, self._left_out(options))
            return find_duplicates(self._store, model.id, model.photos, selected)

    def search_vectors(
        self, queries: NDArray[np.float32], options: SearchOptions
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return cosines (n, k) and photo ids (n, k) of the nearest to unit vectors (n, width).

        Rows with fewer hits end in -inf and -1.
        """
        check_visual(options)
        model = self._searchable_model(options)
        vectors = as_vectors(queries)
        photos = model.photos
        rows = vectors.shape[0] if vectors.ndim == 2 else 0
        if options.k > photos and options.k * max(1, rows) > _MOST_PADDED:
            raise InvalidInput(f"k is {in_words(options.k)}, but there are only {photos} photos")
        left_out = self._left_out(options)
        with self._store.reading():
            scores, ids = self._store.search(
                model.id,
                vectors,
                options.k,
                selected=self._selected(options, left_out),
                exact=options.exact,
            )
        if options.min_score is not None:
            ids[scores < options.min_score] = -1
            scores[scores < options.min_score] = -np.inf
        return scores, ids

    def encode(self, queries: Sequence[Query | QueryPicture]) -> NDArray[np.float32]:
        """Return unit vectors, float32 (n, width), of texts and pictures."""
        return self._queries.encode(queries, self._model(None, count_to=0))

    def prepare_for_pictures(self) -> bool:
        """Load what pictures need, but not torch; return whether that was enough."""
        return self._queries.prepare_for_pictures(self._model(None, count_to=0))

    def photo(self, photo_id: int) -> PhotoRecord:
        """Return what is known of a photo; InvalidInput if the library has none with this id."""
        found = self._store.photos([photo_id])
        if not found:
            raise InvalidInput(f"the library has no photo {in_words(photo_id)}")
        return found[photo_id]

    def details(self, photo_id: int) -> PhotoDetails:
        """Return all that is known of a photo, its words and tags, too."""
        with self._store.reading():
            photo = self.photo(photo_id)
            (hit,) = self._with_tags([replace(Hit.from_record(0, 0.0, photo), why=())])
            words = self._store.words([photo_id]).get(photo_id, ())
        return PhotoDetails(photo, hit, words)

    def photos(self, photo_ids: PhotoIds) -> list[PhotoRecord]:
        """Return what is known of photos, in the order of their ids, -1 passed over."""
        return looking_up.photos_of(self._store, photo_ids)

    def vectors(self, photo_ids: PhotoIds, model: str | Path | None) -> NDArray[np.float32]:
        """Return embeddings, float32 (n, width), of photos, as `photos` does."""
        return looking_up.vectors_of(self._store, self._model(model, count_to=0).id, photo_ids)

    def folders(self) -> list[Folder]:
        """Return the folders and single files that the library keeps up to date, by path."""
        return list(self._store.places().folders)

    def failures(self) -> list[Failure]:
        """Return the files that could not be indexed, with reasons."""
        return self._store.failures()

    def info(self) -> LibraryInfo:
        """Return the state of the library."""
        models = self._store.models()
        current = next((row for row in models if row.is_current), None)
        state = self._store.describe(current.id if current else None)
        places = self._store.places()
        return LibraryInfo(
            folder=self._folder,
            folders=places.folders,
            exclusions=places.exclusions,
            away=tuple(self.away()),
            photos=state.photos,
            incomplete=self._store.incomplete(),
            failures=tuple(self._store.failures()),
            model=current,
            models=tuple(models),
            index=state.vectors,
            disk_bytes=state.disk_bytes,
        )
