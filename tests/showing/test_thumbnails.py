"""Small pictures of photos: upright, in proportion, none of what is no photo, all without harm."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from places import EXAMPLES

from clipsearch.showing.thumbnails import jpeg, thumbnails

SIDE = 48


def test_each_photo_has_its_picture_in_order_and_what_is_no_photo_has_none(tmp_path: Path) -> None:
    photos = sorted(EXAMPLES.rglob("*.jpg"))[:6]
    (tmp_path / "text.jpg").write_text("no picture")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(photos[0].read_bytes()[:5000])
    asked = [photos[0], tmp_path / "gone.jpg", *photos[1:], tmp_path / "text.jpg", cut, tmp_path]
    made = list(thumbnails(asked, SIDE))
    assert [picture is not None for picture in made] == [True, False, *[True] * 5, *[False] * 3]
    for path, picture in zip(photos, [made[0], *made[2:7]], strict=True):
        assert picture is not None
        with Image.open(path) as image:
            wanted = np.asarray(
                ImageOps.exif_transpose(image)
                .convert("RGB")
                .resize(picture.shape[1::-1], Image.Resampling.BOX),
                np.float64,
            )
            assert abs(image.width / image.height - picture.shape[1] / picture.shape[0]) < 0.08
        assert max(picture.shape) == SIDE
        assert np.abs(picture - wanted).mean() < 12, path


def test_a_picture_has_no_border_and_stands_upright(tmp_path: Path) -> None:
    sizes = [(400, 100), (90, 400), (30, 20), (1, 300)]
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    files = [tmp_path / f"{width}x{height}.jpg" for width, height in sizes]
    for file, size in zip(files, sizes, strict=True):
        Image.new("RGB", size, (200, 40, 40)).save(file, exif=exif)
    for size, picture in zip(sizes, thumbnails(files, SIDE), strict=True):
        assert picture is not None
        height, width = (max(side * SIDE // max(size), 1) for side in size)
        assert picture.shape == (height, width, 3)
        assert (np.abs(picture.astype(int) - (200, 40, 40)) < 12).all()


def test_pictures_that_are_not_asked_for_are_not_waited_for() -> None:
    made = thumbnails(sorted(EXAMPLES.rglob("*.jpg"))[:19], SIDE)
    assert next(made) is not None
    made.close()


def test_a_jpeg_holds_the_picture_and_nothing_else() -> None:
    pixels = np.full((20, 30, 3), (10, 200, 90), np.uint8)
    with Image.open(io.BytesIO(jpeg(pixels))) as image:
        assert image.format == "JPEG"
        assert not image.getexif()
        assert np.abs(np.asarray(image, int) - pixels).max() < 8
