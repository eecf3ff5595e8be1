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

    `similarity` is [images, texts]; `image_of_text[j]` is the row of text j's photo. A wrong
    photo that ties with the right one counts as ranked before it, so that a model which gives
    all pairs the same score earns nothing.

    >>> similarity = np.array([[0.9, 0.6, 0.1, 0.5],
    ...                        [0.2, 0.7, 0.8, 0.4]])
    >>> text_to_image(similarity, [0, 0, 1, 1], ks=(1, 2))
    RetrievalMetrics(recall_at={1: 0.5, 2: 1.0}, median_rank=1.5)

    Texts 0 and 2 find their photo first (0.9 > 0.2, 0.8 > 0.1), texts 1 and 3 second.
    """
    owner = np.asarray(image_of_text)
    right = similarity[owner, np.arange(similarity.shape[1])]
    # The right photo itself is among those that reach its score, so its rank starts at 1.
    return _summary((similarity >= right).sum(axis=0), ks)


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
    owner = np.asarray(image_of_text)
    is_right = owner[None, :] == np.arange(similarity.shape[0])[:, None]  # (images, texts)
    best = np.where(is_right, similarity, -np.inf).max(axis=1, keepdims=True)
    wrong_before = (similarity >= best) & ~is_right
    return _summary(1 + wrong_before.sum(axis=1), ks)


def _summary(ranks: NDArray[np.integer], ks: Sequence[int]) -> RetrievalMetrics:
    recall = {k: float((ranks <= k).mean()) for k in ks}
    return RetrievalMetrics(recall, float(np.median(ranks)))
