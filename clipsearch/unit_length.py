"""The one place where vectors are made unit length."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def unit_length(vectors: ArrayLike) -> NDArray[np.float32]:
    """Return the vectors (..., d) as float32, each divided by its length; zero vectors stay zero.

    Raises ValueError when a vector holds NaN or infinity: it has no direction.
    """
    array = np.asarray(vectors, dtype=np.float32)
    if not np.isfinite(array).all():
        raise ValueError("a vector holds NaN or infinity")
    # float64, so that neither very long nor very short vectors overflow when squared
    lengths = np.linalg.norm(array.astype(np.float64), axis=-1, keepdims=True)
    return (array / np.where(lengths == 0, 1.0, lengths)).astype(np.float32)
