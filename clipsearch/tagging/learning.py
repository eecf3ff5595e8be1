"""A tag learned from a few photos: one linear solve of the model's width. Pure, of vectors."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10

import numpy as np
from numpy.typing import NDArray

# Shares of the mean variance that are added to each, so that directions in which the library hardly
# differs, or which too few photos tell of, don't decide.
_LEAST_RIDGE = 0.01
_RIDGE_OF_FEW = 0.3  # times width / photos
_DOUBT = 0.3  # in an example, as a share of what the mean one weighs
_ONE_ALONE = 0.4  # of its own score a single example would have if it were left out, about
_BACKGROUND = 99.9  # percentile of the library
_LIKE_THE_EXAMPLES = 0.85  # of their score: what has it is no background
# Where more than this share of the library scores nearly what examples do, the subject is no rare
# one: then the library is taken without what is like it, which would hide it else.
_MANY = 0.02
_ALIKE = 0.6
_WITH_REFUSED = 0.6
_REFUSED = 0.0  # the score wanted of what it is not, as of the library's mean; of an example: 1


@dataclass(frozen=True)
class Learned:
    """A photo `x` (width,) has the tag where `x @ weights + added` is at least 0.5."""

    weights: NDArray[np.float32]  # (width,)
    added: float

    def scores(self, photos: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how far each photo (n, width) has the tag (n,): 0 to 1, from 0.5 on likely."""
        found: NDArray[np.float32] = np.clip(photos @ self.weights + np.float32(self.added), 0, 1)
        return found


class Background:
    """What the photos of a library are like: where they lie, and how they differ."""

    def __init__(self, photos: NDArray[np.float32]) -> None:
        """Take the unit vectors (n, width) of a library, or of many photos of it; n is above 0."""
        self.photos = photos
        self.mean = photos.mean(axis=0).astype(np.float64)
        apart = photos - photos.mean(axis=0)
        width = photos.shape[1]
        spread = (apart.T @ apart).astype(np.float64) / len(photos)
        mean = np.trace(spread) / width or 1.0  # of photos that are all the same
        ridge = max(_LEAST_RIDGE, _RIDGE_OF_FEW * width / len(photos))
        self.spread = spread + ridge * mean * np.eye(width)


def learn(
    examples: NDArray[np.float32], is_one: NDArray[np.bool_], background: Background
) -> Learned:
    """Return what tells a tag, learned from some photos that have it, and some that haven't.

    The weights are C^-1 (D^T a): C the library's covariance, D the examples less the library's
    mean, and a = (D C^-1 D^T + r I)^-1 y, with y 1 for what has the tag, and 0 else. Of examples
    that have it alone, that is nearly the linear discriminant (Fisher 1936) of their mean against
    the library's. The cut lies half way between the library and the examples, each left out in
    turn, whose scores follow from the one solve (Rasmussen and Williams 2006, 5.4.2).

    Args:
        examples: unit vectors, float32 (n, width), at least one of which has the tag.
        is_one: bool (n,), whether each has it.
        background: the library.
    """
    found = _learn(examples, is_one, background)
    like_it = found.scores(background.photos) >= _ALIKE * found.level
    if _MANY * len(like_it) < like_it.sum() < len(like_it):
        found = _learn(examples, is_one, Background(background.photos[~like_it]))
    weights = found.weights * (0.5 / found.cut)
    return Learned(weights.astype(np.float32), float(-found.mean @ weights))


@dataclass(frozen=True)
class _Found:
    """What was learned, before it is scaled: the library's mean scores 0, examples about 1."""

    weights: NDArray[np.float64]  # (width,)
    mean: NDArray[np.float64]  # (width,), of the library
    level: float  # what examples score that are left out
    cut: float

    def scores(self, photos: NDArray[np.float32]) -> NDArray[np.float64]:
        scores: NDArray[np.float64] = (photos - self.mean) @ self.weights
        return scores


def _learn(
    examples: NDArray[np.float32], is_one: NDArray[np.bool_], background: Background
) -> _Found:
    apart = examples.astype(np.float64) - background.mean
    solved = np.linalg.solve(background.spread, apart.T)  # (width, n)
    alike = apart @ solved  # (n, n)
    doubt = _DOUBT * float(np.trace(alike)) / len(alike) or 1.0  # of examples at the mean itself
    inverse = np.linalg.inv(alike + doubt * np.eye(len(alike)))
    wanted = np.where(is_one, 1.0, _REFUSED)
    shares = inverse @ wanted
    weights = solved @ shares
    left_out = wanted - shares / np.diag(inverse)
    if is_one.sum() == 1:
        left_out[is_one] = _ONE_ALONE * (apart @ weights)[is_one]
    ones = left_out[is_one]
    # The more examples there are, the more of them are those that were found first.
    level = float(np.percentile(ones, min(50.0, 150 / len(ones))))
    library = (background.photos - background.mean) @ weights
    return _Found(weights, background.mean, level, _cut(library, level, left_out[~is_one]))


def _cut(library: NDArray[np.float64], level: float, others: NDArray[np.float64]) -> float:
    """Return the least score of what is taken for one; above 0."""
    middle, deviation = _middle_and_deviation(library)
    # The more photos there are, the more are like the examples by chance. What was refused keeps
    # those off better than a number of deviations.
    deviations = 4 + 0.75 * log10(len(library))
    least = middle + deviations * (_WITH_REFUSED if len(others) else 1) * deviation
    unlike = library[library < max(_LIKE_THE_EXAMPLES * level, least)]
    below = float(np.percentile(unlike, _BACKGROUND)) if len(unlike) else middle
    refused = others[others < level]
    if len(refused):
        below = max(below, float(np.median(refused)))
    return float(max((below + level) / 2, least, 1e-6))


def _middle_and_deviation(scores: NDArray[np.float64]) -> tuple[float, float]:
    """Return the median, and the standard deviation as the middle half tells it."""
    middle = float(np.median(scores))
    return middle, 1.4826 * float(np.median(np.abs(scores - middle)))
