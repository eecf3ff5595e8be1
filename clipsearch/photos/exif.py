"""What a photo says about itself, mostly in its EXIF: when, with which camera, where."""

from __future__ import annotations

import math
import re
import struct
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from clipsearch.photos.dates_beside_exif import moment_in_iptc, moment_in_notes, moment_in_xmp
from clipsearch.photos.moments import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from PIL import Image

_MAKE, _MODEL, _ORIENTATION, _DATE_TIME = 0x010F, 0x0110, 0x0112, 0x0132
DETAILS_DIRECTORY, PLACE_DIRECTORY = 0x8769, 0x8825
_LENS_MODEL = 0xA434
_GPS_LATITUDE_REF, _GPS_LATITUDE, _GPS_LONGITUDE_REF, _GPS_LONGITUDE = 1, 2, 3, 4
_GPS_TIME, _GPS_DATE = 7, 0x1D
# Moments in order of trust, each with its offset from UTC: taken, digitized, file changed.
_MOMENTS = ((0x9003, 0x9011), (0x9004, 0x9012), (_DATE_TIME, 0x9010))

# Degrees as text: 48 51 24.5, or 48/1,51/1,49/2, or 48,51.4N
_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)(?:/(\d+))?")

# Those of the moments stand in the EXIF directory by the book, and in the main one by TIFF/EP.
_MAIN_TAGS = (_MAKE, _MODEL, _ORIENTATION, *(tag for pair in _MOMENTS for tag in pair))

# What Pillow raises on damaged EXIF. None of it may cost a good picture.
DAMAGED = (
    Warning,  # where the program around us makes warnings errors
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    EOFError,
    OSError,
    struct.error,
)


@dataclass(frozen=True)
class ExifFacts:
    """What a photo's EXIF says; None where it says nothing that can be true."""

    orientation: int = 1  # 1 to 8
    taken_at: str | None = None  # ISO 8601
    camera: str | None = None
    lens: str | None = None
    latitude: float | None = None  # degrees, north positive
    longitude: float | None = None  # degrees, east positive


def read_exif(image: Image.Image) -> ExifFacts:
    """Read what the picture says about itself; damaged EXIF says nothing and never raises."""
    try:
        exif = image.getexif()
    except DAMAGED:
        return ExifFacts(taken_at=_said_elsewhere(image, {}))
    said = facts_in(exif)
    if said.taken_at is not None:
        return said
    return replace(
        said, taken_at=_said_elsewhere(image, _tolerant(exif.get_ifd, PLACE_DIRECTORY) or {})
    )


def facts_in(exif: Image.Exif) -> ExifFacts:
    """Read EXIF that is in hand; damaged EXIF says nothing and never raises."""
    main = {tag: _tolerant(exif.get, tag) for tag in _MAIN_TAGS}
    details = _tolerant(exif.get_ifd, DETAILS_DIRECTORY) or {}
    return facts_of(main, details, _tolerant(exif.get_ifd, PLACE_DIRECTORY) or {})


def facts_of(
    main: Mapping[int, Any], details: Mapping[int, Any], gps: Mapping[int, Any]
) -> ExifFacts:
    """Read the three directories of EXIF, each its values by tag."""
    latitude, longitude = _position(gps)
    return ExifFacts(
        orientation=_orientation(main.get(_ORIENTATION)),
        taken_at=_taken_at({**main, **details}),
        camera=_camera(text_in(main.get(_MAKE)), text_in(main.get(_MODEL))),
        lens=text_in(details.get(_LENS_MODEL)),
        latitude=latitude,
        longitude=longitude,
    )


def _tolerant(read: Callable[[int], Any], tag: int) -> Any:
    try:
        return read(tag)
    except DAMAGED:
        return None


def _orientation(value: object) -> int:
    if isinstance(value, tuple) and value:
        value = value[0]
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _taken_at(tags: Mapping[int, object]) -> str | None:
    for moment_tag, offset_tag in _MOMENTS:
        taken = moment(text_in(tags.get(moment_tag)), text_in(tags.get(offset_tag)))
        if taken is not None:
            return taken
    return None


def _said_elsewhere(image: Image.Image, gps: Mapping[int, object]) -> str | None:
    return (
        moment_in_xmp(image)
        or moment_in_iptc(image)
        or _satellites_time(gps)
        or moment_in_notes(image)
    )


def _satellites_time(gps: Mapping[int, object]) -> str | None:
    """Return when the position was found, in UTC."""
    day, parts = text_in(gps.get(_GPS_DATE)) or "", _parts(gps.get(_GPS_TIME))
    if day.startswith("1980"):  # where the clock of the receiver starts
        return None
    time = ":".join(str(int(part)) for part in parts) + "Z" if len(parts) == 3 else ""
    return moment(f"{day[:10]} {time}")


def _camera(make: str | None, model: str | None) -> str | None:
    if make is None or model is None:
        return model or make
    # "Canon" + "Canon EOS 5D", "NIKON CORPORATION" + "NIKON D90": the model names the maker.
    if model.split()[0].casefold() == make.split()[0].casefold():
        return model
    return f"{make} {model}"


def text_in(value: object) -> str | None:
    """Return the text of a value, in whatever coding it was written; None where it says nothing."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return None
    value = _from_utf16(value).split("\0", 1)[0]
    with suppress(UnicodeError):  # ASCII by the book, UTF-8 in practice; Pillow reads Latin-1
        value = value.encode("latin-1").decode("utf-8")
    cleaned = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    return cleaned if any(c.isalnum() for c in cleaned) else None


def _from_utf16(value: str) -> str:
    """Return the text of a value whose bytes were read as a character each, but are UTF-16."""
    if value.startswith(("\xff\xfe", "\xfe\xff")):
        coding = "utf-16"
    elif value.strip("\0") and not value[1::2].strip("\0"):
        coding = "utf-16-le"
    elif value.strip("\0") and not value[::2].strip("\0"):
        coding = "utf-16-be"
    else:
        return value
    padded = value + "\0" * (len(value) % 2)  # Pillow takes a nought from the end
    return padded.encode("latin-1").decode(coding, "replace")


def _position(gps: Mapping[int, object]) -> tuple[float | None, float | None]:
    latitude = _degrees(gps.get(_GPS_LATITUDE), gps.get(_GPS_LATITUDE_REF), "NS", 90)
    longitude = _degrees(gps.get(_GPS_LONGITUDE), gps.get(_GPS_LONGITUDE_REF), "EW", 180)
    if latitude is None or longitude is None or latitude == longitude == 0:
        return None, None  # exactly 0, 0 is what receivers without a fix write
    return latitude, longitude


def _degrees(value: object, reference: object, signs: str, limit: int) -> float | None:
    sign = (text_in(reference) or (text_in(value) or "")[-1:]).upper()[:1]
    parts = _parts(value)
    if sign not in tuple(signs) or not 1 <= len(parts) <= 3:
        return None
    south_or_west = sign == signs[1]
    if south_or_west:  # some write the sign as well
        parts[0] = abs(parts[0])
    degrees = math.fsum(part / 60.0**place for place, part in enumerate(parts))
    if min(parts) < 0 or max(parts[1:], default=0) > 60 or degrees > limit:
        return None
    return round(-degrees if south_or_west else degrees, 7)


def _parts(value: object) -> list[float]:
    """Return degrees (or hours), minutes and seconds, without those at the end that are 0/0.

    Empty if one of the others is no number.
    """
    if isinstance(value, str | bytes):
        found = _NUMBER.findall(text_in(value) or "")
        value = tuple(float(n) / float(of or 1) if float(of or 1) else math.nan for n, of in found)
    try:
        parts = [_number(part) for part in (value if isinstance(value, tuple) else (value,))]
    except (TypeError, ValueError, ArithmeticError):
        return []
    while parts and math.isnan(parts[-1]):
        parts.pop()
    return parts if all(map(math.isfinite, parts)) else []


def _number(part: Any) -> float:
    try:
        return float(part)
    except ZeroDivisionError:  # what Pillow before 12.3 makes of 0/0
        return math.nan
