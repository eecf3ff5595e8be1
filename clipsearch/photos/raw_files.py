"""Which files hold what a camera's sensor saw, by their bytes, and whether that is all there.

Many are TIFFs, whose decoder would take the small preview in front for the picture. What a decoder
of raw files does not find it makes noughts of, and says nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress

# The names by which a scan finds them.
RAW_SUFFIXES = (
    *(".dng", ".gpr", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".srf", ".sr2", ".arq"),
    *(".raf", ".rw2", ".rwl", ".orf", ".ori", ".pef", ".srw", ".x3f", ".mrw", ".iiq", ".3fr"),
    *(".fff", ".mef", ".mos", ".erf", ".dcr", ".kdc", ".raw"),
)

# How those begin that are no TIFFs.
_STARTS = (
    (b"FUJIFILMCCD-RAW", "RAF"),
    (b"IIU\0", "RW2"),
    (b"IIRO", "ORF"),
    (b"IIRS", "ORF"),
    (b"MMOR", "ORF"),
    (b"FOVb", "X3F"),
    (b"\0MRM", "MRW"),
    (b"II\x1a\0\0\0HEAPCCDR", "CRW"),
)
_TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PHASE_ONE = (b"IIII\1\0\0\0", b"MMMM\0\0\0\1")
_MOST_DIRECTORIES, _MOST_TAGS, _MOST_VALUES = 32, 4096, 16384

_PHOTOMETRIC = 262
_OF_DNG = frozenset({50706, 50707, 50708, 50721, 50728, 50778})  # version, model, colours, light
_BELOW = (330, 34665, 34853)  # where other directories lie: smaller or larger pictures, EXIF, place
_STRIPS = ((273, 279), (324, 325))  # where they lie and their bytes; of tiles
_TAGS = _OF_DNG.union({_PHOTOMETRIC}, _BELOW, *_STRIPS)
_MOST = -1  # in the place of a tag: how many values the tag with the most has
_CODES = {3: "H", 4: "L", 13: "L", 16: "Q", 18: "Q"}  # of the types of numbers
_OF_SENSORS = frozenset({32803, 34892})  # colour filter array, linear raw


def raw_kind(data: bytes) -> str | None:
    """Return what kind of raw camera file this is, by its usual suffix; None if it is none."""
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    if data[4:12] == b"ftypcrx ":
        return "CR3"
    if not data.startswith(_TIFFS):
        return None
    if data[8:10] == b"CR":
        return "CR2"
    if data[8:16] in _PHASE_ONE:
        return "IIQ"
    for tags in _directories(data):
        if not _OF_DNG.isdisjoint(tags):
            return "DNG"
        if not _OF_SENSORS.isdisjoint(tags.get(_PHOTOMETRIC, ())):
            return "NEF, ARW or the like"
    return None


def claims_too_much(data: bytes) -> bool:
    """Say whether a tag should have more values than the file has bytes: LibRaw reads them all."""
    if not data.startswith(_TIFFS):
        return False
    return any(tags[_MOST][0] > len(data) for tags in _directories(data))


def lacks_sensor_data(data: bytes) -> bool:
    """Say whether what the sensor saw should lie beyond the end, or is noughts to the end.

    By what the file says of itself, where that can be read; a file in parts fetched out of turn is
    filled up with noughts.
    """
    parts = list(_parts_of_sensor(data))
    if not parts:
        return False
    end, size = max((at + size, size) for at, size in parts)
    if end > len(data):
        return True
    near_end = end - size // 16  # beyond what a camera may have filled up to whole blocks
    return size >= 1 << 16 and not data[near_end : near_end + 4096].strip(b"\0")


def _parts_of_sensor(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each part of what the sensor saw should begin, and its bytes."""
    if data.startswith(b"FUJIFILMCCD-RAW") and len(data) >= 108:
        yield struct.unpack_from(">LL", data, 100)
    elif data.startswith(_TIFFS):
        all_of_them = data[8:10] == b"CR"  # which does not mark it
        for tags in _directories(data):
            if all_of_them or not _OF_SENSORS.isdisjoint(tags.get(_PHOTOMETRIC, ())):
                for places, sizes in _STRIPS:
                    yield from zip(tags.get(places, ()), tags.get(sizes, ()), strict=False)


def _directories(data: bytes) -> Iterator[dict[int, tuple[int, ...]]]:
    """Yield the values of the tags in each directory of a TIFF, as far as it can be read."""
    tiff = _Tiff(data)
    waiting, seen = [tiff.first()], set[int]()
    while waiting and len(seen) < _MOST_DIRECTORIES:
        place = waiting.pop(0)
        if place in seen or not 0 < place < len(data):
            continue
        seen.add(place)
        try:
            tags, following = tiff.directory(place)
        except struct.error:  # cut short, or pointing beyond the end
            continue
        yield tags
        for tag in _BELOW:
            waiting += tags.get(tag, ())[:_MOST_DIRECTORIES]
        waiting.append(following)


class _Tiff:
    """The numbers of a TIFF, or of a BigTIFF, where places and counts have 8 bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data[:1] == b"I" else ">"
        big = b"+" in data[2:4]
        self._place, self._count = ("Q", "Q") if big else ("L", "H")
        self._width, self._entry = (8, 20) if big else (4, 12)

    def first(self) -> int:
        """Return where the first directory is, 0 if nowhere."""
        return self._numbers(self._place, self._width)[0] if len(self._data) >= 16 else 0

    def directory(self, at: int) -> tuple[dict[int, tuple[int, ...]], int]:
        """Return the tags of a directory, and where the next one is; raises struct.error."""
        (count,) = self._numbers(self._count, at)
        start = at + struct.calcsize("=" + self._count)
        tags: dict[int, tuple[int, ...]] = {_MOST: (0,)}
        for entry in range(start, start + self._entry * min(count, _MOST_TAGS), self._entry):
            tag, kind, size = self._numbers("HH" + self._place, entry)
            tags[_MOST] = (max(size, *tags[_MOST]),)
            if tag in _TAGS and tag not in tags:
                tags[tag] = ()
                with suppress(struct.error):  # values beyond the end
                    tags[tag] = self._values(kind, min(size, _MOST_VALUES), entry + 4 + self._width)
        return tags, self._numbers(self._place, start + self._entry * count)[0]

    def _values(self, kind: int, count: int, at: int) -> tuple[int, ...]:
        code = f"{count}{_CODES.get(kind, 'B')}"
        if struct.calcsize("=" + code) > self._width:
            (at,) = self._numbers(self._place, at)
        return self._numbers(code, at)

    def _numbers(self, code: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + code, self._data, at)
