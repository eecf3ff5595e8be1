"""Which words hold for a photo: pure, of vectors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# The least share of a word among all words for which a photo is tagged with it. Chosen on 1,000
# captioned photos, so that three of four tags are named in a caption, and tried on 6,325 others
# (`python -m benchmarks.tags`).
LEAST_SHARE = 0.25


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
