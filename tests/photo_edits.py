"""What people and programs do to a photo that stays the same photo, on real ones."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageEnhance, ImageOps
from PIL.Image import Resampling, Transpose

_ORIENTATION = 0x0112
_ON_ITS_RIGHT_SIDE = 6  # a quarter turn clockwise makes it upright


def _saved(image: Image.Image, kind: str = "JPEG", **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 90} | how))
    return file.getvalue()


def _marked(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = _ON_ITS_RIGHT_SIDE
    return _saved(image, exif=exif)


def _scaled(image: Image.Image, share: float) -> Image.Image:
    size = (max(round(image.width * share), 1), max(round(image.height * share), 1))
    return image.resize(size, Resampling.LANCZOS)


def _cropped(image: Image.Image, share: float, left: float, top: float) -> Image.Image:
    """Cut a share off the width and off the height: so much of it at the left and at the top."""
    across, down = image.width * share, image.height * share
    right, bottom = image.width - across * (1 - left), image.height - down * (1 - top)
    return image.crop((round(across * left), round(down * top), round(right), round(bottom)))


def _bordered(image: Image.Image, colour: str) -> Image.Image:
    return ImageOps.expand(image, round(min(image.size) * 0.05), colour)


# A name -> what makes the edit's file of an RGB picture.
EDITS: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg 30": lambda image: _saved(image, quality=30),
    "webp": lambda image: _saved(image, "WEBP", quality=60),
    "half size": lambda image: _saved(_scaled(image, 1 / 2), quality=85),
    "quarter size": lambda image: _saved(_scaled(image, 1 / 4), quality=85),
    "crop 5 %": lambda image: _saved(_cropped(image, 0.05, 0.5, 0.5)),
    "crop 10 %": lambda image: _saved(_cropped(image, 0.1, 0.5, 0.5)),
    "crop 10 % at a corner": lambda image: _saved(_cropped(image, 0.1, 0, 1)),
    "turned left": lambda image: _saved(image.transpose(Transpose.ROTATE_90)),
    "turned right": lambda image: _saved(image.transpose(Transpose.ROTATE_270)),
    "turned by exif": _marked,
    "stored turned": lambda image: _marked(image.transpose(Transpose.ROTATE_90)),
    "mirrored": lambda image: _saved(ImageOps.mirror(image)),
    "brighter": lambda image: _saved(ImageEnhance.Brightness(image).enhance(1.3)),
    "grey": lambda image: _saved(image.convert("L")),
    "white border": lambda image: _saved(_bordered(image, "white")),
    "black border": lambda image: _saved(_bordered(image, "black")),
}
