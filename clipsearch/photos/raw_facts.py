"""What a raw camera file says about itself, in the EXIF before its picture."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clipsearch.photos.exif import (
    DAMAGED,
    DETAILS_DIRECTORY,
    PLACE_DIRECTORY,
    ExifFacts,
    facts_in,
    facts_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image

# The other beginnings of what is laid out as a TIFF, and how a TIFF begins.
_AS_TIFF = {
    **dict.fromkeys((b"II*\0", b"IIU\0", b"IIRO", b"IIRS"), b"II*\0"),
    **dict.fromkeys((b"MM\0*", b"MMOR"), b"MM\0*"),
}
_NEAR_START = 1 << 20  # bytes in which those beginnings are followed by all of the EXIF
_CR3_PARTS = (b"CMT1", b"CMT2", b"CMT4")  # main, details, place: a TIFF each


def facts_in_header(data: bytes) -> ExifFacts:
    """Read the EXIF that a raw file begins with; what is damaged or not there says nothing."""
    if data[4:12] == b"ftypcrx ":
        return facts_of(*directories(data))
    return facts_in(header_exif(data))


def directories(data: bytes) -> tuple[Mapping[int, Any], Mapping[int, Any], Mapping[int, Any]]:
    """Return the values by tag that a raw file begins with: main, details and place."""
    if data[4:12] == b"ftypcrx ":
        main, details, place = (_in_cr3(data, name) for name in _CR3_PARTS)
        return main, details, place
    exif = header_exif(data)
    try:
        return exif, exif.get_ifd(DETAILS_DIRECTORY), exif.get_ifd(PLACE_DIRECTORY)
    except DAMAGED:
        return exif, {}, {}


def header_exif(data: bytes) -> Image.Exif:
    """Return the first directory of a raw file that is laid out as a TIFF; else it is empty."""
    start = _AS_TIFF.get(data[:4])
    if start is None:
        return _exif(b"")
    return _exif(data if data.startswith(start) else start + data[4:_NEAR_START])


def first_said(*all_facts: ExifFacts) -> ExifFacts:
    """Return the facts, each as the first says it that says it at all."""
    said = all_facts[0]
    for more in all_facts[1:]:
        missing = (name for name, value in vars(said).items() if value is None)
        said = replace(said, **{name: vars(more)[name] for name in missing})
    return said


def _in_cr3(data: bytes, name: bytes) -> dict[int, Any]:
    """Return the values in one of the TIFFs in a CR3's header."""
    at = data.find(name, 0, _NEAR_START)
    size = int.from_bytes(data[max(at - 4, 0) : max(at, 0)], "big")
    return dict(_exif(data[at + 4 : at - 4 + size]))


def _exif(tiff: bytes) -> Image.Exif:
    """Return what a TIFF says in its first directory; nothing where that can't be read."""
    from PIL import Image

    exif = Image.Exif()
    with suppress(*DAMAGED):
        exif.load_from_fp(io.BytesIO(tiff))
    return exif
