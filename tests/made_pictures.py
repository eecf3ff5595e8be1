"""A picture that shows how it lies and what colours it has, and what becomes of it when opened."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from clipsearch.errors import UnreadableImage
from clipsearch.photos.opening import open_image


def photo(width: int = 120, height: int = 80) -> Image.Image:
    """Return a smooth picture without any symmetry: sky, ground and a sun at the upper left."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    sun = np.exp(-((x - 0.2) ** 2 + (y - 0.15) ** 2) / 0.01)
    ground = 1 / (1 + np.exp(-(y - 0.4 + 0.1 * x) * 30))
    red = 90 + 100 * ground + 150 * sun
    green = 130 - 40 * ground + 100 * sun + 30 * x
    blue = 220 - 180 * ground - 60 * sun
    pixels = np.stack([red, green, blue], axis=-1)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, format_name: str, **options: object) -> bytes:
    stream = io.BytesIO()
    if format_name == "HEIF":
        pillow_heif.from_pillow(image).save(stream, **options)
    else:
        image.save(stream, format_name, **options)
    return stream.getvalue()


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference of two pictures, in levels of 0 to 255."""
    assert one.size == other.size
    assert one.mode == other.mode == "RGB"
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


def reason(data: bytes | Path, **options: float) -> str:
    with pytest.raises(UnreadableImage) as caught:
        open_image(data, **options)  # type: ignore[arg-type]
    return str(caught.value)


def adobe_like_profile() -> bytes:
    """Return a minimal ICC matrix profile with a wider gamut than sRGB."""

    def fixed(value: float) -> bytes:
        return round(value * 65536).to_bytes(4, "big", signed=True)

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))

    curve = b"curv\0\0\0\0\0\0\0\1" + round(2.2 * 256).to_bytes(2, "big") + b"\0\0"
    tags = {
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.6097, 0.3111, 0.0195),
        b"gXYZ": xyz(0.2053, 0.6257, 0.0609),
        b"bXYZ": xyz(0.1492, 0.0632, 0.7446),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    offset, table, body = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        place = (offset + len(body)).to_bytes(4, "big")
        table += name + place + len(value).to_bytes(4, "big")
        body += value
    head = bytearray(128)
    head[0:4] = (offset + len(body)).to_bytes(4, "big")
    head[8:12] = b"\2\x10\0\0"
    head[12:24] = b"mntrRGB XYZ "
    head[36:40] = b"acsp"
    head[68:80] = fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    return bytes(head) + len(tags).to_bytes(4, "big") + table + body
