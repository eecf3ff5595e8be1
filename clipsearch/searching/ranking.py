"""From the vector of a question to photos in order: by what is seen, and by what is written."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipsearch.results import LIKELY, Hit
from clipsearch.searching.relevance import JUDGED, relevance

if TYPE_CHECKING:
    from clipsearch.index.interface import SearchableStore
    from clipsearch.index.records import ModelRow, PhotoRecord
    from clipsearch.index.selection import Selection
    from clipsearch.options import SearchOptions
    from clipsearch.searching.words import Written

_COUNTED_ANYWAY = 1024  # photos for which room is made without asking how many there are
_LISTED = 1_000  # photos beyond those asked for that are found by words alone

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Question:
    """What is asked of one state of a library, by the model that embedded its photos."""

    model: ModelRow
    vector: Floats  # (width,), unit length
    kinds: frozenset[str]  # of what it consists: "text", "picture"
    options: SearchOptions
    selected: Selection | None  # the photos that pass the filters; None: all
    without: frozenset[int] = frozenset()  # photos that are no answer to it

    @property
    def least(self) -> float:
        """The cosine from which a photo is an answer."""
        return -np.inf if self.options.min_score is None else self.options.min_score


class Ranked(NamedTuple):
    """The first n photos of a ranking, best first."""

    ids: Ids  # (n,)
    cosines: Floats  # (n,)
    by_words: NDArray[np.bool_]  # (n,): found by its words
    relevance: Floats | None = None  # (n,), 0 to 1; None where nothing tells it
    vectors: Floats | None = None  # (n, width), where they were needed

    @property
    def are_relevant(self) -> NDArray[np.bool_]:
        """Which are more than weak (n,): as `Hit.is_relevant` says it."""
        if self.relevance is None:
            return np.ones(len(self.ids), np.bool_)
        likely: NDArray[np.bool_] = self.by_words | (self.relevance >= LIKELY)
        return likely

    def first(self, n: int) -> Ranked:
        """Return the first of them."""
        judged = None if self.relevance is None else self.relevance[:n]
        vectors = None if self.vectors is None else self.vectors[:n]
        return Ranked(self.ids[:n], self.cosines[:n], self.by_words[:n], judged, vectors)


class Ranking:
    """Ranks the photos for a question, as many as it is called for: the first of more are the same.

    To be used in one committed state of the store.
    """

    def __init__(
        self,
        store: SearchableStore,
        question: Question,
        names: Floats | None,
        written: Written | None = None,
    ) -> None:
        """Rank what is seen, and what is `written` too; judged where competing `names` are given.

        `names` (m, width) are unit vectors of the model.
        """
        self.store = store
        self.question = question
        self._names = names if names is not None and len(names) and question.kinds else None
        self._written = written
        self._seen: Ids = np.empty(0, np.int64)
        self._found: tuple[int, Floats, Ids] | None = None  # see `take`

    def searched_for(self, n: int) -> int:
        """Return how many nearest photos a call for n searches for; 0 where it does not."""
        if self.question.options.only == "words":
            return 0
        n = n if self._names is None else max(n, JUDGED)
        return n + _spare(self.question)

    def search_key(self, n: int) -> Hashable:
        """Return what calls for n have in common if one search does for all (`find_together`)."""
        question = self.question
        exact = question.options.exact
        return question.model.id, question.selected, exact, self.searched_for(n)

    def take(self, count: int, scores: Floats, ids: Ids) -> None:
        """Take what a search for so many nearest found, as `nearest` returns it (n,)."""
        self._found = count, scores, ids

    def __call__(self, n: int) -> Ranked:
        """Return the n best, or all there are."""
        if self._names is None:
            return self._ranked(n)
        ranked = self._ranked(max(n, JUDGED))  # the best of them tell whether the subject is there
        if not len(ranked.ids):
            return ranked
        question = self.question
        vectors = self.store.vectors(question.model.id, ranked.ids.tolist())
        found = relevance(question.vector, question.kinds, vectors, self._names)
        # As it is shown: what rounds to the limit is above it.
        return ranked._replace(relevance=np.round(found, 4), vectors=vectors).first(n)

    def _ranked(self, n: int) -> Ranked:
        if self._written is None:
            ids, cosines = self._by_sight(n)
            return Ranked(ids, cosines, np.zeros(len(ids), np.bool_))
        return self._merged(n)

    def _merged(self, n: int) -> Ranked:
        """Return the n best of what is seen or written."""
        assert self._written is not None
        ids, cosines = np.empty(0, np.int64), np.empty(0, np.float32)
        if self.question.options.only != "words":
            ids, cosines = self._by_sight(n)
        self._seen = ids
        seen = dict(zip(ids.tolist(), cosines.tolist(), strict=True))
        while True:
            best = self._written.ranked(seen)[:n]
            behind = _behind(self.store, self.question, [id_ for id_ in best if id_ not in seen])
            if not behind:
                break
            self._written = self._written.but(behind)
        known = seen | dict(self._written.cosines)
        return Ranked(
            np.array(best, np.int64),
            np.array([known[id_] for id_ in best], np.float32),
            np.array([self._written.finds(id_) for id_ in best], np.bool_),
        )

    def _by_sight(self, n: int) -> tuple[Ids, Floats]:
        """Return the n nearest photos that may be an answer, with their cosines."""
        question, without = self.question, self.question.without
        count = n + _spare(question)
        if self._found is not None and self._found[0] == count:
            _, scores, ids = self._found
        else:
            (scores,), (ids,) = nearest(
                *(self.store, question.model, question.vector[np.newaxis], count),
                question.selected,
                exact=question.options.exact,
            )
        answers = (ids >= 0) & (scores >= question.least)
        if without:
            answers &= ~np.isin(ids, list(without))
        return ids[answers][:n], scores[answers][:n]

    @property
    def notes(self) -> list[str]:
        """What to say where words of some photos can't be found yet."""
        if self._written is None:
            return []
        from clipsearch.searching.words import not_covered

        return not_covered(self._written.missing, self.store.incomplete())

    def explained(self, hits: Sequence[Hit]) -> list[Hit]:
        """Return hits of it with why they were found, and the text that holds words."""
        if self._written is None:
            return list(hits)
        options = self.question.options
        nearest = set(self._seen[: options.offset + options.k].tolist())
        return self._written.explained(self.store, hits, nearest)


def ranking_of(
    store: SearchableStore,
    question: Question,
    names: Floats | None,
    words: str | None,
    logit_scale: float | None,
) -> Ranking:
    """Return the ranking for a question, by its `words` too; see `Ranking`."""
    if words is None:
        return Ranking(store, question, names)
    from clipsearch.searching.words import Written

    options = question.options
    written = Written.of(
        *(store, question.model.id, question.vector, words),
        scale=logit_scale,
        selected=question.selected,
        least=question.least,
        most=_LISTED + options.offset + options.k if options.only == "words" else None,
    )
    return Ranking(store, question, names, written)


def nearest(
    store: SearchableStore,
    model: ModelRow,
    vectors: Floats,
    k: int,
    selected: Selection | None,
    *,
    exact: bool,
) -> tuple[Floats, Ids]:
    """Return cosines and ids (n, k) of the nearest of what is selected to vectors (n, width).

    As `SearchableStore.search` does; but a raw photo behind a picture is none of them. As many more
    are asked for as that takes.
    """
    k = asked = min(k, photos_of(store, model, k))  # room is made for so many
    found = np.full((len(vectors), k), -np.inf, np.float32)
    photo_ids = np.full((len(vectors), k), -1, np.int64)
    left = np.arange(len(vectors))  # each asks for more until it has enough, as if it were alone
    while len(left):
        scores, ids = store.search(model.id, vectors[left], asked, selected=selected, exact=exact)
        raws = store.raw_photos(sorted(set(ids[ids >= 0].tolist())))
        behind = list(in_front_of(store, model, raws, selected))
        in_front = (ids >= 0) & ~np.isin(ids, behind) if behind else ids >= 0
        has_enough = (in_front.sum(axis=1) >= k) | (ids[:, -1] < 0)
        first = np.argsort(~in_front, axis=1, kind="stable")[:, :k]
        scores, ids = np.where(in_front, scores, -np.inf), np.where(in_front, ids, -1)
        found[left] = np.take_along_axis(scores, first, axis=1)
        photo_ids[left] = np.take_along_axis(ids, first, axis=1)
        left = left[~has_enough]
        asked *= 2
    return found, photo_ids


def _spare(question: Question) -> int:
    """Return for how many more is searched, which may be no answer.

    One at least: so questions with a photo of the library and without one go together.
    """
    return max(1, len(question.without))


def find_together(rankings: Sequence[Ranking], n: int) -> None:
    """Search for rankings at once that are called for n, and agree in `search_key(n)`."""
    question, count = rankings[0].question, rankings[0].searched_for(n)
    if not count:
        return
    vectors = np.stack([one.question.vector for one in rankings])
    scores, ids = nearest(
        *(rankings[0].store, question.model, vectors, count, question.selected),
        exact=question.options.exact,
    )
    for number, one in enumerate(rankings):
        one.take(count, scores[number], ids[number])


def _behind(store: SearchableStore, question: Question, ids: Sequence[int]) -> Iterable[int]:
    """Return the raw photos among some that stand behind a picture."""
    raws = store.raw_photos(ids) if ids else []
    return in_front_of(store, question.model, raws, question.selected)


def in_front_of(
    store: SearchableStore,
    model: ModelRow,
    raws: Sequence[PhotoRecord],
    selected: Selection | None,
) -> dict[int, int]:
    """Return the ids of the raw photos that have a picture beside them, and those of these."""
    if not raws:
        return {}
    from clipsearch.searching.raw_pairs import pictures_beside

    return pictures_beside(store, model.id, raws, selected)


def photos_of(store: SearchableStore, model: ModelRow, most: int) -> int:
    """Return how many photos a model has embedded, counted no further than `most`."""
    if most <= max(model.photos, _COUNTED_ANYWAY):
        return most
    return next(row.photos for row in store.models(count_to=most) if row.id == model.id)
