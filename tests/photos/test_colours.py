"""Pictures of every mode and colour profile come out as plain RGB, in sRGB."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
from made_pictures import adobe_like_profile, difference, encoded, photo
from PIL import Image, ImageCms

from clipsearch.photos.opening import open_image, upright_rgb

needs_pillow_13 = pytest.mark.skipif(
    int(PIL.__version__.partition(".")[0]) < 13, reason="Pillow before 13 can't open it"
)


@pytest.mark.parametrize(
    ("format_name", "mode"),
    [
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("TIFF", "RGBX"),
        pytest.param("TIFF", "YCbCr", marks=needs_pillow_13),
        ("WEBP", "RGBA"),
        ("BMP", "RGB"),
        ("PPM", "RGB"),
        ("JPEG2000", "RGB"),
        ("ICO", "RGBA"),
        ("GIF", "P"),
        ("PNG", "P"),
        ("TIFF", "CMYK"),
        ("JPEG", "CMYK"),
        ("TIFF", "LAB"),
    ],
)
def test_every_colour_mode_shows_the_same_picture(format_name: str, mode: str) -> None:
    picture = photo()
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        stored = ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB")
    else:
        stored = picture.quantize(256) if mode == "P" else picture.convert(mode)
    options = {"sizes": [picture.size]} if format_name == "ICO" else {}
    opened = open_image(encoded(stored, format_name, **options))
    assert opened.image.mode == "RGB"
    assert opened.metadata.format == format_name
    assert difference(opened.image, picture) < (7 if mode in ("P", "CMYK") else 2)


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_gray_of_16_bits_is_scaled_not_clipped(format_name: str) -> None:
    gray = np.asarray(photo().convert("L"))
    deep = Image.fromarray(gray.astype(np.uint16) * 257)
    opened = open_image(encoded(deep, format_name))
    assert difference(opened.image, Image.fromarray(gray).convert("RGB")) <= 1


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[0, 4095]], np.uint16), [0, 255]),  # 12 bits
        (np.array([[0, 2048, 4095]], np.uint16), [0, 128, 255]),
        (np.array([[0, 32768, 65535]], np.uint16), [0, 128, 255]),
        (np.array([[0, 128, 255]], np.int32), [0, 128, 255]),
        (np.array([[-1000, 0, 3000]], np.int32), [0, 64, 255]),
        (np.array([[0, 1_000_000]], np.int32), [0, 255]),
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 128.0, 255.0]], np.float32), [0, 128, 255]),
        (np.array([[-3.0, np.nan, 3.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, np.inf, 1.0]], np.float32), [0, 0, 255]),
        (np.array([[7000.0, 7000.0]], np.float32), [0, 0]),
    ],
)
def test_deep_gray_goes_from_black_to_white(pixels: np.ndarray, expected: list[int]) -> None:
    opened = open_image(encoded(Image.fromarray(pixels), "TIFF"))
    assert np.asarray(opened.image)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("mode", ["RGBA", "LA", "La", "RGBa", "PA"])
def test_alpha_is_laid_on_white(mode: str) -> None:
    straight = {"La": "LA", "RGBa": "RGBA"}.get(mode, mode)
    black = Image.new("P" if mode == "PA" else "RGB", (3, 1)).convert(straight)
    black.putalpha(Image.frombytes("L", (3, 1), b"\xff\x80\x00"))
    opened = upright_rgb(black if mode == straight else black.convert(mode))
    assert np.asarray(opened)[0].tolist() == [[0] * 3, [127] * 3, [255] * 3]


@pytest.mark.parametrize("mode", ["P", "L", "1", "RGB"])
def test_a_transparent_colour_is_laid_on_white(mode: str) -> None:
    picture = Image.new("RGB", (2, 1), "black")
    picture.putpixel((1, 0), (255, 0, 0) if mode in ("P", "RGB") else (255, 255, 255))
    stored = picture.convert(mode, palette=Image.Palette.ADAPTIVE, colors=2)
    transparent = stored.getpixel((0, 0))
    opened = open_image(encoded(stored, "PNG", transparency=transparent))
    assert opened.image.getpixel((0, 0)) == (255, 255, 255)
    assert opened.image.getpixel((1, 0)) == picture.getpixel((1, 0))


def test_a_wide_gamut_photo_is_brought_to_srgb() -> None:
    picture = Image.new("RGB", (8, 8), (100, 200, 100))
    opened = open_image(encoded(picture, "PNG", icc_profile=adobe_like_profile()))
    red, green, blue = opened.image.getpixel((4, 4))
    assert red < 60 and green >= 199 and abs(blue - 97) < 8  # a stronger green than sRGB's own


def test_an_srgb_or_damaged_profile_changes_no_pixel() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile at all", srgb[:200]):
        opened = open_image(encoded(photo(), "PNG", icc_profile=profile))
        assert difference(opened.image, photo()) == 0
