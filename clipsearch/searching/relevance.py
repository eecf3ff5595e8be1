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

# Names as near to the question as this don't compete: "puppy" is no argument against "dog". The
# nearness runs from 0, as near as names are on average, to 1, the same; and relative to the nearest
# name, for a sentence is near to none.
_TOO_NEAR = 0.625
_TOO_NEAR_OF_NEAREST = 0.65
# Of the softmax over names, per standard deviation of a photo's cosines with all names. So a model
# whose cosines lie closely together is read as sharply as any other.
_SHARPNESS = 6.0
# A logistic model of whether a photo's captions name the subject, learned from photos and nouns
# that it is not measured on: `python -m benchmarks.relevance --learn`. Then moved, so that 0.5 is
# where the weak begin.
_SHARE, _FIT, _NEAREST, _ALL = 0.12, 0.90, -1.59, -3.41
_CUT = -1.9
# Of two pictures: how alike their cosines with the names are, as a correlation.
_ALIKE_CUT, _ALIKE_STRONG = 0.57, 0.72


@dataclass(frozen=True)
class Evidence:
    """What tells whether photos answer a question of words."""

    share: NDArray[np.float32]  # log of the part that the question has among the names, (photos,)
    fit: NDArray[np.float32]  # standard deviations above a name's cosine with the photo, (photos,)
    nearest: float  # how near the nearest name is to the question, 0 to 1
    best: float  # the largest share among the JUDGED photos with the highest cosines

    def features(self) -> NDArray[np.float32]:
        """Return (photos, 3): the best share, each photo's fit, the nearness."""
        same = np.ones_like(self.fit)
        return np.stack([self.best * same, self.fit, self.nearest * same], axis=1)


def of_words(
    question: NDArray[np.float32], photos: NDArray[np.float32], names: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the relevance (n,) of photos (n, width) to the vector (width,) of a text.

    All are unit vectors of one model; `names` (m, width) are its competing words. The photos must
    have the JUDGED nearest to the question among them: where the subject is missing from those, all
    are weak.
    """
    features = evidence(question, photos, names).features()
    weighed = features @ np.array([_SHARE, _FIT, _NEAREST], np.float32) + np.float32(_ALL - _CUT)
    return _logistic(weighed)


def evidence(
    question: NDArray[np.float32], photos: NDArray[np.float32], names: NDArray[np.float32]
) -> Evidence:
    """Return what `of_words` weighs."""
    nearness = _nearness(question, names)
    nearest = float(nearness.max())
    competing = nearness < min(_TOO_NEAR, _TOO_NEAR_OF_NEAREST * nearest)
    of_question = photos @ question
    share, fit = (np.empty(len(photos), np.float32) for _ in range(2))
    for start in range(0, len(photos), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        cosines = photos[part] @ names.T  # (n, m)
        mean, spread = cosines.mean(axis=1), np.maximum(cosines.std(axis=1), _LEAST)
        fit[part] = (of_question[part] - mean) / spread
        others = (cosines[:, competing] - mean[:, None]) / spread[:, None]
        own = _SHARPNESS * fit[part]
        share[part] = own - np.logaddexp(_log_sum_exp(_SHARPNESS * others), own)
    first = np.argsort(-of_question, kind="stable")[:JUDGED]
    return Evidence(share, fit, nearest, float(share[first].max()))


def of_picture(
    question: NDArray[np.float32], photos: NDArray[np.float32], names: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the relevance (n,) of photos (n, width) to the vector of a picture, likewise.

    Each photo for itself: two pictures are alike if the same names fit them.
    """
    alike = _profiles(photos @ names.T) @ _profiles(question @ names.T)
    slope = np.float32(math.log(3) / (_ALIKE_STRONG - _ALIKE_CUT))  # 0.75 is the logistic of log 3
    return _logistic(slope * (alike - np.float32(_ALIKE_CUT)))


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


def _logistic(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.float32(1) / (np.float32(1) + np.exp(-values))


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
