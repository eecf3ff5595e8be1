"""From a question to hits: its vector, the nearest photos, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import shown as in_words
from clipsearch.errors import InvalidInput, LibraryNotFound, ModelError
from clipsearch.index.records import RAW, ModelRow, PhotoRecord
from clipsearch.models.loaded import LoadedModels
from clipsearch.models.names import resolve_model
from clipsearch.options import SearchOptions
from clipsearch.photos.away import away_folders
from clipsearch.photos.decoders import Decoders
from clipsearch.results import AwayFolder, Hit, Hits, LibraryInfo
from clipsearch.searching import looking_up
from clipsearch.searching.combining import QuerySum, alone, summed
from clipsearch.searching.folding import links_among
from clipsearch.searching.looking_up import PhotoDetails, PhotoIds
from clipsearch.searching.query import (
    Picture,
    Query,
    QueryEncoder,
    QueryPicture,
    read_picture,
)
from clipsearch.searching.ranking import Question, in_front_of, nearest, ranking_of
from clipsearch.searching.relevance import NOT_JUDGED, kinds_of, unread
from clipsearch.searching.stages import Linking, as_ranked, shown

if TYPE_CHECKING:
    from clipsearch.copies import Duplicates
    from clipsearch.index.facets import Facets
    from clipsearch.index.interface import SearchableStore
    from clipsearch.index.selection import Selection

    TagsOf = Callable[[Sequence[int]], dict[int, tuple[str, ...]]]

# Scores of `search_vectors` that may stand for nothing found; more are rather a slip in k.
_MOST_PADDED = 10_000_000
BATCH = 4096  # queries that are encoded and searched for together: what bounds memory


class StoreSearcher:
    """A `Searcher` (searcher.py) over a store and the models that embedded its photos."""

    def __init__(self, folder: Path, store: SearchableStore, models: LoadedModels) -> None:
        self._folder = folder
        self._store = store
        self._models = models
        self._decoders = Decoders()
        self._queries = QueryEncoder(store, models, self._decoders)

    def close(self) -> None:
        """End the processes that decode query pictures."""
        self._decoders.close()

    def query(self, query: Query, options: SearchOptions) -> Hits:
        """Return the photos nearest to a text or picture, best first."""
        model = self._searchable_model(options)
        vector = self._queries.encode([query], model)[0]
        texts = summed(query).texts if options.only != "visual" else ()
        if not texts:
            _check_visual(options)
        words = " ".join(texts) if texts else None
        found = self._answer(model, vector, query, options, words=words)
        return found.noting(unread(query, partial(self._models.reads_only_english, model)))

    def query_batch(self, queries: Sequence[Query], options: SearchOptions) -> list[Hits]:
        """Return the hits of each query by what is seen alone; BATCH at a time go together."""
        _check_visual(options)
        model = self._searchable_model(options)
        found: list[Hits] = []
        for start in range(0, len(queries), BATCH):
            vectors = self._queries.encode(queries[start : start + BATCH], model)
            if as_ranked(options):
                found += self._hits(model, vectors, options)
            else:
                found += [
                    self._answer(model, vector, query, options)
                    for query, vector in zip(queries[start : start + BATCH], vectors, strict=True)
                ]
        return found

    def similar(self, picture: Picture | QuerySum, options: SearchOptions) -> Hits:
        """Return the photos most like a picture, without the picture itself, wherever it lies.

        Of a sum, without all pictures in it.
        """
        _check_visual(options)
        self._searchable_model(options)  # else the picture need not be looked at
        asked = summed(picture).each(lambda one: one if isinstance(one, str) else read_picture(one))
        model = self._searchable_model(options)
        copied = [
            copy.photo
            for _, read in asked.terms
            if not isinstance(read, str) and read.content_hash
            for copy in self._store.photos_with_content(read.content_hash)
        ]
        raws = [photo for photo in copied if photo.metadata.format == RAW]
        in_front = in_front_of(self._store, model, raws, None).values()
        same = {photo.id for photo in copied} | {*in_front}
        vector = self._queries.encode([alone(asked)], model)[0]
        return self._answer(model, vector, asked, options, without=same)

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
        _check_visual(options)
        model = self._searchable_model(options)
        vectors = _as_vectors(queries)
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

    def away(self) -> list[AwayFolder]:
        """Return the folders that are not there now but have photos, with the reasons."""
        places = self._store.places()
        found = away_folders(places.folders, places.mounts)
        counted = (
            (path, why, len(self._store.photos_below([path]))) for path, why in found.items()
        )
        return [AwayFolder(path, why, photos) for path, why, photos in counted if photos]

    def _answer(
        self,
        model: ModelRow,
        vector: NDArray[np.float32],
        query: Query | QuerySum,
        options: SearchOptions,
        *,
        without: Collection[int] = (),
        words: str | None = None,
    ) -> Hits:
        """Return the hits of a query by its unit vector (width,), without some photos.

        Those that hold its `words` are found by these, too.
        """
        left_out = self._left_out(options)
        names = self._models.competing_words(model)
        scale = self._queries.logit_scale(model) if words is not None else None
        with self._store.reading():  # one state of the catalog for vectors and rows
            selected = self._selected(options, left_out)
            question = Question(
                model, vector, kinds_of(query), options, selected, frozenset(without)
            )
            ranking = ranking_of(self._store, question, names, words, scale)
            hits, weak = shown(ranking, options, self._rows, self._linking(model))
            hits = self._with_tags(ranking.explained(hits))
            notes = ranking.notes
        if options.relevant and names is None:
            notes.append(NOT_JUDGED)
        return Hits(hits, left_out, weak=weak, notes=notes)

    def _rows(self, photo_ids: Sequence[int]) -> list[PhotoRecord]:
        found = self._store.photos(photo_ids)
        return [found[photo_id] for photo_id in photo_ids]

    def _linking(self, model: ModelRow) -> Linking:
        return partial(links_among, self._store, model.id)

    def _hits(
        self, model: ModelRow, vectors: NDArray[np.float32], options: SearchOptions
    ) -> list[Hits]:
        """Return the k nearest to each of some vectors (n, width)."""
        left_out = self._left_out(options)
        with self._store.reading():
            selected = self._selected(options, left_out)
            ranked = self._ranked(model, vectors, options, selected)
            tagged = iter(self._with_tags([hit for hits in ranked for hit in hits]))
        ranked = [list(islice(tagged, len(hits))) for hits in ranked]
        return [Hits(hits, left_out) for hits in ranked]

    def _with_tags(self, hits: Sequence[Hit]) -> list[Hit]:
        """Return hits with the tags of their photos."""
        # A TaggedStore, told without the module of the contract: each search would load it.
        tags_of: TagsOf | None = getattr(self._store, "tags_of", None)
        if not hits or tags_of is None:
            return list(hits)
        tags = tags_of([hit.id for hit in hits])
        return [replace(hit, tags=tags[hit.id]) if hit.id in tags else hit for hit in hits]

    def _ranked(
        self,
        model: ModelRow,
        vectors: NDArray[np.float32],
        options: SearchOptions,
        selected: Selection | None,
    ) -> list[list[Hit]]:
        """Return for each vector the k nearest of what is selected, or all there are."""
        least = -np.inf if options.min_score is None else options.min_score
        scores, ids = nearest(self._store, model, vectors, options.k, selected, exact=options.exact)
        photos = self._store.photos(list(set(ids[ids >= 0].tolist())))
        return [
            [
                Hit.from_record(rank, float(score), photos[int(photo_id)])
                for rank, (score, photo_id) in enumerate(zip(*found, strict=True), 1)
                if photo_id >= 0 and score >= least
            ]
            for found in zip(scores, ids, strict=True)
        ]

    def _selected(self, options: SearchOptions, left_out: Sequence[AwayFolder]) -> Selection | None:
        without = [folder.path for folder in left_out]
        return self._store.select(options.filters, without, options.where)

    def _left_out(self, options: SearchOptions) -> list[AwayFolder]:
        return [] if options.include_away else self.away()

    def _searchable_model(self, options: SearchOptions) -> ModelRow:
        """Return the model to search with; its photos are counted no further than k."""
        row = self._model(options.model, count_to=options.k)
        if row.photos == 0:
            raise self._empty()
        return row

    def _model(self, name: str | Path | None, *, count_to: int | None) -> ModelRow:
        """Return the library's model, or another one it holds embeddings of."""
        models = self._store.models(count_to=count_to)
        current = next((row for row in models if row.is_current), None)
        if current is None:
            raise self._empty()
        if name is None:
            return current
        name = resolve_model(name).name
        rows = [row for row in models if row.identity.name == name]
        if not rows:
            raise ModelError(
                f"this library was not indexed with {name!r} but with "
                f"{current.identity.name!r}; `clipsearch index --model {name}` adds it"
            )
        return current if current in rows else rows[-1]

    def _empty(self) -> LibraryNotFound:
        hint = "`clipsearch index FOLDER` adds some"
        return LibraryNotFound(f"the library {self._folder} holds no photos yet: {hint}")


def _check_visual(options: SearchOptions) -> None:
    if options.only == "words":
        raise InvalidInput("only what is asked in words, one question, can be found by words alone")


def _as_vectors(queries: object) -> NDArray[np.float32]:
    """Return what is given as an array of float32; whether it is of the right shape shows later."""
    try:
        with np.errstate(all="ignore"):
            vectors = np.asarray(queries)
            if vectors.dtype.kind in "fiu":
                return vectors.astype(np.float32)
    except ValueError:  # rows of several lengths
        pass
    raise InvalidInput(f"query vectors must be an array of numbers, not {in_words(queries)}")
