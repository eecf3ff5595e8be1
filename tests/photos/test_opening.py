"""Opening: upright RGB from every mode, orientation and format, or the true reason why not."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from made_pictures import adobe_like_profile, difference, encoded, photo, reason
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import IFDRational

from clipsearch.errors import UnreadableImage
from clipsearch.index.records import FACTS
from clipsearch.photos.opening import (
    DEFAULT_MAX_MEGAPIXELS,
    OpenedImage,
    open_image,
    upright_rgb,
)

# How numpy undoes each EXIF orientation, written down independently of Pillow's names.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def exif_with(tags: dict[int, object], details: dict[int, object] | None = None) -> Image.Exif:
    exif = Image.Exif()
    exif.update(tags)
    if details:
        exif.get_ifd(0x8769).update(details)
    return exif


def metadata_of(exif: Image.Exif) -> dict[str, object]:
    return vars(open_image(encoded(photo(), "JPEG", exif=exif)).metadata)


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_comes_out_upright(format_name: str, orientation: int) -> None:
    stored = photo()
    data = encoded(stored, format_name, exif=exif_with({0x0112: orientation}), quality=95)
    opened = open_image(data)
    expected = Image.fromarray(np.ascontiguousarray(UPRIGHT[orientation](np.asarray(stored))))
    assert difference(opened.image, expected) < 3
    assert (opened.metadata.width, opened.metadata.height) == expected.size
    assert opened.metadata.orientation == orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_rotation_of_heic_is_applied_once(orientation: int) -> None:
    exif = exif_with({0x0112: orientation}).tobytes()
    data = encoded(photo(), "HEIF", exif=exif, quality=95)
    opened = open_image(data)
    reference = pillow_heif.open_heif(data).to_pillow().convert("RGB")
    assert np.array_equal(np.asarray(opened.image), np.asarray(reference))
    assert (opened.metadata.width, opened.metadata.height) == reference.size
    upright = UPRIGHT[orientation](np.asarray(photo()))
    assert difference(opened.image, Image.fromarray(np.ascontiguousarray(upright))) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_in_memory_is_turned_like_its_file(orientation: int) -> None:
    data = encoded(photo(), "JPEG", exif=exif_with({0x0112: orientation}))
    in_memory = upright_rgb(Image.open(io.BytesIO(data)))
    assert np.array_equal(np.asarray(in_memory), np.asarray(open_image(data).image))


def test_an_orientation_that_does_not_exist_changes_nothing() -> None:
    opened = open_image(encoded(photo(), "PNG", exif=exif_with({0x0112: 9})))
    assert difference(opened.image, photo()) == 0
    assert opened.metadata.orientation == 1


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"])
def test_of_several_frames_the_first_is_taken(format_name: str) -> None:
    others = [Image.new("RGB", (120, 80), "black")] * 2
    data = encoded(photo(), format_name, save_all=True, append_images=others)
    assert difference(open_image(data).image, photo()) < 7


# Reduced scale


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_picture_may_come_reduced_and_looks_the_same(
    format_name: str, orientation: int
) -> None:
    picture = photo(2400, 1600)
    data = encoded(picture, format_name, exif=exif_with({0x0112: orientation}))
    whole, reduced = open_image(data), open_image(data, shrink_to=224)
    assert whole.image.width * whole.image.height == 2400 * 1600
    assert 3 * 224 <= min(reduced.image.size) < 1600
    assert reduced.metadata == whole.metadata
    seen = [o.image.resize((224, 224), Image.Resampling.BICUBIC) for o in (whole, reduced)]
    assert difference(*seen) < 1


def test_a_picture_near_the_wanted_side_is_not_reduced() -> None:
    data = encoded(photo(800, 600), "JPEG")
    assert open_image(data, shrink_to=224).image.size == (800, 600)


@pytest.mark.parametrize("size", [(4000, 3000), (4032, 3024)])
def test_a_phones_photo_is_decoded_at_a_quarter_for_256_pixels(size):
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "JPEG")
    opened = open_image(file.getvalue(), shrink_to=256)
    assert opened.image.size == (size[0] // 4, size[1] // 4)
    assert (opened.metadata.width, opened.metadata.height) == size


# Metadata


def test_metadata_says_when_with_what_and_where() -> None:
    exif = exif_with(
        {0x010F: "NIKON CORPORATION\0\0", 0x0110: "NIKON D90 ", 0x0132: "2020:01:01 00:00:00"},
        {
            0x9003: "2019:07:14 12:30:45",
            0x9011: "+02:00",
            0x9004: "2019:08:01 00:00:00",
            0xA434: "18.0-105.0 mm f/3.5-5.6\0",
        },
    )
    exif.get_ifd(0x8825).update({1: "S", 2: (33.0, 51.0, 24.5), 3: "W", 4: (151.0, 12.0, 36.0)})
    assert metadata_of(exif) == {
        "width": 120,
        "height": 80,
        "format": "JPEG",
        "orientation": 1,
        "taken_at": "2019-07-14T12:30:45+02:00",
        "camera": "NIKON D90",
        "lens": "18.0-105.0 mm f/3.5-5.6",
        "latitude": pytest.approx(-33.856806, abs=1e-6),
        "longitude": pytest.approx(-151.21, abs=1e-6),
        "perceptual_hash": None,
        "place": None,
        "facts": FACTS,
    }


@pytest.mark.parametrize(
    ("tags", "details", "expected"),
    [
        ({0x0132: "2020:01:02 03:04:05"}, {}, "2020-01-02T03:04:05"),
        ({}, {0x9004: "2020:01:02 03:04:05", 0x9012: "-03:30"}, "2020-01-02T03:04:05-03:30"),
        ({0x0132: "2020:01:02 03:04:05"}, {0x9003: "0000:00:00 00:00:00"}, "2020-01-02T03:04:05"),
        ({}, {0x9003: "2020-01-02T03:04:05"}, "2020-01-02T03:04:05"),
        ({0x9003: "2020:01:02 03:04:05", 0x9011: "+01:00"}, {}, "2020-01-02T03:04:05+01:00"),
        ({}, {0x9003: "2020:01:02 03:04:05", 0x9011: "   :  "}, "2020-01-02T03:04:05"),
        ({}, {0x9003: "    :  :     :  :  "}, None),
        ({}, {0x9003: "2020:13:45 99:99:99"}, None),
        ({}, {}, None),
    ],
)
def test_the_time_is_the_first_that_can_be_true(
    tags: dict[int, object], details: dict[int, object], expected: str | None
) -> None:
    assert metadata_of(exif_with(tags, details))["taken_at"] == expected


DAY, NOON = "2021-05-06", "2021-05-06T12:30:15"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        # offsets, and fractions that are not kept
        ("2021:05:06 12:30:15+02:00", f"{NOON}+02:00"),
        ("2021:05:06 12:30:15 -0330", f"{NOON}-03:30"),
        ("2021:05:06 12:30:15+02", f"{NOON}+02:00"),
        ("2021:05:06 12:30:15+2:00", f"{NOON}+02:00"),
        ("2021:05:06 12:30:15Z", f"{NOON}+00:00"),
        ("2021:05:06 12:30:15 UTC", f"{NOON}+00:00"),
        ("2021-05-06T12:30:15.123+02:00", f"{NOON}+02:00"),
        ("2021:05:06 12:30:15.5", NOON),
        ("2021:05:06 12:30+02:00", "2021-05-06T12:30:00+02:00"),
        ("2021:05:06 12:30:15+99:00", NOON),
        # digits, blanks and separators
        ("2021:05:06 12:30", "2021-05-06T12:30:00"),
        ("2021:05:06 12:30:  ", "2021-05-06T12:30:00"),
        ("2021:5:6 2:03:04", "2021-05-06T02:03:04"),
        ("2021:05:06  2: 3: 4", "2021-05-06T02:03:04"),
        ("2021: 5: 6  2: 3: 4", "2021-05-06T02:03:04"),
        ("2021.05.06 12.30.15", NOON),
        ("2021/05/06 12:30:15", NOON),
        ("20210506T123015", NOON),
        (" 2021:05:06 12:30:15\0\0", NOON),
        ("٢٠٢١:٠٥:٠٦ ١٢:٣٠:١٥".encode(), NOON),
        (NOON.encode("utf-16"), NOON),
        (NOON.encode("utf-16-le"), NOON),
        (NOON.encode("utf-16-be"), NOON),
        # clocks of twelve hours, and the ends of days
        ("2021:05:06 02:30:15 PM", "2021-05-06T14:30:15"),
        ("2021:05:06 12:30:15 am", "2021-05-06T00:30:15"),
        ("2021:05:06 24:00:00", "2021-05-07T00:00:00"),
        ("2016:12:31 23:59:60", "2016-12-31T23:59:59"),
        # days alone
        ("2021:05:06", DAY),
        ("2021:05:06   :  :  ", DAY),
        ("20210506", DAY),
        # what can't be true, or isn't a moment
        ("2021:02:30 12:00:00", None),
        ("2021:05:06 25:00:00", None),
        ("2021:05:06 12:61:00", None),
        ("0000:00:00 00:00:00", None),
        ("9999:12:31 24:00:00", None),
        ("2021", None),
        ("2021:05", None),
        ("1620297015", None),
        ("yesterday", None),
    ],
)
def test_a_time_is_read_as_programs_write_it(written: str | bytes, expected: str | None) -> None:
    data = encoded(photo(24, 16), "JPEG", exif=exif_with({}, {0x9003: written}))
    assert open_image(data).metadata.taken_at == expected


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        ("+0200", f"{NOON}+02:00"),
        ("+02", f"{NOON}+02:00"),
        ("+2:00", f"{NOON}+02:00"),
        ("-03:30", f"{NOON}-03:30"),
        ("Z", f"{NOON}+00:00"),
        ("-00:00", f"{NOON}+00:00"),
        ("+15:00", NOON),
        ("+02:75", NOON),
        ("02:00", NOON),
        ("local", NOON),
    ],
)
def test_an_offset_is_read_as_programs_write_it(offset: str, expected: str) -> None:
    details = {0x9003: "2021:05:06 12:30:15", 0x9011: offset}
    assert metadata_of(exif_with({}, details))["taken_at"] == expected
    details[0x9003] += "+05:00"  # what stands in the date itself comes first
    assert metadata_of(exif_with({}, details))["taken_at"] == f"{NOON}+05:00"


NOTHING = IFDRational(0, 0)
PARIS = (48.85, 2.35)


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [
        ((48.0, 51.0, NOTHING), (2.0, 21.0, NOTHING), PARIS),
        ((48.0, 51.0), (2.0, 21.0), PARIS),
        ((48.85, NOTHING, NOTHING), (2.35, NOTHING, NOTHING), PARIS),
        ((48.85, 0.0, 0.0), (2.35, 0.0, 0.0), PARIS),
        (48.85, 2.35, PARIS),
        ((48.0, 50.5, 30.0), (2.0, 20.0, 60.0), PARIS),
        ("48 51 0", "2 21 0", PARIS),
        ("48/1, 51/1, 0/1", "2/1, 21/1, 0/0", PARIS),
        ("48°51'0\"", "2°21'0\"", PARIS),
        ("48,51.0N", "2,21.0E", PARIS),
        ("48.85", "2.35", PARIS),
        ((48.0, NOTHING, 12.0), (2.0, 21.0, 0.0), None),
        ((NOTHING, 51.0, 0.0), (2.0, 21.0, 0.0), None),
        ((48.0, 75.0, 0.0), (2.0, 21.0, 0.0), None),
        ((48.0, 51.0, 0.0), (181.0, 0.0, 0.0), None),
        ("somewhere", "else", None),
        ("-48.85", "2.35", None),
    ],
)
def test_a_place_is_read_as_programs_write_it(
    latitude: object, longitude: object, expected: tuple[float, float] | None
) -> None:
    for north, east in (("N", "E"), ("n", "e"), ("North", "East"), ("N\0", "E\0")):
        gps = {1: north, 2: latitude, 3: east, 4: longitude}
        assert place_of(gps) == (pytest.approx(expected) if expected else (None, None))


def place_of(gps: dict[int, object]) -> tuple[object, object]:
    if isinstance(gps[2], str):
        found = open_image(encoded(photo(), "JPEG", exif=exif_of_texts(gps))).metadata
        return found.latitude, found.longitude
    exif = Image.Exif()
    exif.get_ifd(0x8825).update(gps)
    metadata = metadata_of(exif)
    return metadata["latitude"], metadata["longitude"]


def exif_of_texts(gps: dict[int, object]) -> bytes:
    """Return EXIF whose GPS tags are all text, which Pillow doesn't write."""
    place = 32 + 12 * len(gps)
    table, texts = struct.pack(">H", len(gps)), b""
    for tag, value in gps.items():
        text = str(value).encode().ljust(5, b"\0") + b"\0"
        table += struct.pack(">HHLL", tag, 2, len(text), place + len(texts))
        texts += text
    pointer = struct.pack(">HHHLLL", 1, 0x8825, 4, 1, 26, 0)
    return b"Exif\0\0MM\0*\0\0\0\x08" + pointer + table + bytes(4) + texts


def test_a_place_in_the_south_or_west_may_also_have_a_sign() -> None:
    for south, west in (("33 51 0", "151 12 36"), ("-33.85", "-151.21")):
        assert place_of({1: "S", 2: south, 3: "W", 4: west}) == pytest.approx((-33.85, -151.21))
    assert place_of({2: "33,51.0S", 4: "151,12.6W"}) == pytest.approx((-33.85, -151.21))


@pytest.mark.parametrize(
    ("gps", "expected"),
    [
        ({0x1D: "2021:05:06", 7: (12.0, 30.0, 15.9)}, f"{NOON}+00:00"),
        ({0x1D: "2021:05:06"}, DAY),
        ({0x1D: "2021:05:06", 7: (NOTHING,) * 3}, DAY),
        ({7: (12.0, 30.0, 15.0)}, None),
        ({0x1D: "1980:01:06", 7: (0.0, 0.0, 3.0)}, None),
    ],
)
def test_the_time_of_the_satellites_serves_where_there_is_no_other(
    gps: dict[int, object], expected: str | None
) -> None:
    for tags, taken in (({}, expected), ({0x0132: "2020:01:02 03:04:05"}, "2020-01-02T03:04:05")):
        exif = exif_with(tags)
        exif.get_ifd(0x8825).update(gps)
        assert metadata_of(exif)["taken_at"] == taken


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("SONY", None, "SONY"),
        (None, "Pixel 7", "Pixel 7"),
        ("\0\0", "   ", None),
        ("Köln", "Größe", "Köln Größe"),
        ("A\nB", "C\tD", "A B C D"),
    ],
)
def test_the_camera_names_its_maker_once(
    make: str | None, model: str | None, expected: str | None
) -> None:
    tags = {0x010F: make, 0x0110: model}
    values = {t: v.encode() if not v.isascii() else v for t, v in tags.items() if v is not None}
    assert metadata_of(exif_with(values))["camera"] == expected


@pytest.mark.parametrize(
    "gps",
    [
        {1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (10.0, 0.0, 0.0)},
        {1: "N", 2: (IFDRational(0, 0),) * 3, 3: "E", 4: (IFDRational(0, 0),) * 3},
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},
        {2: (50.0, 0.0, 0.0), 4: (10.0, 0.0, 0.0)},
        {1: "N", 2: (50.0, 0.0, 0.0)},
        {1: "X", 2: (50.0, 0.0, 0.0), 3: "Y", 4: (10.0, 0.0, 0.0)},
    ],
)
def test_a_place_that_cannot_be_true_is_no_place(gps: dict[int, object]) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825).update(gps)
    metadata = metadata_of(exif)
    assert (metadata["latitude"], metadata["longitude"]) == (None, None)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("damage", [b"", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff" * 3])
def test_damaged_exif_never_costs_a_good_picture(damage: bytes) -> None:
    opened = open_image(encoded(photo(), "JPEG", exif=b"Exif\0\0" + damage))
    assert opened.metadata.taken_at is None
    assert opened.image.size == (120, 80)


# Reasons


FORMATS: dict[str, dict[str, object]] = {
    "JPEG": {},
    "PNG": {},
    "WEBP": {},
    "TIFF": {},
    "BMP": {},
    "GIF": {},
    "JPEG2000": {},
    "PPM": {},
    "AVIF": {},
    "HEIF": {},
}


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("format_name", FORMATS)
def test_a_truncated_picture_never_passes_as_whole(format_name: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(-20, 20, (200, 300, 3))
    pixels = np.clip(np.asarray(photo(300, 200)).astype(int) + noise, 0, 255).astype(np.uint8)
    data = encoded(Image.fromarray(pixels), format_name)
    why = reason(data[: int(len(data) * part)])
    assert why.startswith(("truncated", "undecodable JPEG2000")), why


def test_a_truncated_progressive_jpeg_never_passes_as_whole() -> None:
    data = encoded(photo(600, 400), "JPEG", progressive=True)
    assert reason(data[:-20]) == "truncated JPEG: the picture data ends early"
    with pytest.raises(UnreadableImage):
        open_image(data[:-20], shrink_to=50)


@pytest.fixture(scope="module")
def tiled_heic() -> bytes:
    """Return a picture of 16 separately coded tiles, as phones write them."""
    noise = np.random.default_rng(0).integers(0, 60, (512, 512, 3), np.uint8)
    picture = Image.fromarray(np.asarray(photo(512, 512)) // 2 + noise)
    return encoded(picture, "HEIF", tile_size=128)


def test_a_heic_that_lost_its_last_tiles_never_passes_as_whole(tiled_heic: bytes) -> None:
    assert open_image(tiled_heic).image.size == (512, 512)
    for part in (0.5, 0.8, 0.99):
        assert reason(tiled_heic[: int(len(tiled_heic) * part)]).startswith("truncated HEIF")


def test_a_heic_with_unreadable_tiles_never_passes_as_whole(tiled_heic: bytes) -> None:
    half, third = len(tiled_heic) // 2, len(tiled_heic) // 3
    damaged = tiled_heic[:half] + bytes(third) + tiled_heic[half + third :]
    assert reason(damaged) == "damaged HEIF: parts of the picture can't be decoded"


def test_a_file_that_cannot_be_read_is_told_apart_from_a_bad_picture(tmp_path: Path) -> None:
    assert reason(tmp_path / "missing.jpg").startswith("no such file")
    assert reason(tmp_path) == "a folder, not a picture"
    if os.name == "posix":
        os.mkfifo(tmp_path / "pipe.jpg")
        assert reason(tmp_path / "pipe.jpg") == "not a regular file"


def test_a_path_and_its_bytes_open_alike(tmp_path: Path) -> None:
    path = tmp_path / "picture-without-suffix"
    path.write_bytes(encoded(photo(), "PNG"))
    one, other = open_image(path), open_image(path.read_bytes())
    assert one.metadata == other.metadata
    assert difference(one.image, other.image) == 0


# Limits


@pytest.mark.parametrize("format_name", ["PNG", "GIF", "TIFF", "BMP", "WEBP", "JPEG"])
def test_a_picture_over_the_limit_is_refused_with_its_size(format_name: str) -> None:
    data = encoded(photo(400, 300).convert("L"), format_name)
    expected = "too large: 0.2 megapixels, limit 0.1 (see --max-megapixels)"
    assert reason(data, max_megapixels=0.1) == expected
    assert open_image(data, max_megapixels=0.12).image.size == (400, 300)


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    header = b"IHDR" + (30_000).to_bytes(4, "big") * 2 + b"\1\0\0\0\0"
    real = encoded(Image.new("1", (8, 8)), "PNG")
    bomb = real[:12] + header + zlib.crc32(header).to_bytes(4, "big") + real[33:]
    assert reason(bomb, max_megapixels=256) == (
        "too large: 900 megapixels, limit 256 (see --max-megapixels)"
    )


def test_the_limit_may_be_raised_above_that_of_pillow() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    side = int((2.1 * Image.MAX_IMAGE_PIXELS) ** 0.5)
    data = encoded(Image.new("L", (side, side), 99), "JPEG")
    opened = open_image(data, shrink_to=224, max_megapixels=400)
    assert (opened.metadata.width, opened.metadata.height) == (side, side)
    assert 3 * 224 <= opened.image.width < side // 8 + 1
    assert opened.image.getpixel((5, 5)) == (99, 99, 99)


def test_the_default_limit_takes_the_photos_of_phones_and_fits_memory() -> None:
    assert 50 <= DEFAULT_MAX_MEGAPIXELS <= 256


# Manners


def test_nothing_process_wide_is_changed() -> None:
    script = """
import io, warnings
from PIL import Image, ImageFile
data = io.BytesIO(); Image.new("RGB", (9, 9)).save(data, "PNG")
def state():
    return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)
before = state()
from clipsearch.photos.opening import open_image
open_image(data.getvalue())
assert state() == before
assert "HEIF" not in Image.OPEN
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_importing_the_module_imports_no_pillow() -> None:
    script = "import sys, clipsearch.photos.opening as m; assert 'PIL' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_several_threads_open_pictures_at_once() -> None:
    pictures = {
        name: encoded(photo(), name, icc_profile=adobe_like_profile())
        for name in ("JPEG", "PNG", "TIFF", "WEBP", "AVIF")
    }
    pictures["HEIF"] = encoded(photo(), "HEIF")
    expected = {name: open_image(data).image.tobytes() for name, data in pictures.items()}
    start = threading.Barrier(4)

    def work(_: int) -> list[bool]:
        start.wait()
        return [
            open_image(data).image.tobytes() == expected[name]
            for _ in range(10)
            for name, data in pictures.items()
        ]

    with ThreadPoolExecutor(4) as pool:
        assert all(all(same) for same in pool.map(work, range(4)))


def test_a_warning_made_an_error_is_still_only_a_bad_picture() -> None:
    data = encoded(photo(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert isinstance(open_image(data), OpenedImage)
        except UnreadableImage as error:
            assert "\n" not in str(error)


def test_pillow_is_never_told_to_accept_truncated_pictures() -> None:
    open_image(encoded(photo(), "JPEG"))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
