"""How a photo was taken, for a person: exposure, aperture and the like, out of its EXIF.

Nothing of it is kept in the catalog: it is read when somebody looks at one photo.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from clipsearch.errors import shortened
from clipsearch.photos.exif import DAMAGED, DETAILS_DIRECTORY, text_in
from clipsearch.photos.formats import identified, translated_errors
from clipsearch.photos.raw_facts import directories
from clipsearch.photos.raw_files import raw_kind

_LONGEST = 200  # characters of a text
_EXPOSURE, _APERTURE, _ISO, _BIAS = 0x829A, 0x829D, 0x8827, 0x9204
_FLASH, _FOCAL_LENGTH, _FULL_FRAME = 0x9209, 0x920A, 0xA405
_SOFTWARE, _ARTIST, _COPYRIGHT = 0x0131, 0x013B, 0x8298


def exposure_in(data: bytes, max_megapixels: float) -> tuple[tuple[str, str], ...]:
    """Return what a file says of how it was taken, by name; nothing for what can't be read.

    Raises UnreadableImage for what is no picture.
    """
    if raw_kind(data) is not None:
        return tuple(_said(*directories(data)[:2]))
    picture = identified(data, max_megapixels)
    with translated_errors(str(picture.format), max_megapixels):
        try:
            exif = picture.getexif()
            return tuple(_said(exif, exif.get_ifd(DETAILS_DIRECTORY)))
        except DAMAGED:
            return ()


def _said(main: Mapping[int, Any], details: Mapping[int, Any]) -> Iterator[tuple[str, str]]:
    """Yield each name with its value in words, for what can be true."""
    for name, values, tag, in_words in _NAMED:
        value = (main if values == "main" else details).get(tag)
        try:
            said = None if value is None else in_words(value)
        except DAMAGED:
            said = None
        if said:
            yield name, said
        if tag == _FOCAL_LENGTH and (full_frame := _millimetres(details.get(_FULL_FRAME))):
            yield "Focal length in 35 mm", full_frame


def _number(value: Any) -> float:
    """Return a number that can be true; ValueError for others."""
    number = float(value[0] if isinstance(value, tuple) else value)
    if not math.isfinite(number) or not -1e6 < number < 1e6:
        raise ValueError("no number")
    return number


def _seconds(value: Any) -> str:
    seconds = _number(value)
    if seconds <= 0:
        return ""
    return f"1/{round(1 / seconds)} s" if seconds < 0.3 else f"{round(seconds, 1):g} s"


def _aperture(value: Any) -> str:
    number = _number(value)
    return f"f/{round(number, 1):g}" if number > 0 else ""


def _whole(value: Any) -> str:
    number = _number(value)
    return f"{number:.0f}" if number >= 1 else ""


def _millimetres(value: Any) -> str:
    try:
        number = 0.0 if value is None else _number(value)
    except DAMAGED:
        return ""
    return f"{round(number, 1):g} mm" if number > 0 else ""


def _bias(value: Any) -> str:
    number = round(_number(value), 1)
    return f"{number:+g} EV" if number else ""


def _flash(value: Any) -> str:
    return "fired" if int(_number(value)) & 1 else "off"


def _text(value: Any) -> str:
    return shortened(text_in(value) or "", _LONGEST)


_NAMED: tuple[tuple[str, str, int, Callable[[Any], str]], ...] = (
    ("Exposure", "details", _EXPOSURE, _seconds),
    ("Aperture", "details", _APERTURE, _aperture),
    ("ISO", "details", _ISO, _whole),
    ("Exposure bias", "details", _BIAS, _bias),
    ("Focal length", "details", _FOCAL_LENGTH, _millimetres),
    ("Flash", "details", _FLASH, _flash),
    ("Software", "main", _SOFTWARE, _text),
    ("Artist", "main", _ARTIST, _text),
    ("Copyright", "main", _COPYRIGHT, _text),
)
