"""Recall at k and median rank: pure functions of a similarity matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RetrievalMetrics:
    """How often the right answer is among the first k, and its median rank (1 is best)."""

    recall_at: dict[int, float]
    median_rank: float


def text_to_image(
    similarity: NDArray[np.floating],
    image_of_text: Sequence[int] | NDArray[np.integer],
    *,
    ks: Sequence[int] = (1, 5, 10),
) -> RetrievalMetrics:
    """Score the search for the photo that each text describes.

    `similarity` is float (images, texts); `image_of_text`, integers (texts,), holds the row of each
    text's photo. A wrong photo that ties with the right one counts as ranked before it, so that a
    model which gives all pairs the same score earns nothing.

    >>> similarity = np.array([[0.9, 0.6, 0.1, 0.5],
    ...                        [0.2, 0.7, 0.8, 0.4]])
    >>> text_to_image(similarity, [0, 0, 1, 1], ks=(1, 2))
    RetrievalMetrics(recall_at={1: 0.5, 2: 1.0}, median_rank=1.5)

    Texts 0 and 2 find their photo first (0.9 > 0.2, 0.8 > 0.1), texts 1 and 3 second.
    """
    return _summary(text_ranks(similarity, _is_own(similarity, image_of_text)), ks)


def image_to_text(
    similarity: NDArray[np.floating],
    image_of_text: Sequence[int] | NDArray[np.integer],
    *,
    ks: Sequence[int] = (1, 5, 10),
) -> RetrievalMetrics:
    """Score the search for any of the texts that describe a photo: the best ranked one counts.

    Arguments and ties are those of `text_to_image`; every photo needs at least one text.

    >>> similarity = np.array([[0.9, 0.6, 0.1, 0.5],
    ...                        [0.2, 0.7, 0.8, 0.4]])
    >>> image_to_text(similarity, [0, 0, 1, 1], ks=(1, 2))
    RetrievalMetrics(recall_at={1: 1.0, 2: 1.0}, median_rank=1.0)
    >>> image_to_text(similarity, [1, 1, 0, 0], ks=(1, 2))
    RetrievalMetrics(recall_at={1: 0.0, 2: 0.5}, median_rank=2.5)

    In the second case photo 0's texts (0.1, 0.5) stand behind 0.9 and 0.6: rank 3; photo 1's
    better text (0.7) stands behind 0.8: rank 2.
    """
    return _summary(image_ranks(similarity, _is_own(similarity, image_of_text)), ks)


def text_ranks(similarity: NDArray[np.floating], is_right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return where the best right photo stands for each text, int64 (texts,), 1 being first.

    `similarity` is float, `is_right` bool, both (images, texts). A wrong photo that ties counts as
    ranked before, and so does one whose score is no number: a model that has diverged earns
    nothing.
    """
    return image_ranks(similarity.T, is_right.T)


def image_ranks(similarity: NDArray[np.floating], is_right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return where the best right text stands for each photo, int64 (images,), as `text_ranks`."""
    best = np.where(is_right, similarity, -np.inf).max(axis=1, keepdims=True)
    before = ~(similarity < best) & ~is_right
    ranks: NDArray[np.int64] = 1 + before.sum(axis=1, dtype=np.int64)
    return ranks


def _is_own(
    similarity: NDArray[np.floating], image_of_text: Sequence[int] | NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Return which text is whose, bool (images, texts)."""
    photos = np.arange(similarity.shape[0])[:, None]
    is_own: NDArray[np.bool_] = photos == np.asarray(image_of_text)[None, :]
    return is_own


def _summary(ranks: NDArray[np.integer], ks: Sequence[int]) -> RetrievalMetrics:
    recall = {k: float((ranks <= k).mean()) for k in ks}
    return RetrievalMetrics(recall, float(np.median(ranks)))
