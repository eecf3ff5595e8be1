"""Several photos in one picture, each with its number: for who looks at one picture at a time."""

from __future__ import annotations

import io
from collections.abc import Mapping
from math import ceil, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

MOST = 36  # photos
_CELL = 256  # pixels of the longer side of a photo
_GAP = 6
_LABEL = 22  # pixels of a number
_PAPER, _EMPTY, _INK, _MARK = "#1b1b1b", "#4a4a4a", "#ffffff", "#000000"
_QUALITY = 82


def numbered_sheet(pictures: Mapping[int, bytes | None]) -> bytes:
    """Return one JPEG of small pictures made here, each under its number; None stays empty.

    They are the thumbnails of this program, of which no other file is opened in this process.
    """
    from PIL import Image, ImageDraw

    columns = max(ceil(sqrt(len(pictures))), 1)
    rows = max(ceil(len(pictures) / columns), 1)
    pitch = _CELL + _GAP
    sheet = Image.new("RGB", (columns * pitch + _GAP, rows * pitch + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (number, picture) in enumerate(pictures.items()):
        left, top = _GAP + place % columns * pitch, _GAP + place // columns * pitch
        if picture is None:
            draw.rectangle((left, top, left + _CELL - 1, top + _CELL - 1), fill=_EMPTY)
        else:
            _paste(sheet, picture, left, top)
        _label(draw, str(number), left, top)
    stream = io.BytesIO()
    sheet.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def _paste(sheet: Image.Image, picture: bytes, left: int, top: int) -> None:
    from PIL import Image, WebPImagePlugin

    with WebPImagePlugin.WebPImageFile(io.BytesIO(picture)) as opened:
        small = opened.convert("RGB")
    small.thumbnail((_CELL, _CELL), Image.Resampling.BICUBIC)
    sheet.paste(small, (left + (_CELL - small.width) // 2, top + (_CELL - small.height) // 2))


def _label(draw: ImageDraw.ImageDraw, number: str, left: int, top: int) -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(_LABEL)
    width = draw.textlength(number, font=font)
    draw.rectangle((left, top, left + width + 9, top + _LABEL + 5), fill=_MARK)
    draw.text((left + 5, top + 1), number, fill=_INK, font=font)
