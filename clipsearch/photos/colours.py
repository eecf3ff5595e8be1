"""A decoded picture of any mode and colour profile becomes plain RGB, in sRGB."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image, ImageCms


def to_rgb(image: Image.Image) -> Image.Image:
    """Return plain RGB: alpha on white, deep gray scaled, other colour spaces converted."""
    icc = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image).convert("RGB")
    if image.mode == "LAB":
        return _from_lab(image)
    if image.mode == "CMYK":
        return _in_srgb(image, icc) or image.convert("RGB")
    if image.has_transparency_data:
        rgb = _on_white(image)
    else:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
    return _in_srgb(rgb, icc) or rgb


def _on_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    straight = {"La": "LA", "RGBa": "RGBA"}  # premultiplied by alpha
    if image.mode in straight:
        image = image.convert(straight[image.mode])
    rgba = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(rgba, mask=rgba)
    return white


def _eight_bits(image: Image.Image) -> Image.Image:
    """Bring gray of 16 or 32 bits or floating point to 8 bits by its true range."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    black, white = _black_and_white(values)
    scaled = (values.astype(np.float32) - black) * (255 / max(white - black, 1e-30))
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _black_and_white(values: NDArray[np.generic]) -> tuple[float, float]:
    """Return the values that stand for black and white, which few files say.

    Whole numbers fill 8, 10, 12, 14 or 16 bits, floating point 0 to 1 or 0 to 255; all else is
    measurements, shown from their least to their greatest.
    """
    low, high = float(values.min()), float(values.max())
    whites = (1.0, 255.0) if values.dtype.kind == "f" else (255, 1023, 4095, 16383, 65535)
    for white in whites:
        if low >= 0 and high <= white:
            return 0, white
    return low, high


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # only None where it works in place
    return converted


def _in_srgb(image: Image.Image, icc: object) -> Image.Image | None:
    """Return the picture in sRGB if its colour profile means other colours, else None.

    Models learn from web pictures, nearly all sRGB. Wide-gamut photos (phones, Adobe RGB) look dull
    when their numbers are taken for sRGB, and CMYK without its profile looks garish.
    """
    from PIL import ImageCms

    if not isinstance(icc, bytes) or not icc:
        return None
    transform = _transform_to_srgb(icc, image.mode)
    if transform is None:
        return None
    try:
        return transform.apply(image)
    except (ImageCms.PyCMSError, ValueError):
        return None


@lru_cache(maxsize=16)
def _transform_to_srgb(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return how to get from a profile to sRGB; None where it is damaged or changes nothing."""
    from PIL import Image, ImageChops, ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(profile, srgb, mode, "RGB")
        if mode != "RGB":
            return transform
        levels = range(0, 256, 51)
        samples = bytes(v for r in levels for g in levels for b in levels for v in (r, g, b))
        probe = Image.frombytes("RGB", (36, 6), samples)
        change = ImageChops.difference(probe, transform.apply(probe))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return transform if max(change.tobytes()) > 2 else None
