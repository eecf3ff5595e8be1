"""What a photo becomes for people to look at: a small WebP, or a JPEG that every browser shows.

Upright and in sRGB, as `open_image` gives it, and with nothing in it but the picture: no place, no
camera, no name.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clipsearch.photos.formats import translated_errors
from clipsearch.photos.opening import DEFAULT_MAX_MEGAPIXELS, OpenedImage, open_image

if TYPE_CHECKING:
    from PIL import Image

_QUALITY = {"WEBP": 80, "JPEG": 92}
_EFFORT = 2  # of 6, by the encoder of WebP: twice as quick as 4, for files 3 % larger
_LONGEST = {"WEBP": 16_383, "JPEG": 65_500}  # pixels a side: no file of the format takes more
_SMALL = 800  # pixels: pictures up to here are scaled from half as much again, which is sharper


@dataclass(frozen=True)
class Rendering:
    """Which picture is wanted."""

    format: Literal["WEBP", "JPEG"]
    side: int | None = None  # pixels that the longer side has at most; None: at full size


def render(
    data: bytes, rendering: Rendering, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
) -> tuple[OpenedImage, bytes]:
    """Open a file's bytes; return what was opened, and the picture that is wanted as a file.

    Raises UnreadableImage, the reason in plain words, and MemoryError.
    """
    opened = open_image(data, shrink_to=_shrink_to(rendering), max_megapixels=max_megapixels)
    picture = rendered(opened, rendering)
    if picture is None:  # a square, say: its longer side is no longer than the other
        opened = open_image(data, max_megapixels=max_megapixels)
        picture = _encoded(opened.image, _size(opened, rendering), rendering)
    return opened, picture


def rendered(opened: OpenedImage, rendering: Rendering) -> bytes | None:
    """Return the picture that is wanted as a file; None if it was opened at too small a scale."""
    size = _size(opened, rendering)
    if max(size) > max(opened.image.size):
        return None
    return _encoded(opened.image, size, rendering)


def _shrink_to(rendering: Rendering) -> int | None:
    """Return the `shrink_to` of a picture of 4:3 or longer, with which few are opened twice."""
    if rendering.side is None:
        return None
    longer = rendering.side * 3 / 2 if rendering.side <= _SMALL else rendering.side
    return round(longer * 3 / 4) // 3 + 1


def _size(opened: OpenedImage, rendering: Rendering) -> tuple[int, int]:
    """Return the width and height that the picture gets: never more than the photo has."""
    full = opened.metadata.width, opened.metadata.height
    longest = min(rendering.side or max(full), max(full), _LONGEST[rendering.format])
    width, height = (max(round(length * longest / max(full)), 1) for length in full)
    return width, height


def _encoded(image: Image.Image, size: tuple[int, int], rendering: Rendering) -> bytes:
    from PIL.Image import Resampling

    if max(size) > max(image.size):  # a raw photo of which there is but a preview
        size = image.size
    with translated_errors("picture", float("inf")):
        if size != image.size:
            image = image.resize(size, Resampling.BICUBIC)
        image.info = {}  # of which some would be written: profiles, comments
        stream = io.BytesIO()
        quality = _QUALITY[rendering.format]
        if rendering.format == "WEBP":
            image.save(stream, "WEBP", quality=quality, method=_EFFORT)
        else:
            image.save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()
