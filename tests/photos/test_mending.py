"""A picture that lacks no pixel opens, whatever else it lacks; one that lacks some does not."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from clipsearch.errors import UnreadableImage
from clipsearch.photos.opening import open_image

NOISE = np.clip(np.random.default_rng(0).normal(128, 40, (83, 117, 3)), 0, 255).astype(np.uint8)

# How programs write JPEGs: in one scan or several, with restarts, colour at half size or not.
JPEGS: dict[str, dict[str, object]] = {
    "baseline": {},
    "best": {"quality": 100, "subsampling": 0},
    "optimized": {"optimize": True, "quality": 60},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 5},
    "gray": {"mode": "L"},
    "cmyk": {"mode": "CMYK"},
}


def encoded(format_name: str, *, mode: str = "RGB", pixels: object = NOISE, **options: object):
    stream = io.BytesIO()
    image = Image.fromarray(pixels).convert(mode)
    if format_name == "HEIF":
        pillow_heif.from_pillow(image).save(stream, **options)
    else:
        image.save(stream, format_name, **options)
    return stream.getvalue()


def jpeg(kind: str, **options: object) -> bytes:
    data = encoded("JPEG", **{**JPEGS[kind], **options})
    assert data.endswith(b"\xff\xd9")
    return data


def smooth() -> np.ndarray:
    """Return a sky over white ground, whose lower half has next to no bits."""
    rows = np.linspace(120, 300, 83).clip(0, 255).astype(np.uint8)
    return np.repeat(np.repeat(rows[:, None, None], 117, 1), 3, 2)


def same_pixels(data: bytes, whole: bytes) -> None:
    for side in (None, 8):
        one, other = open_image(data, shrink_to=side), open_image(whole, shrink_to=side)
        assert np.array_equal(np.asarray(one.image), np.asarray(other.image))
        assert one.metadata == other.metadata


def refused(data: bytes) -> None:
    for side in (None, 8):
        with pytest.raises(UnreadableImage, match=r"truncated|undecodable"):
            open_image(data, shrink_to=side)


def chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


# JPEG


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_without_its_last_marker_opens_with_every_pixel(kind: str) -> None:
    whole = jpeg(kind)
    for missing in (1, 2):
        same_pixels(whole[:-missing], whole)
        same_pixels(whole[:-missing] + bytes(700), whole)  # a file that was allocated in advance


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("pixels", [NOISE, smooth()], ids=["noise", "smooth"])
def test_a_jpeg_opens_only_if_no_pixel_is_lost(kind: str, pixels: np.ndarray) -> None:
    whole = jpeg(kind, pixels=pixels)
    for missing in (3, 4, 5, 6, 8, 11, 16, 40, 200):
        data = whole[:-missing]
        if plain(data + b"\xff\xd9") != plain(whole):
            refused(data)
            refused(data + bytes(700))


def plain(data: bytes) -> bytes | None:
    """Return the pixels that Pillow alone has, with the filling of libjpeg."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.tobytes()
    except OSError:
        return None


def scans(data: bytes) -> list[int]:
    return [found.start() for found in re.finditer(rb"\xff[\xc4\xda]", data)]


def test_a_progressive_jpeg_that_lacks_whole_scans_is_refused() -> None:
    whole = jpeg("progressive")
    for place in scans(whole)[4:]:
        with pytest.raises(UnreadableImage):
            open_image(whole[:place])


def test_a_jpeg_cut_at_its_last_restart_is_refused() -> None:
    whole = jpeg("restarts")
    last = max(found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", whole))
    for place in (last, last + 1, last + 2):
        refused(whole[:place])


def test_what_follows_a_whole_jpeg_does_not_matter() -> None:
    whole = jpeg("baseline")
    for after in (b"x", bytes(5000), b"\xff" * 9, b"<html>", whole[:200]):
        same_pixels(whole + after, whole)


def test_of_several_pictures_in_a_jpeg_only_the_first_must_be_whole() -> None:
    other = Image.fromarray(NOISE[::-1])
    whole = encoded("MPO", save_all=True, append_images=[other])
    end = whole.index(b"\xff\xd9")
    same_pixels(whole[:-500], whole)
    same_pixels(whole[: end + 2], whole)
    same_pixels(whole[:end], whole)
    same_pixels(whole[:end] + whole[end + 2 :], whole)
    refused(whole[: end - 30])


def test_a_jpeg_without_its_last_marker_over_the_limit_is_refused_for_its_size() -> None:
    with pytest.raises(UnreadableImage, match="too large"):
        open_image(jpeg("baseline")[:-2], max_megapixels=0.001)


# The other formats


def png_parts() -> Iterator[tuple[str, bytes]]:
    whole = encoded("PNG")
    note = b"Comment\0sunny"
    yield "without IEND", whole[:-12]
    yield "half an IEND", whole[:-5]
    yield "bad sum in a note", whole[:33] + chunk(b"tEXt", note, crc=7) + whole[33:]
    yield "bad sum after the pixels", whole[:-12] + chunk(b"tEXt", note, crc=7) + whole[-12:]
    yield "cut in a note after the pixels", whole[:-12] + chunk(b"tEXt", note)[:12]
    yield "a damaged profile", whole[:33] + chunk(b"iCCP", b"x\0\7", crc=7) + whole[33:]
    yield "something after the end", whole + b"\nxyz"


@pytest.mark.parametrize("data", [pytest.param(d, id=name) for name, d in png_parts()])
def test_a_png_with_every_pixel_opens(data: bytes) -> None:
    assert np.array_equal(np.asarray(open_image(data).image), NOISE)


def test_a_png_with_a_damaged_header_or_without_its_last_rows_is_refused() -> None:
    whole = encoded("PNG")
    for data in (whole[:-400], whole[:29] + b"\0\0\0\7" + whole[33:]):
        with pytest.raises(UnreadableImage):
            open_image(data)


@pytest.mark.parametrize("lossless", [False, True])
def test_a_webp_that_says_a_wrong_size_opens_if_its_parts_are_whole(lossless: bool) -> None:
    whole = encoded("WEBP", lossless=lossless, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    size = len(whole) - 8
    for said in (0, size - 2, size - 1, size + 1, size + 2, 0xFFFFFFFF):
        same_pixels(whole[:4] + struct.pack("<I", said) + whole[8:], whole)
    same_pixels(whole[:-5], whole)  # the EXIF is cut
    picture = next(place for place in (whole.find(b"VP8 "), whole.find(b"VP8L")) if place > 0)
    end = picture + 8 + int.from_bytes(whole[picture + 4 : picture + 8], "little")
    for cut in (end - 2, end - 300):
        refused(whole[:cut])


def test_a_webp_without_its_last_byte_of_padding_opens() -> None:
    whole = encoded("WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0x")
    assert whole.endswith(b"x\0")
    same_pixels(whole[:-1], whole)


@pytest.mark.parametrize("options", [{}, {"no_jp2": True, "irreversible": True}])
def test_a_jpeg_2000_without_its_last_marker_opens(options: dict[str, object]) -> None:
    whole = encoded("JPEG2000", **options)
    same_pixels(whole[:-2], whole)
    same_pixels(whole[:-1], whole)
    for missing in (3, 4, 30):
        refused(whole[:-missing])


@pytest.mark.parametrize("format_name", ["HEIF", "AVIF"])
def test_what_follows_the_picture_in_a_heic_may_be_cut(format_name: str) -> None:
    whole = encoded(format_name)
    for after in (b"x" * 3, b"x" * 40, struct.pack(">I4s", 100, b"free") + bytes(20)):
        same_pixels(whole + after, whole)
    refused(whole[:-1])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_endings_that_other_formats_can_do_without() -> None:
    gif = encoded("GIF")
    same_pixels(gif[:-1], gif)
    bmp = encoded("BMP")
    for place in (2, 34):  # the size of the file, and of the pixels
        same_pixels(bmp[:place] + bytes(4) + bmp[place + 4 :], bmp)
    tiff = encoded("TIFF")
    start = int.from_bytes(tiff[4:8], "little")
    count = int.from_bytes(tiff[start : start + 2], "little")
    directory = tiff[start : start + 2 + 12 * count]  # without where the next one is
    moved = tiff + b"x" * (1 + len(tiff) % 2)
    same_pixels(moved[:4] + struct.pack("<I", len(moved)) + moved[8:] + directory, tiff)
