"""Which words hold for a photo: pure, of vectors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# The least share of a word among all words for which a photo is tagged with it. Chosen on 1,000
# captioned photos, so that three of four tags are named in a caption, and tried on 6,325 others
# (`python -m benchmarks.tags`).
LEAST_SHARE = 0.25
# Of fewer words than this, one has a great share of every photo, be there none of them on it. So a
# word must fit the photo, too: by so many standard deviations better than a name of some thing.
# Chosen on 1,000 captioned photos and lists of one to 25 words (`python -m benchmarks.tags`).
FEW_WORDS = 1000
LEAST_FIT = 2.0


def shares(
    photos: NDArray[np.float32], texts: NDArray[np.float32], scale: float
) -> NDArray[np.float32]:
    """Return how probable each text is for each photo if it is one of them, (photos, texts).

    The softmax of the scaled cosines, as the model was trained with (Radford et al. 2021, 3.1.2).

    Args:
        photos: unit vectors, float32 (photos, width).
        texts: unit vectors, float32 (texts, width).
        scale: what the model multiplies cosines by.
    """
    logits = np.float32(scale) * (photos @ texts.T)
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def fits(
    photos: NDArray[np.float32], texts: NDArray[np.float32], names: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Return whether each text fits each photo better than names of things do, (photos, texts).

    Args:
        photos: unit vectors, float32 (photos, width).
        texts: unit vectors, float32 (texts, width).
        names: those of a model's competing words, float32 (names, width).
    """
    others = photos @ names.T
    least = others.mean(axis=1) + np.float32(LEAST_FIT) * others.std(axis=1)
    fitting: NDArray[np.bool_] = photos @ texts.T >= least[:, np.newaxis]
    return fitting


def with_kinds(shares: NDArray[np.float32], broader: Mapping[int, int]) -> NDArray[np.float32]:
    """Return the shares (photos, words), each with those of its kinds: of dogs, all breeds.

    Args:
        shares: of each word alone; it is not changed.
        broader: of a word's number, that of the word which holds wherever it does.
    """
    whole = shares.copy()
    for word in range(shares.shape[1]):
        seen = {word}
        wider = broader.get(word)
        while wider is not None and wider not in seen:
            whole[:, wider] += shares[:, word]
            seen.add(wider)
            wider = broader.get(wider)
    return whole
