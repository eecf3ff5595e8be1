"""How a photo was taken, in words: from files of several kinds, true and untrue."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal

import numpy as np
import pytest
from made_pictures import encoded, photo
from made_raws import Said, dng
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from clipsearch.errors import UnreadableImage
from clipsearch.photos.decoder_pool import DecoderPool
from clipsearch.photos.decoder_process import Wanted
from clipsearch.photos.exposure import exposure_in
from clipsearch.photos.preprocessing import Preprocessing

TAKEN: dict[int, Any] = {
    0x829A: IFDRational(1, 250),
    0x829D: IFDRational(28, 10),
    0x8827: 200,
    0x9204: IFDRational(-1, 3),
    0x9209: 1,
    0x920A: IFDRational(50, 1),
    0xA405: 75,
}
SAID = (
    ("Exposure", "1/250 s"),
    ("Aperture", "f/2.8"),
    ("ISO", "200"),
    ("Exposure bias", "-0.3 EV"),
    ("Focal length", "50 mm"),
    ("Focal length in 35 mm", "75 mm"),
    ("Flash", "fired"),
    ("Software", "Darkroom 2"),
)


def with_exif(main: dict[int, Any], details: dict[int, Any], kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif.update(main)
    exif.get_ifd(0x8769).update(details)
    return encoded(photo(), kind, exif=exif)


def said(details: dict[int, Any]) -> dict[str, str]:
    return dict(exposure_in(with_exif({}, details), 100))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_each_kind_of_file_tells_how_it_was_taken(kind: str) -> None:
    assert exposure_in(with_exif({0x0131: "Darkroom 2"}, TAKEN, kind), 100) == SAID


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_raw_photo_tells_it(order: Literal["<", ">"]) -> None:
    upright = np.asarray(photo(96, 64))
    data = dng(upright, said=Said(aperture=(56, 10)), order=order)
    assert exposure_in(data, 100) == (("Aperture", "f/5.6"),)
    assert exposure_in(dng(upright, order=order), 100) == ()


def test_a_decoding_process_tells_it() -> None:
    data = with_exif({0x0131: "Darkroom 2"}, TAKEN)
    with DecoderPool(Preprocessing(224, 224), max_megapixels=100, workers=1) as pool:
        told = pool.submit(data, Wanted(pixels=False, exposure=True)).result()
        assert (told.exposure, told.pixels.size, told.picture) == (SAID, 0, None)
        with pytest.raises(UnreadableImage):
            pool.submit(b"no picture", Wanted(pixels=False, exposure=True)).result()
        assert pool.submit(data).result().exposure == ()  # what was not asked for


def test_numbers_are_written_as_on_a_camera() -> None:
    assert said({0x829A: IFDRational(30, 1)}) == {"Exposure": "30 s"}
    assert said({0x829A: IFDRational(1, 2)}) == {"Exposure": "0.5 s"}
    assert said({0x829A: IFDRational(10, 1600)}) == {"Exposure": "1/160 s"}
    assert said({0x829D: IFDRational(8, 1)}) == {"Aperture": "f/8"}
    assert said({0x9204: IFDRational(1, 1)}) == {"Exposure bias": "+1 EV"}
    assert said({0x9204: IFDRational(0, 1)}) == {}
    assert said({0x9209: 16}) == {"Flash": "off"}
    assert said({0x8827: (400, 0)}) == {"ISO": "400"}


@pytest.mark.parametrize(
    "value", [IFDRational(0, 1), IFDRational(1, 0), IFDRational(0, 0), "soon", b"\xff\xfe"]
)
def test_what_cannot_be_true_is_not_said(value: Any) -> None:
    for tag in (0x829A, 0x829D, 0x920A):
        try:
            data = with_exif({}, {tag: value})
        except (TypeError, ValueError):  # Pillow writes no such thing
            continue
        assert exposure_in(data, 100) == ()


def test_texts_are_one_line_and_not_long() -> None:
    main = {0x0131: "a\x1b[31m\nb", 0x013B: "x" * 5000, 0x8298: "© <script>".encode()}
    told = dict(exposure_in(with_exif(main, {}), 100))
    assert told["Software"] == "a [31m b"
    assert len(told["Artist"]) == 200
    assert told["Copyright"] == "© <script>"


def test_damaged_exif_says_nothing() -> None:
    data = with_exif({0x0131: "Darkroom 2"}, TAKEN)
    at = data.index(b"Exif\0\0") + 6
    for cut in range(at, at + 60, 3):
        with suppress(UnreadableImage):
            told = exposure_in(data[:cut] + b"\xff" * 8 + data[cut + 8 :], 100)
            assert all(name and value for name, value in told)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage):
        exposure_in(data, 100)
