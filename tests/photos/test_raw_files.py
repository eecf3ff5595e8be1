"""A raw camera file is called one, whatever its name; its small preview is never the picture.

Those here hold nothing that LibRaw could make a picture of: what they are is said all the same.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from clipsearch.errors import UnreadableImage
from clipsearch.photos.opening import open_image
from clipsearch.photos.raw_files import lacks_sensor_data, raw_kind

KIND, PHOTOMETRIC, BELOW, DNG_VERSION = 254, 262, 330, 50706
SENSOR, LINEAR, RGB = 32803, 34892, 2
FULL, REDUCED = 0, 1
PREVIEW = Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8))


def tiff(tags: dict[int, object], below: tuple[bytes, ...] = (), pages: int = 1) -> bytes:
    """Return a TIFF of real pixels, with these tags in front and directories below the first."""

    def written(places: list[int]) -> bytes:
        info = TiffImagePlugin.ImageFileDirectory_v2()
        info.update(tags)
        if places:
            info[BELOW], info.tagtype[BELOW] = tuple(places), 4
        stream = io.BytesIO()
        more = [PREVIEW.resize((80, 60))] * (pages - 1)
        PREVIEW.save(stream, "TIFF", tiffinfo=info, save_all=pages > 1, append_images=more)
        return stream.getvalue()

    data = written([1] * len(below))
    data = written([len(data) + sum(map(len, below[:n])) for n in range(len(below))])
    return data + b"".join(below)


def directory(order: str, tags: dict[int, int], following: int = 0) -> bytes:
    """Return a directory of short numbers."""
    entries = [struct.pack(f"{order}HHLHH", tag, 3, 1, tags[tag], 0) for tag in sorted(tags)]
    return (
        struct.pack(f"{order}H", len(tags))
        + b"".join(entries)
        + struct.pack(order + "L", following)
    )


def why(data: bytes | Path) -> str:
    with pytest.raises(UnreadableImage) as caught:
        open_image(data, shrink_to=64)
    return str(caught.value)


def test_a_dng_is_refused_and_not_its_preview_taken() -> None:
    sensor = directory("<", {KIND: FULL, PHOTOMETRIC: SENSOR})
    linear = directory("<", {KIND: FULL, PHOTOMETRIC: LINEAR})
    for below in ((), (sensor,), (linear,), (directory("<", {KIND: REDUCED}), sensor)):
        data = tiff({KIND: REDUCED, DNG_VERSION: b"\1\4\0\0"}, below)
        with Image.open(io.BytesIO(data)) as plain:
            assert plain.size == PREVIEW.size  # what Pillow alone takes it for
        assert raw_kind(data) == "DNG"
        assert why(data) == "unsupported kind of raw camera file (DNG)"


@pytest.mark.parametrize("sensor", [SENSOR, LINEAR])
def test_a_tiff_with_what_a_sensor_saw_below_its_preview_is_refused(sensor: int) -> None:
    rgb = directory("<", {KIND: REDUCED, PHOTOMETRIC: RGB})
    raw = directory("<", {KIND: FULL, PHOTOMETRIC: sensor})
    for below in ((raw,), (rgb, raw)):
        assert why(tiff({KIND: REDUCED}, below)).startswith("unsupported kind of raw camera file")


@pytest.mark.parametrize("name", ["a.dng", "a.tif", "a.jpg", "a"])
def test_the_name_of_a_raw_file_does_not_matter(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(tiff({DNG_VERSION: b"\1\4\0\0"}))
    assert why(tmp_path / name) == "unsupported kind of raw camera file (DNG)"


@pytest.mark.parametrize("order", ["<", ">"])
def test_either_byte_order_and_big_tiffs_are_read(order: str) -> None:
    mark = b"II" if order == "<" else b"MM"
    first = directory(order, {KIND: REDUCED, PHOTOMETRIC: RGB}, following=100)
    sensor = directory(order, {PHOTOMETRIC: SENSOR})
    small = mark + struct.pack(order + "HL", 42, 8) + first
    assert "raw camera file" in why(small.ljust(100, b"\0") + sensor + bytes(60))
    entry = struct.pack(order + "HHQHHL", PHOTOMETRIC, 3, 1, LINEAR, 0, 0)
    big = mark + struct.pack(order + "HHHQQ", 43, 8, 0, 16, 1) + entry + bytes(8)
    assert "raw camera file" in why(big + bytes(60))


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"II*\0\x10\0\0\0CR\2\0", "CR2"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "CR3"),
        (b"FUJIFILMCCD-RAW 0201", "RAF"),
        (b"IIU\0\x18\0\0\0", "RW2"),
        (b"IIRO\x08\0\0\0", "ORF"),
        (b"IIRS\x08\0\0\0", "ORF"),
        (b"MMOR\0\0\0\x08", "ORF"),
        (b"FOVb\0\0\2\0", "X3F"),
        (b"\0MRM\0\0\1\0", "MRW"),
        (b"II\x1a\0\0\0HEAPCCDR", "CRW"),
        (b"II*\0\x10\0\0\0IIII\1\0\0\0", "IIQ"),
    ],
)
def test_other_raw_files_are_known_by_their_start(start: bytes, kind: str) -> None:
    data = start + bytes(range(200))
    assert raw_kind(data) == kind
    assert f"raw camera file ({kind})" in why(data)


def test_ordinary_tiffs_with_smaller_copies_still_open() -> None:
    """Pyramids, maps with overviews, scans with a preview, several pages."""
    smaller = directory("<", {KIND: REDUCED, PHOTOMETRIC: RGB})
    for data in (
        tiff({}),
        tiff({KIND: REDUCED}),
        tiff({}, pages=3),
        tiff({KIND: FULL}, (smaller,)),
        tiff({KIND: FULL}, (smaller, smaller)),
        tiff({KIND: REDUCED}, (directory("<", {KIND: FULL, PHOTOMETRIC: RGB}),)),
    ):
        assert np.array_equal(np.asarray(open_image(data).image), np.asarray(PREVIEW))


def test_directories_that_lead_in_circles_or_nowhere_cost_nothing() -> None:
    smaller = directory("<", {PHOTOMETRIC: RGB}, following=8)
    for below in ((smaller,), (b"\xff\xff",), (smaller[:-3],)):
        assert open_image(tiff({}, below)).image.size == PREVIEW.size


def test_what_the_sensor_saw_is_looked_for_where_it_should_lie() -> None:
    """By strips or tiles; in a Fujifilm's by its own header; elsewhere nothing is said."""

    def sensor(place: int, size: int, tags: tuple[int, int] = (273, 279)) -> bytes:
        found = {PHOTOMETRIC: SENSOR, tags[0]: place, tags[1]: size}
        return tiff({DNG_VERSION: b"\1\4\0\0"}, (directory("<", found),))

    assert not lacks_sensor_data(sensor(8, 2000))
    assert lacks_sensor_data(sensor(8, 65000))
    assert lacks_sensor_data(sensor(8, 65000, (324, 325)))
    fuji = b"FUJIFILMCCD-RAW ".ljust(100, b"\0") + struct.pack(">LL", 200, 300)
    assert not lacks_sensor_data(fuji.ljust(500, b"\1"))
    assert lacks_sensor_data(fuji.ljust(499, b"\1"))
    assert not lacks_sensor_data(b"FOVb\0\0\2\0")
