"""Finding the photos that have words of a question, and how much each of the words says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import LibraryError
from clipsearch.index.database import Database
from clipsearch.index.selection import Selection, rising
from clipsearch.index.word_search.splitting import STAR
from clipsearch.index.word_search.word_index import INDEX, SINCE, is_usable, of_the_index_alone

_NONE = np.empty(0, np.int64)
# A word that more photos have, and a larger share of all, says nothing.
COMMON, COMMON_SHARE = 1_000, 0.05
_LEAST_PREFIX = 4  # letters of a word that is looked for as the beginning of others, too
_OF_A_PREFIX = 0.6  # what is then found says so much of it


class WordsFound(NamedTuple):
    """The photos that have some of the words asked for."""

    photo_ids: NDArray[np.int64]  # (n,), rising
    has: NDArray[np.bool_]  # (n, words): the photo has the word
    # (words,), 0 to 1: how much a word says, the more the rarer it is; 0 of one in too many photos.
    weights: NDArray[np.float32]
    missing: int = 0  # photos whose words can't be found until the library is next written to


def weight(photos_with: int, photos: int) -> float:
    """Return how much a word says that so many of all photos have: 0 to 1.

    Its inverse document frequency as BM25 smooths it, as a share of the greatest there can be.
    """
    if photos_with > COMMON and photos_with > COMMON_SHARE * photos:
        return 0.0
    return max(0.0, min(1.0, log((photos + 1) / (photos_with + 0.5)) / log(photos + 1)))


def nothing_found(words: int, missing: int = 0) -> WordsFound:
    """Return what is found where there is nothing."""
    return WordsFound(_NONE, np.empty((0, words), np.bool_), np.ones(words, np.float32), missing)


class WordFinder:
    """Searches the index of words of one catalog, for any thread."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: tuple[object, _Known] | None = None  # with the state it is known of

    def find(self, words: Sequence[str], selected: Selection | None = None) -> WordsFound:
        """Return all photos, or those selected, that have some of the words of `asked_words`.

        A word that ends in a star stands for all that begin so; so does one, but says less, that
        no photo has as it is.
        """
        with self._db.reading():
            known = self._known_now()
            if not known.is_usable:
                return nothing_found(len(words), known.photos)
            try:
                found = self._photos_with(words, known)
            except LibraryError as error:
                if not of_the_index_alone(error):
                    raise
                return nothing_found(len(words), known.photos)
        known_ones = known.indexed if len(known.indexed.ids) else None
        return found_of(found, selected, known_ones)

    def _known_now(self) -> _Known:
        """Return what there is to be searched in the state that is being read."""
        state, last = self._db.state(), self._known
        if last is not None and last[0] == state:
            return last[1]
        photos = int(self._db.value("SELECT count(*) FROM photos"))
        usable = self._db.schema >= SINCE and is_usable(self._db)
        stale = self._db.rows("SELECT photo_id FROM stale_words") if usable else []
        known = _Known(usable, photos, Selection.all_but_these([id_ for (id_,) in stale]), set())
        self._known = state, known
        return known

    def _photos_with(
        self, words: Sequence[str], known: _Known
    ) -> list[tuple[NDArray[np.int64], float]]:
        """Return for each word the ids of the photos with it, and how much it says."""
        found: dict[str, tuple[NDArray[np.int64], float]] = {}
        readings = {word: readings_of(word) for word in words}
        for turn in range(_MOST_READINGS):
            left = {
                word: of[turn]
                for word, of in readings.items()
                if word not in found and turn < len(of)
            }
            counts = self._counts([one for one, _ in left.values()], known)
            for (word, (one, share)), count in zip(left.items(), counts, strict=True):
                if one in known.common:
                    found[word] = _NONE, 0.0
                elif count:
                    ids = np.fromstring(self._db.value(_IDS, (_match(one),)), np.int64, sep=",")
                    found[word] = ids, share * weight(count, known.photos)
        return [found.get(word, (_NONE, 1.0)) for word in words]

    def _counts(self, readings: Sequence[str], known: _Known) -> list[int]:
        """Count the photos with each, no further than where it says nothing; notes which do not."""
        most = max(COMMON, int(COMMON_SHARE * known.photos))
        rare = [one for one in readings if one not in known.common]
        matches = json.dumps([_match(one) for one in rare])
        rows = self._db.rows(_COUNTS, (most + 1, matches)) if rare else []
        counts = {one: int(count) for one, (count,) in zip(rare, rows, strict=True)}
        known.common.update(one for one, count in counts.items() if count > most)
        return [counts.get(one, 0) for one in readings]


class _Known(NamedTuple):
    """What is known of an index in one state of the catalog."""

    is_usable: bool
    photos: int  # in the library
    indexed: Selection  # all but those that the index does not stand for
    common: set[str]  # words that were found to say nothing


def found_of(
    found: Sequence[tuple[NDArray[np.int64], float]],
    selected: Selection | None,
    indexed: Selection | None = None,
) -> WordsFound:
    """Put together for each word the ids of the photos that have it, and what it says.

    Those that are not `indexed` don't count, whatever the index says.
    """
    ids = rising(np.concatenate([_NONE, *(some for some, _ in found)]))
    for only in filter(None, (selected, indexed)):
        ids = ids[only.holds(ids)]
    has = np.zeros((len(ids), len(found)), np.bool_)
    for place, (some, _) in enumerate(found):
        has[:, place] = np.isin(ids, some)
    weights = np.array([says for _, says in found], np.float32)
    return WordsFound(ids, has, weights, 0 if indexed is None else len(indexed.ids))


def readings_of(word: str) -> list[tuple[str, float]]:
    """Return as what a word is looked for, one after the other, and what each counts of it."""
    if word.endswith(STAR) or len(word) < _LEAST_PREFIX:
        return [(word, 1.0)]
    return [(word, 1.0), (word + STAR, _OF_A_PREFIX)]


def _match(reading: str) -> str:
    """Return the query of FTS5 for one word, or for the beginning of some."""
    return f'"{reading[:-1]}" *' if reading.endswith(STAR) else f'"{reading}"'


_MOST_READINGS = 2  # of a word
_COUNTS = (  # one statement for all words: each takes as long as what it finds out
    f"SELECT (SELECT count(*) FROM (SELECT 1 FROM {INDEX} WHERE {INDEX} MATCH value LIMIT ?)) "
    "FROM json_each(?) ORDER BY key"
)
_IDS = f"SELECT group_concat(rowid) FROM {INDEX} WHERE {INDEX} MATCH ?"  # a fifth of rows' time
