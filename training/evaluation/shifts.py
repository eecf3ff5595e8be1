"""Photos made harder: functions of the pixels that a model is given, after scaling (pure).

Where ImageNet-C (Hendrycks and Dietterich, 2019) has the shift, this is its severity 3 of 5. Shifts
work at the model's own size, so their strength is the same share of the picture for every model,
but for noise, which is per pixel.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

Pixels = NDArray[np.uint8]  # (height, width, 3)

BLUR = 3 / 224  # standard deviation, as a share of the shorter side
NOISE = 0.18  # standard deviation, of values from 0 to 1
JPEG_QUALITY = 15
SKETCH_STROKE = 4 / 224  # as BLUR


def _blurred(pixels: Pixels, seed: int) -> Pixels:
    return _filtered(pixels, lambda image: image.filter(_gaussian(image, BLUR)))


def _noisy(pixels: Pixels, seed: int) -> Pixels:
    noise = np.random.default_rng(seed).normal(scale=255 * NOISE, size=pixels.shape)
    noisy: Pixels = (pixels + noise).round().clip(0, 255).astype(np.uint8)
    return noisy


def _compressed(pixels: Pixels, seed: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _grey(pixels: Pixels, seed: int) -> Pixels:
    return _filtered(pixels, lambda image: image.convert("L"))


def _sketched(pixels: Pixels, seed: int) -> Pixels:
    """Pencil on paper: each pixel's brightness as a share of that around it, at most white."""
    grey = Image.fromarray(pixels).convert("L")
    around = ImageOps.invert(grey).filter(_gaussian(grey, SKETCH_STROKE))
    paper = 255 - np.asarray(around, np.float32)
    lines = np.asarray(grey, np.float32) * 255 / np.maximum(paper, 1)
    return np.repeat(lines.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _gaussian(image: Image.Image, share: float) -> ImageFilter.GaussianBlur:
    return ImageFilter.GaussianBlur(share * min(image.size))


def _filtered(pixels: Pixels, how: Callable[[Image.Image], Image.Image]) -> Pixels:
    return np.asarray(how(Image.fromarray(pixels)).convert("RGB"))


# Each takes the pixels and a seed, which is the same for a photo whatever the model.
SHIFTS: dict[str, Callable[[Pixels, int], Pixels]] = {
    "blur": _blurred,
    "noise": _noisy,
    "jpeg": _compressed,
    "grey": _grey,
    "sketch": _sketched,
}
SEVERITY = {
    "blur": f"Gaussian, standard deviation {100 * BLUR:.1f}% of the side",
    "noise": f"Gaussian, standard deviation {NOISE:g} of the range",
    "jpeg": f"quality {JPEG_QUALITY}",
    "grey": "no colour",
    "sketch": f"pencil lines, stroke {100 * SKETCH_STROKE:.1f}% of the side",
}
