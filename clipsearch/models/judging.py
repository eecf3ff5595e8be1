"""The judge of what is to replace a tower: pictures, and how near their vectors must stay."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clipsearch.photos.preprocessing import Preprocessing

# The least cosine to float32, over the judge's pictures, with which a precision is used. The halves
# are held to more, since a few layers in float32 are enough for it: with 0.998 the built-in model
# lost 0.2 points of recall@10, and near photos changed their places.
LEAST_COSINE = 0.998
HALVED_LEAST_COSINE = 0.9994
# The same, of one of these pictures, for what is to change nothing.
SAME_LEAST_COSINE = 0.9999

# Mean and deviation of the judge's pictures, of 255: what is dark, faint or plain shows most what a
# precision rounds off, among photos too.
_LIGHT_AND_CONTRAST = tuple(
    zip((128, 20, 60, 128, 200, 20, 60, 200), (55, 12, 30, 12, 12, 30, 12, 30), strict=True)
)


def judges_pictures(
    preprocessing: Preprocessing, count: int = len(_LIGHT_AND_CONTRAST)
) -> list[NDArray[np.uint8]]:
    """Return pictures with as much coarse and fine detail as photos have, (height, width, 3).

    They are always the same: what a photo's vector is must not depend on which photos came first.
    Noise whose strength falls with its frequency, as it does in photos (Field, 1987).
    """
    import torch

    size = (preprocessing.height, preprocessing.width)
    generator = torch.Generator().manual_seed(0)
    pictures = []
    for light, contrast in _LIGHT_AND_CONTRAST[:count]:
        noise = torch.zeros(1, 3, *size)
        side = 2
        while side < max(size):
            coarse = torch.randn(1, 3, side, side, generator=generator)
            noise += torch.nn.functional.interpolate(coarse, size, mode="bilinear")
            side *= 2
        picture = light + contrast * (noise - noise.mean()) / noise.std()
        pictures.append(picture[0].permute(1, 2, 0).clamp(0, 255).to(torch.uint8).numpy())
    return pictures


def least_cosine(some: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    """Return the least cosine of the rows of both; NaN if a row has no direction."""
    dots = (some * others).sum(axis=1)
    lengths = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float((dots / lengths).min())
