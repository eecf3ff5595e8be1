"""Raw camera files made here: DNGs as cameras write them, of any picture and any orientation.

In front a small picture, which is all that a decoder of TIFFs sees; below it what the sensor saw
through a filter of red, green and blue, and perhaps a JPEG as a preview.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from odd_pictures import UPRIGHT
from PIL import Image

Pixels = NDArray[np.uint8]
Value = int | str | bytes | Sequence[int] | Sequence[tuple[int, int]]

BLACK, WHITE = 128, 4000  # of 12 bits
_NEUTRAL = np.array([0.43, 1.0, 0.73])  # what a white wall gives
_FROM_XYZ = np.array(  # to linear sRGB
    [[3.2405, -1.5371, -0.4985], [-0.9693, 1.8760, 0.0416], [0.0556, -0.2040, 1.0572]]
)
_STORED = {**UPRIGHT, 6: UPRIGHT[8], 8: UPRIGHT[6]}  # upright -> as the sensor saw it

_BYTE, _TEXT, _SHORT, _LONG, _RATIONAL, _SIGNED = 1, 2, 3, 4, 5, 10
_WIDTHS = {_BYTE: "B", _SHORT: "H", _LONG: "L"}
_SENSOR, _COLOURS, _YCBCR = 32803, 2, 6
_EXIF, _GPS, _BELOW = 34665, 34853, 330


@dataclass(frozen=True)
class Said:
    """What a raw file says about itself."""

    make: str = "Clipsearch"
    model: str = "Test T1"
    lens: str = "Test 35mm F2"
    taken_at: str = "2023:07:14 18:22:05"
    place: tuple[tuple[str, int], tuple[str, int]] | None = (("N", 59), ("E", 18))  # whole degrees
    aperture: tuple[int, int] | None = None


@dataclass
class _Written:
    """A TIFF as it grows: contents first, then the directories that point to them."""

    order: Literal["<", ">"]
    data: bytearray = field(default_factory=bytearray)

    def put(self, content: bytes) -> int:
        """Add some content; return where it lies."""
        self.data += bytes(len(self.data) % 2)
        self.data += content
        return len(self.data) - len(content)

    def directory(self, tags: Mapping[int, tuple[int, Value]]) -> int:
        """Add a directory of tags, each a type and a value; return where it lies."""
        entries = b""
        for tag, (kind, value) in sorted(tags.items()):
            count, content = self._packed(kind, value)
            if len(content) > 4:
                content = struct.pack(self.order + "L", self.put(content))
            entries += struct.pack(self.order + "HHL", tag, kind, count) + content.ljust(4, b"\0")
        return self.put(struct.pack(self.order + "H", len(tags)) + entries + bytes(4))

    def _packed(self, kind: int, value: Value) -> tuple[int, bytes]:
        if isinstance(value, str | bytes):
            text = value if isinstance(value, bytes) else value.encode() + b"\0"
            return len(text), text
        values = [value] if isinstance(value, int) else list(value)
        if kind in (_RATIONAL, _SIGNED):
            code = "L" if kind == _RATIONAL else "l"
            return len(values), b"".join(struct.pack(f"{self.order}2{code}", *v) for v in values)
        return len(values), struct.pack(f"{self.order}{len(values)}{_WIDTHS[kind]}", *values)


def dng(
    upright: Pixels,
    *,
    orientation: int = 1,
    preview: bytes | None = None,
    said: Said | None = None,
    order: Literal["<", ">"] = "<",
    packed: Callable[[NDArray[np.uint16]], bytes] | None = None,
) -> bytes:
    """Return a DNG that shows a picture (height, width, 3), both even, once it is upright.

    `packed` makes a lossless JPEG of the sensor's values (height, width), of 12 bits; without it
    they lie there as they are.
    """
    said = said or Said()
    file = _Written(order)
    file.put(b"II*\0" if order == "<" else b"MM\0*")
    file.put(bytes(4))
    stored = np.ascontiguousarray(_STORED[orientation](upright))
    below = [file.directory(_sensor_tags(file, stored, packed))]
    if preview is not None:
        below.append(file.directory(_preview_tags(file, preview)))
    small = Image.fromarray(stored)
    small.thumbnail((160, 160))
    tags = _picture_tags(small.width, small.height, 1, _COLOURS, file, small.tobytes())
    tags |= {258: (_SHORT, (8, 8, 8)), 277: (_SHORT, 3), 274: (_SHORT, orientation)}
    tags |= {_BELOW: (_LONG, below), 50706: (_BYTE, (1, 4, 0, 0)), 50707: (_BYTE, (1, 1, 0, 0))}
    tags |= _said_tags(file, said) | _colour_tags()
    first = file.directory(tags)
    file.data[4:8] = struct.pack(order + "L", first)
    return bytes(file.data)


def preview_of(
    upright: Pixels, orientation: int = 1, *, exif: int | None = None, quality: int = 92
) -> bytes:
    """Return a picture as a JPEG lying as the sensor saw it; `exif` is the orientation it says."""
    said = Image.Exif()
    if exif is not None:
        said[0x0112] = exif
    stream = io.BytesIO()
    stored = Image.fromarray(np.ascontiguousarray(_STORED[orientation](upright)))
    stored.save(stream, "JPEG", quality=quality, **({"exif": said} if exif is not None else {}))
    return stream.getvalue()


def camera_jpeg(upright: Pixels, said: Said | None = None, *, subsecond: str = "") -> bytes:
    """Return what the camera writes beside the raw file."""
    said = said or Said()
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = said.make, said.model
    exif.get_ifd(_EXIF).update({36867: said.taken_at, 42036: said.lens, 37521: subsecond})
    stream = io.BytesIO()
    Image.fromarray(upright).save(stream, "JPEG", quality=92, exif=exif)
    return stream.getvalue()


def _picture_tags(
    width: int, height: int, kind: int, photometric: int, file: _Written, content: bytes
) -> dict[int, tuple[int, Value]]:
    return {
        254: (_LONG, kind),
        256: (_LONG, width),
        257: (_LONG, height),
        259: (_SHORT, 1),
        262: (_SHORT, photometric),
        273: (_LONG, file.put(content)),
        278: (_LONG, height),
        279: (_LONG, len(content)),
    }


def _sensor_tags(
    file: _Written, stored: Pixels, packed: Callable[[NDArray[np.uint16]], bytes] | None
) -> dict[int, tuple[int, Value]]:
    height, width = stored.shape[:2]
    seen = _seen_by_sensor(stored)
    content = packed(seen) if packed else seen.astype(file.order + "u2").tobytes()
    tags = _picture_tags(width, height, 0, _SENSOR, file, content)
    return tags | {
        259: (_SHORT, 7 if packed else 1),
        258: (_SHORT, 16),
        277: (_SHORT, 1),
        33421: (_SHORT, (2, 2)),
        33422: (_BYTE, (0, 1, 1, 2)),
        50714: (_SHORT, BLACK),
        50717: (_LONG, WHITE),
    }


def _seen_by_sensor(stored: Pixels) -> NDArray[np.uint16]:
    """Return what red, green and blue filters in turn let through, (height, width)."""
    levels = np.arange(256) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    table = np.rint(BLACK + linear[:, None] * _NEUTRAL * (WHITE - BLACK)).astype(np.uint16)
    seen = np.empty(stored.shape[:2], np.uint16)
    for down, across, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        seen[down::2, across::2] = table[stored[down::2, across::2, channel], channel]
    return seen


def _preview_tags(file: _Written, preview: bytes) -> dict[int, tuple[int, Value]]:
    with Image.open(io.BytesIO(preview)) as image:
        tags = _picture_tags(*image.size, 1, _YCBCR, file, preview)
    return tags | {258: (_SHORT, (8, 8, 8)), 259: (_SHORT, 7), 277: (_SHORT, 3)}


def _said_tags(file: _Written, said: Said) -> dict[int, tuple[int, Value]]:
    exif: dict[int, tuple[int, Value]] = {36867: (_TEXT, said.taken_at), 42036: (_TEXT, said.lens)}
    if said.aperture is not None:
        exif[33437] = (_RATIONAL, (said.aperture,))
    tags: dict[int, tuple[int, Value]] = {
        271: (_TEXT, said.make),
        272: (_TEXT, said.model),
        306: (_TEXT, said.taken_at),
        _EXIF: (_LONG, file.directory(exif)),
    }
    if said.place is not None:
        (north, latitude), (east, longitude) = said.place
        gps: dict[int, tuple[int, Value]] = {
            1: (_TEXT, north),
            2: (_RATIONAL, ((latitude, 1), (0, 1), (0, 1))),
            3: (_TEXT, east),
            4: (_RATIONAL, ((longitude, 1), (0, 1), (0, 1))),
        }
        tags[_GPS] = (_LONG, file.directory(gps))
    return tags


def _colour_tags() -> dict[int, tuple[int, Value]]:
    from_xyz = np.rint(_NEUTRAL[:, None] * _FROM_XYZ * 10_000).astype(int)
    return {
        50721: (_SIGNED, [(int(value), 10_000) for value in from_xyz.ravel()]),
        50728: (_RATIONAL, [(round(value * 10_000), 10_000) for value in _NEUTRAL]),
        50778: (_SHORT, 21),
    }
