"""What people are shown of a photo: upright, in sRGB, never enlarged, the picture and no more."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from misbehaving_decoder import MARK, MISBEHAVING
from PIL import Image, ImageCms, ImageOps
from places import EXAMPLES

from clipsearch.errors import UnreadableImage
from clipsearch.photos.decoder_pool import DecoderPool
from clipsearch.photos.decoder_process import Wanted
from clipsearch.photos.preparing import Prepared, prepare
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.photos.rendering import Rendering, render

SMALL, LARGE = Rendering("WEBP", 480), Rendering("WEBP", 1600)
MODEL = Preprocessing(256, 256)


def as_file(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def photo(width: int, height: int) -> Image.Image:
    """Return a real photo, at a size that it may not have."""
    with Image.open(sorted(EXAMPLES.rglob("*.jpg"))[0]) as image:
        return ImageOps.fit(image.convert("RGB"), (width, height))


@pytest.mark.parametrize(
    ("size", "wanted", "comes"),
    [
        ((4000, 3000), SMALL, (480, 360)),
        ((3000, 4000), LARGE, (1200, 1600)),
        ((3000, 3000), LARGE, (1600, 1600)),
        ((4000, 400), SMALL, (480, 48)),
        ((4000, 2), SMALL, (480, 1)),
        ((481, 480), SMALL, (480, 479)),
        ((300, 200), SMALL, (300, 200)),
        ((1, 1), LARGE, (1, 1)),
    ],
)
def test_the_longer_side_has_so_many_pixels_and_never_more_than_the_photo(
    size: tuple[int, int], wanted: Rendering, comes: tuple[int, int]
) -> None:
    whole = photo(*size)
    with opened(render(as_file(whole, quality=95), wanted)[1]) as made:
        assert (made.format, made.size, made.mode) == ("WEBP", comes, "RGB")
        reference = np.asarray(whole.resize(comes, Image.Resampling.BOX), np.float64)
        assert np.abs(np.asarray(made) - reference).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_stands_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = as_file(photo(600, 400), exif=exif, quality=95)
    with opened(data) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    for wanted in (SMALL, Rendering("JPEG")):
        with opened(render(data, wanted)[1]) as made:
            reference = np.asarray(upright.resize(made.size, Image.Resampling.BOX), np.float64)
            assert np.abs(np.asarray(made) - reference).mean() < 8
            assert made.getexif().get(0x0112, 1) == 1


def test_nothing_is_in_it_but_the_picture() -> None:
    exif = Image.Exif()
    exif[0x010E] = "written by somebody"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 24.0)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    secrets = {
        "exif": exif,
        "icc_profile": profile,
        "comment": b"a comment",
        "xmp": b"<x:xmpmeta/>",
    }
    for size in ((400, 300), (4000, 3000)):
        data = as_file(photo(*size), **secrets)
        for wanted in (SMALL, LARGE, Rendering("JPEG")):
            made = render(data, wanted)[1]
            with opened(made) as image:
                assert not image.getexif()
                left = image.info.keys() - {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
                assert left <= {"loop", "background", "timestamp", "duration"}
            assert b"somebody" not in made and b"comment" not in made and b"xmp" not in made.lower()


def test_colours_of_another_space_become_those_of_srgb() -> None:
    """A profile whose red is green: whoever ignores it shows another colour."""
    swapped = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = swapped.index(b"rXYZ"), swapped.index(b"gXYZ")
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    data = as_file(Image.new("RGB", (600, 400), (220, 20, 20)), icc_profile=bytes(swapped))
    for wanted in (SMALL, Rendering("JPEG")):
        with opened(render(data, wanted)[1]) as made:
            red_value, green_value, _ = made.convert("RGB").getpixel((50, 50))
            assert green_value > 150 > red_value


def test_all_kinds_come_whole_as_jpeg() -> None:
    whole = photo(700, 500)
    deep = Image.fromarray(np.asarray(whole.convert("L")).astype(np.uint16) * 257)
    for data in (
        as_file(whole, "TIFF"),
        as_file(deep, "TIFF"),
        as_file(whole.convert("RGBA"), "PNG"),
    ):
        with opened(render(data, Rendering("JPEG"))[1]) as made:
            assert (made.format, made.size, made.mode) == ("JPEG", (700, 500), "RGB")


def test_a_picture_comes_beside_a_models_pixels_and_changes_none_of_them() -> None:
    data = as_file(photo(2000, 1500), quality=95)
    alone, both = prepare(data, MODEL), prepare(data, MODEL, also=SMALL)
    assert isinstance(alone, Prepared) and isinstance(both, Prepared)
    assert alone.picture is None and both.picture is not None
    assert both._replace(picture=None) == alone
    with opened(both.picture) as beside, opened(render(data, SMALL)[1]) as own:
        assert beside.size == own.size == (480, 360)
        assert np.abs(np.asarray(beside, np.float64) - np.asarray(own)).mean() < 3
    too_large = prepare(data, Preprocessing(64, 64), also=SMALL)
    assert isinstance(too_large, Prepared) and too_large.picture is None


def test_processes_make_them_and_what_goes_wrong_costs_one_photo() -> None:
    data = as_file(photo(900, 600))
    wanted = Wanted(pixels=False, picture=SMALL)
    with DecoderPool(MODEL, max_megapixels=64, workers=1, seconds=2, _entry=MISBEHAVING) as pool:
        good = [pool.submit(data, wanted)]
        bad = [pool.submit(MARK + what, wanted) for what in (b"crash", b"sleep", b"eat 4000")]
        good += [pool.submit(data, wanted), pool.submit(data, Wanted(picture=SMALL))]
        for one in bad:
            assert isinstance(one.exception(60), UnreadableImage)
        made = [one.result(60) for one in good]
    assert made[0].picture == made[1].picture == render(data, SMALL)[1]
    assert made[0].pixels.shape == (0, 0, 3)
    assert made[2].pixels.shape == (256, 256, 3) and made[2].picture is not None
    assert (made[0].metadata.width, made[0].metadata.height) == (900, 600)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    bomb = as_file(Image.new("1", (10_000, 10_000)), "PNG")
    with pytest.raises(UnreadableImage, match="too large: 100 megapixels, limit 64"):
        render(bomb, LARGE, max_megapixels=64)
