"""Pictures that lack no pixel, but something else that their format wants, mostly at the end.

Viewers show them, strict decoders refuse them. No pixel is made up here: where some are missing,
the decoder refuses the picture as before.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_PNG, _JPEG, _JPEG2000 = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\x4f\xff\x51"
_LAST_MARKER = b"\xff\xd9"  # of JPEG and of JPEG 2000

# A marker of a JPEG, but for those inside its compressed data: restarts, and 0 after a plain FF.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})

# Any bits will do that no picture ends with; the first one is 1, for libjpeg itself adds noughts.
_OTHER_BITS = b"\xb1\x6e\x4d\xa3\x58\xc7\x95\x2b" * 8


def mended(data: bytes, decode: Callable[[bytes], Image.Image]) -> bytes | None:
    """Return the bytes of a picture as its format wants them; None where there is nothing to mend.

    `decode` opens bytes at full size; what it raises passes through.
    """
    if data.startswith(_JPEG):
        return _with_last_marker(data, decode)
    if data.startswith(_PNG):
        return _without_damaged_extras(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _with_true_size(data)
    if data.startswith(_JPEG2000) or data[4:8] == b"jP  ":
        # Packets never end with FF: it is half of the marker.
        return None if data.endswith(_LAST_MARKER) else data.removesuffix(b"\xff") + _LAST_MARKER
    return None


def lacks_last_marker(data: bytes) -> bool:
    """Say whether a JPEG ends with the file, without the marker that should end it."""
    if not data.startswith(_JPEG) or data.endswith(_LAST_MARKER):
        return False
    scan = next((place for marker, place, _ in _jpeg_segments(data) if marker == _SCAN), None)
    return scan is not None and data.find(_LAST_MARKER, scan) < 0


def _with_last_marker(data: bytes, decode: Callable[[bytes], Image.Image]) -> bytes | None:
    """Return a JPEG with the marker that it lacks; None if data of pixels is missing, too.

    In place of missing data libjpeg silently decodes noughts. So the picture is decoded once as it
    is and once with other bits behind it: if no pixel differs, none was missing.
    """
    from PIL import ImageChops

    end = _end_of_scans(data)
    if end is None:
        return None
    data = data[:end].rstrip(b"\0")  # preallocated files end with noughts, data never does
    if data.endswith(b"\xff"):  # half of the marker, or of an FF in the data
        data += b"\0"
    restarts = _RESTART.findall(data)
    restart = b"\xff" + bytes([0xD0 + (restarts[-1][0] + 1) % 8 if restarts else 0xD0])
    whole = data + _LAST_MARKER
    other = data + _OTHER_BITS + restart + _OTHER_BITS + _LAST_MARKER
    change = ImageChops.difference(decode(whole), decode(other))
    return whole if change.getbbox() is None else None


def _end_of_scans(data: bytes) -> int | None:
    """Return where the scans of the first picture end; None if some are missing, or it has its end.

    Each scan of a progressive JPEG sends some coefficients of some components down to some bit.
    """
    wanted: set[tuple[int, int]] = set()
    sent: set[tuple[int, int]] = set()
    progressive, end = False, len(data)
    for marker, place, segment in _jpeg_segments(data):
        if marker == _END:
            return None
        if marker == _START:  # of another picture in the same file
            end = place
        elif marker in _FRAMES and len(segment) > 5:
            progressive = marker in _PROGRESSIVE
            wanted = set(product(segment[6::3][: segment[5]], range(64)))
        elif marker == _SCAN and segment and len(segment) >= 4 + 2 * segment[0]:
            first, last, bits = segment[1 + 2 * segment[0] :][:3] if progressive else (0, 63, 0)
            if bits & 15 == 0:
                sent |= set(product(segment[1 : 1 + 2 * segment[0] : 2], range(first, last + 1)))
    return end if wanted and wanted <= sent else None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield each marker of the first picture, where it begins, and the segment that it heads."""
    place = 2
    while found := _JPEG_MARKER.search(data, place):
        marker, place = found[1][0], found.end()
        if marker in (_START, _END):
            yield marker, found.start(), b""
            return
        length = int.from_bytes(data[place : place + 2], "big")
        yield marker, found.start(), data[place + 2 : place + length]
        place += length


def _without_damaged_extras(data: bytes) -> bytes:
    """Return a PNG without its damaged chunks, but for those that it can't be read without."""
    kept, place = [_PNG], len(_PNG)
    while place < len(data):
        size, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        chunk = data[place : place + 12 + size]
        whole = len(chunk) == 12 + size and zlib.crc32(chunk[4:-4]).to_bytes(4, "big") == chunk[-4:]
        if whole or not kind[:1].islower():  # a capital says that it is critical
            kept.append(chunk)
        place += 12 + size
    return b"".join(kept)


def _with_true_size(data: bytes) -> bytes:
    """Return a WebP of its whole chunks only, with the size in its header set right."""
    place = 12
    while place + 8 <= len(data):
        end = place + 8 + int.from_bytes(data[place + 4 : place + 8], "little")
        if end > len(data):
            break
        place = end + end % 2  # chunks begin at even places
    chunks = data[12:place].ljust(place - 12, b"\0")
    return struct.pack("<4sI4s", b"RIFF", place - 8, b"WEBP") + chunks
