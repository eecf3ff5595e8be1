"""When a photo was taken, where its EXIF doesn't say: XMP, IPTC, the notes in a PNG.

What is looked for is found by its name; nothing is parsed as XML, so no entity can grow.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from clipsearch.photos.moments import moment

if TYPE_CHECKING:
    from PIL import Image

_MOST_XMP = 1 << 20  # bytes looked through

# In order of trust. A value stands in an attribute or an element.
_XMP_NAMES = (
    b"exif:DateTimeOriginal",
    b"photoshop:DateCreated",
    b"xmp:CreateDate",
    b"xap:CreateDate",  # the same in older files
)
_XMP_VALUE = re.compile(rb"\s*(?:=\s*[\"']|>\s*)([^\"'<>]{8,40})[\"'<]")

_IPTC_RESOURCE, _IPTC_TAG = 0x0404, 33723  # of Photoshop's part of a JPEG, of a TIFF
_IPTC_DATE = re.compile(rb"\x1c\x02\x37\x00\x08(\d{8})")
_IPTC_TIME = re.compile(rb"\x1c\x02\x3c\x00[\x06\x0b](\d{6}(?:[+-]\d{4})?)")


def moment_in_xmp(image: Image.Image) -> str | None:
    """Return when the photo was taken or made, by its XMP."""
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode(errors="replace")
    if not isinstance(xmp, bytes):
        return None
    xmp = xmp[:_MOST_XMP].replace(b"\0", b"")  # of UTF-16
    return next(filter(None, (_value(xmp, name) for name in _XMP_NAMES)), None)


def _value(xmp: bytes, name: bytes) -> str | None:
    place = xmp.find(name)
    found = _XMP_VALUE.match(xmp, place + len(name)) if place >= 0 else None
    return moment(found[1].decode("ascii", "replace")) if found else None


def moment_in_iptc(image: Image.Image) -> str | None:
    """Return when the photo was taken, by its IPTC."""
    blocks = image.info.get("photoshop")
    iptc = blocks.get(_IPTC_RESOURCE) if isinstance(blocks, dict) else None
    iptc = iptc or getattr(image, "tag_v2", {}).get(_IPTC_TAG)
    if not isinstance(iptc, bytes) or (day := _IPTC_DATE.search(iptc)) is None:
        return None
    time = _IPTC_TIME.search(iptc)
    return moment((day[1] + b"T" + (time[1] if time else b"")).decode())


def moment_in_notes(image: Image.Image) -> str | None:
    """Return the `Creation Time` of a PNG."""
    note = image.info.get("Creation Time")
    return moment(note[:100]) if isinstance(note, str) else None
