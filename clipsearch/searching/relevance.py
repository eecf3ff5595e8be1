"""How much a photo answers a question: a number from 0 to 1 that means the same for every model.

No cosine says it: what fits well is 0.2 for one question and 0.5 for another. So the question is
held against a thousand names of things, embedded by the same model: does it describe this photo
better than they do? docs/relevance.md has it in plain words, benchmarks/relevance.py the figures,
and where the constants come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch.searching.combining import summed
from clipsearch.words.english import not_english, words_in

NOT_JUDGED = (
    "weak matches are shown too: what tells them apart is missing for this model; "
    "`clipsearch index` makes it"
)
_AT_ONCE = 4096  # photos whose cosines with all names are held: what bounds memory
_LEAST = 1e-6  # what is divided by is no less
JUDGED = 10  # of the best photos, by which it is told whether the subject is there at all
_BEST = 3  # of them, whose fit counts

# Names as near to the question as this don't compete: "puppy" is no argument against "dog". The
# nearness runs from 0, as near as names are on average, to 1, the same; and relative to the nearest
# name, for a sentence is near to none.
_TOO_NEAR = 0.625
_TOO_NEAR_OF_NEAREST = 0.65
# Of the softmax over names, per standard deviation of a photo's cosines with all names. So a model
# whose cosines lie closely together is read as sharply as any other.
_SHARPNESS = 6.0
# Two logistic models, learned from photos and nouns that they are not measured on:
# `python -m benchmarks.relevance --learn`. The first tells of a library, or of what passes the
# filters, whether the subject is there; the second of a photo, whether a caption names it.
_SHARE, _BEST_FIT, _NEAREST, _THERE = 0.124, 0.481, -0.103, -1.879
_FIT, _FIT_NEAREST, _SHOWS = 0.96, -2.88, -2.85
# From where it is called likely, and strong. A photo is likely as soon as the least of those that
# do show their subjects and come among the first ten.
_THERE_CUT, _THERE_STRONG = -1.02, 0.0
_SHOWS_CUT, _SHOWS_STRONG = -2.56, -1.0
# Of two pictures: how alike their cosines with the names are, as a correlation.
_ALIKE_CUT, _ALIKE_STRONG = 0.62, 0.78


@dataclass(frozen=True)
class Evidence:
    """What tells whether photos answer a question of words."""

    fit: NDArray[np.float32]  # standard deviations above a name's cosine with the photo, (photos,)
    nearest: float  # how near the nearest name is to the question, 0 to 1
    # Of the JUDGED photos with the highest cosines:
    best: float  # the largest log of the part that the question has among the names
    best_fit: float  # the mean of the _BEST largest fits

    def of_all(self) -> NDArray[np.float32]:
        """Return (3,): what tells whether the subject is there at all."""
        return np.array([self.best, self.best_fit, self.nearest], np.float32)

    def of_each(self) -> NDArray[np.float32]:
        """Return (photos, 2): what tells whether a photo shows it."""
        return np.stack([self.fit, np.full_like(self.fit, self.nearest)], axis=1)


def of_words(
    question: NDArray[np.float32], photos: NDArray[np.float32], names: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the relevance (n,) of photos (n, width) to the vector (width,) of a text.

    All are unit vectors of one model; `names` (m, width) are its competing words. The photos must
    have the JUDGED nearest to the question among them: where the subject is missing from those, all
    are weak. A photo is as relevant as the lesser of the two says: that the subject is there, and
    that this photo shows it.
    """
    found = evidence(question, photos, names)
    there = found.of_all() @ np.array([_SHARE, _BEST_FIT, _NEAREST], np.float32) + _THERE
    shows = found.of_each() @ np.array([_FIT, _FIT_NEAREST], np.float32) + _SHOWS
    lesser: NDArray[np.float32] = np.minimum(
        _from_cuts(there, _THERE_CUT, _THERE_STRONG), _from_cuts(shows, _SHOWS_CUT, _SHOWS_STRONG)
    )
    return lesser


def evidence(
    question: NDArray[np.float32], photos: NDArray[np.float32], names: NDArray[np.float32]
) -> Evidence:
    """Return what `of_words` weighs."""
    nearness = _nearness(question, names)
    nearest = float(nearness.max())
    competing = nearness < min(_TOO_NEAR, _TOO_NEAR_OF_NEAREST * nearest)
    of_question = photos @ question
    mean, spread = (np.empty(len(photos), np.float32) for _ in range(2))
    for start in range(0, len(photos), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        mean[part], spread[part] = _moments(photos[part] @ names.T)
    fit = (of_question - mean) / spread
    first = np.argsort(-of_question, kind="stable")[:JUDGED]
    others = photos[first] @ names[competing].T - mean[first, None]
    others *= _SHARPNESS / spread[first, None]
    own = _SHARPNESS * fit[first]
    share = own - np.logaddexp(_log_sum_exp(others), own)
    return Evidence(
        fit=fit,
        nearest=nearest,
        best=float(share.max()),
        best_fit=float(np.sort(fit[first])[-_BEST:].mean()),
    )


def of_picture(
    question: NDArray[np.float32], photos: NDArray[np.float32], names: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the relevance (n,) of photos (n, width) to the vector of a picture, likewise.

    Each photo for itself: two pictures are alike if the same names fit them.
    """
    alike = _profiles(photos @ names.T) @ _profiles(question @ names.T)
    return _from_cuts(alike, _ALIKE_CUT, _ALIKE_STRONG)


def relevance(
    question: NDArray[np.float32],
    kinds: Collection[str],
    photos: NDArray[np.float32],
    names: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the relevance (n,) of photos to a question, or a sum of "text" and "picture" parts.

    Where a sum has both, the kinder reading counts: each sees but a part of it.
    """
    readings = [
        judge(question, photos, names)
        for kind, judge in (("text", of_words), ("picture", of_picture))
        if kind in kinds
    ]
    kinder: NDArray[np.float32] = np.maximum.reduce(readings)
    return kinder


def _nearness(question: NDArray[np.float32], names: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how near names (m,) are to a question: 0 for the average, 1 for the same vector."""
    cosines = names @ question
    middle = float(cosines.mean())
    nearness: NDArray[np.float32] = (cosines - np.float32(middle)) / max(1 - middle, _LEAST)
    return nearness


def _moments(cosines: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation (n,) of each photo's cosines with names (n, m).

    From the sums of squares, which is exact enough here and half the work.
    """
    mean = cosines.mean(axis=1)
    squares = np.einsum("nm,nm->n", cosines, cosines) / np.float32(cosines.shape[1])
    return mean, np.sqrt(np.maximum(squares - mean * mean, np.float32(_LEAST**2)))


def _profiles(cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return cosines with the names (…, m), centred and of unit length: products correlate them."""
    centred = cosines - cosines.mean(axis=-1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=-1, keepdims=True)
    profiles: NDArray[np.float32] = centred / np.maximum(lengths, _LEAST)
    return profiles


def _log_sum_exp(values: NDArray[np.float32]) -> NDArray[np.float32]:
    most = values.max(axis=1)
    summed: NDArray[np.float32] = most + np.log(np.exp(values - most[:, None]).sum(axis=1))
    return summed


def _from_cuts(
    values: NDArray[np.float32] | np.float32, likely: float, strong: float
) -> NDArray[np.float32]:
    """Return values as numbers from 0 to 1: from `likely` on 0.5 and more, from `strong` on 0.75.

    A logistic function, which is 0.75 at the logarithm of 3.
    """
    slope = np.float32(math.log(3) / (strong - likely))
    placed: NDArray[np.float32] = np.asarray(slope * (values - np.float32(likely)), np.float32)
    return np.float32(1) / (np.float32(1) + np.exp(-placed))


def kinds_of(query: object) -> frozenset[str]:
    """Return of what kinds a query is, or the parts of a sum of which more is wanted."""
    parts = [one.query for one in summed(query).terms if one.weight > 0]
    return frozenset("text" if isinstance(part, str) else "picture" for part in parts)


def unread(query: object, reads_only_english: Callable[[], bool]) -> list[str]:
    """Return what to say of a question whose texts the model can't read, a line or none."""
    words = [word for text in summed(query).texts for word in words_in(text)]
    unknown = not_english(words)
    if not unknown or not reads_only_english():
        return []
    from clipsearch.searching.known_words import note_on

    note = note_on(words, unknown)
    return [note] if note else []
