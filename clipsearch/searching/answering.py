"""From questions to hits: their vectors, the nearest photos, and what is known of them.

Any number of questions goes this way together, each as if it were alone, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import ClipsearchError, InvalidInput, LibraryNotFound, ModelError
from clipsearch.index.records import RAW, ModelRow, PhotoRecord
from clipsearch.models.loaded import LoadedModels
from clipsearch.models.names import resolve_model
from clipsearch.options import SearchOptions
from clipsearch.photos.away import away_folders
from clipsearch.photos.decoders import Decoders
from clipsearch.results import AwayFolder, Hit, Hits
from clipsearch.searching.combining import QuerySum, alone, summed
from clipsearch.searching.folding import links_among
from clipsearch.searching.inquiries import Inquiry, Understood, each, grouped
from clipsearch.searching.query import Picture, Query, QueryEncoder, read_picture
from clipsearch.searching.ranking import (
    Question,
    Ranking,
    find_together,
    in_front_of,
    nearest,
    ranking_of,
)
from clipsearch.searching.relevance import NOT_JUDGED, kinds_of, unread
from clipsearch.searching.stages import Linking, as_ranked, first_asked, shown

if TYPE_CHECKING:
    from clipsearch.index.interface import SearchableStore
    from clipsearch.index.selection import Selection

    TagsOf = Callable[[Sequence[int]], dict[int, tuple[str, ...]]]

BATCH = 4096  # queries that are encoded and searched for together: what bounds memory


class Answering:
    """Answers questions over a store and the models that embedded its photos."""

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
        return _only(self.answers([Inquiry(query, options)]))

    def similar(self, picture: Picture | QuerySum, options: SearchOptions) -> Hits:
        """Return the photos most like a picture, without the picture itself, wherever it lies.

        Of a sum, without all pictures in it.
        """
        return _only(self.answers([Inquiry(picture, options, similar=True)]))

    def answers(self, inquiries: Sequence[Inquiry]) -> Iterator[tuple[int, Hits | Exception]]:
        """Yield the place of each question with its hits, or with what it raises alone.

        Each as soon as it is there, so in no order. Texts go through their tower together, and what
        can be searched for at once is: nothing else tells that others were asked beside.
        """
        models: dict[object, ModelRow] = {}
        meant, errors = each(dict(enumerate(inquiries)), partial(self._understood, models=models))
        yield from errors.items()
        vectors: dict[int, NDArray[np.float32]] = {}
        for places in grouped(meant, lambda place: meant[place].model.id):
            model = meant[places[0]].model
            encoded = self._queries.encode_apart([meant[place].query for place in places], model)
            for place, vector in zip(places, encoded, strict=True):
                if isinstance(vector, Exception):
                    yield place, vector
                else:
                    vectors[place] = vector
        yield from self._found({place: meant[place] for place in vectors}, vectors)

    def query_batch(self, queries: Sequence[Query], options: SearchOptions) -> list[Hits]:
        """Return the hits of each query by what is seen alone; BATCH at a time go together."""
        check_visual(options)
        model = self._searchable_model(options)
        found: list[Hits] = []
        for start in range(0, len(queries), BATCH):
            some = queries[start : start + BATCH]
            vectors = self._queries.encode(some, model)
            if as_ranked(options):
                found += self._hits(model, vectors, options)
                continue
            meant = {place: Understood(model, query, options) for place, query in enumerate(some)}
            answers = dict(self._found(meant, dict(enumerate(vectors))))
            found += [_hits_or_raise(answers[place]) for place in meant]
        return found

    def away(self) -> list[AwayFolder]:
        """Return the folders that are not there now but have photos, with the reasons."""
        places = self._store.places()
        found = away_folders(places.folders, places.mounts)
        counted = (
            (path, why, len(self._store.photos_below([path]))) for path, why in found.items()
        )
        return [AwayFolder(path, why, photos) for path, why, photos in counted if photos]

    def _understood(self, inquiry: Inquiry, models: dict[object, ModelRow]) -> Understood:
        """Return what is meant; `models` keeps those that were looked up for others."""
        query, options = inquiry.query, inquiry.options
        if inquiry.similar:
            check_visual(options)
        key = options.model, options.k
        if key not in models:
            models[key] = self._searchable_model(options)
        if inquiry.similar:
            return self._understood_picture(models[key], summed(query), options)
        texts = summed(query).texts if options.only != "visual" else ()
        words = " ".join(texts) if texts else None
        return Understood(models[key], query, options, words=words, tells_unread=True)

    def _understood_picture(
        self, model: ModelRow, picture: QuerySum, options: SearchOptions
    ) -> Understood:
        """Return what is meant by a picture without the picture itself."""
        asked = picture.each(lambda one: one if isinstance(one, str) else read_picture(one))
        copied = [
            copy.photo
            for _, read in asked.terms
            if not isinstance(read, str) and read.content_hash
            for copy in self._store.photos_with_content(read.content_hash)
        ]
        raws = [photo for photo in copied if photo.metadata.format == RAW]
        in_front = in_front_of(self._store, model, raws, None).values()
        same = frozenset(photo.id for photo in copied) | {*in_front}
        return Understood(model, alone(asked), options, without=same)

    def _found(
        self, meant: Mapping[int, Understood], vectors: Mapping[int, NDArray[np.float32]]
    ) -> Iterator[tuple[int, Hits | Exception]]:
        """Yield the hits of questions by their unit vectors (width,), as `answers` does."""
        away = [] if all(one.options.include_away for one in meant.values()) else self.away()
        selections: dict[object, Selection | None] = {}
        with self._store.reading():  # one state of the catalog for vectors and rows
            rankings, errors = each(
                {place: (meant[place], vectors[place]) for place in meant},
                lambda one: self._ranking(*one, away, selections),
            )
            yield from errors.items()
            self._search_together(rankings)
            for place, ranking in rankings.items():
                try:
                    yield place, self._hits_of(ranking, meant[place], away)
                except Exception as error:  # noqa: BLE001 (its own, which spoils no other)
                    yield place, error

    def _ranking(
        self,
        meant: Understood,
        vector: NDArray[np.float32],
        away: Sequence[AwayFolder],
        selections: dict[object, Selection | None],
    ) -> Ranking:
        """Return what ranks photos for a question; `selections` keeps those made for others."""
        options, model = meant.options, meant.model
        if meant.words is None:
            check_visual(options)
        key = options.filters, options.where, options.include_away
        if key not in selections:
            left_out = [] if options.include_away else away
            selections[key] = self._selected(options, left_out)
        kinds = kinds_of(meant.query)
        question = Question(model, vector, kinds, options, selections[key], meant.without)
        scale = self._queries.logit_scale(model) if meant.words is not None else None
        names = self._models.competing_words(model)
        return ranking_of(self._store, question, names, meant.words, scale)

    def _search_together(self, rankings: Mapping[int, Ranking]) -> None:
        """Find the first photos for all rankings that the store can search for at once."""
        first = {place: first_asked(one.question.options) for place, one in rankings.items()}
        for places in grouped(rankings, lambda place: rankings[place].search_key(first[place])):
            some = [rankings[place] for place in places]
            if len(some) > 1:
                with suppress(ClipsearchError):  # of one, perhaps: each is searched for by itself
                    find_together(some, first[places[0]])

    def _hits_of(self, ranking: Ranking, meant: Understood, away: Sequence[AwayFolder]) -> Hits:
        """Return what is shown of a ranking."""
        options, model = meant.options, meant.model
        hits, weak = shown(ranking, options, self._rows, self._linking(model))
        hits = self._with_tags(ranking.explained(hits))
        notes = ranking.notes
        if options.relevant and self._models.competing_words(model) is None:
            notes.append(NOT_JUDGED)
        if meant.tells_unread:
            notes += unread(meant.query, partial(self._models.reads_only_english, model))
        left_out = [] if options.include_away else away
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


def check_visual(options: SearchOptions) -> None:
    """Raise InvalidInput where words alone are to find what is no question of words."""
    if options.only == "words":
        raise InvalidInput("only what is asked in words, one question, can be found by words alone")


def _only(answers: Iterator[tuple[int, Hits | Exception]]) -> Hits:
    ((_, found),) = answers
    return _hits_or_raise(found)


def _hits_or_raise(found: Hits | Exception) -> Hits:
    if isinstance(found, Exception):
        raise found
    return found
