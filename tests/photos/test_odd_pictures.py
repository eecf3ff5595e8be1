"""Odd pictures, made bit by bit: upright and whole as numpy says, or a true reason.

What Pillow's and pillow-heif's own test files make of the program: benchmarks/odd_pictures.py.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
import pillow_heif
import pytest
from odd_pictures import OddPicture, odd_pictures, resized_heic, saved, smooth
from PIL import Image

from clipsearch.errors import UnreadableImage
from clipsearch.photos.opening import OpenedImage, open_image

LIMIT = 100.0  # megapixels
PICTURES = odd_pictures()
WHOLE = [name for name, picture in PICTURES.items() if picture.shows is not None]
BROKEN = [name for name, picture in PICTURES.items() if picture.shows is None]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def outcome(data: bytes) -> OpenedImage | str:
    try:
        return open_image(data, max_megapixels=LIMIT)
    except UnreadableImage as error:
        return str(error)


def plain(data: bytes) -> Image.Image | None:
    """Return what Pillow or pillow-heif alone make of the bytes."""
    try:
        if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1"):
            return pillow_heif.open_heif(data).to_pillow()
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def test_there_are_many_of_both() -> None:
    assert len(WHOLE) > 180
    assert len(BROKEN) > 20


@pytest.mark.parametrize("name", WHOLE)
def test_a_good_picture_shows_what_was_put_in(name: str) -> None:
    picture = PICTURES[name]
    assert picture.shows is not None
    result = outcome(picture.data)
    assert isinstance(result, OpenedImage), result
    assert result.image.mode == "RGB"
    found = np.asarray(result.image, float)
    assert found.shape == picture.shows.shape
    assert (result.metadata.height, result.metadata.width) == found.shape[:2]
    assert np.abs(found - picture.shows).max() <= picture.within


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_picture_fails_for_the_true_reason_in_one_line(name: str) -> None:
    result = outcome(PICTURES[name].data)
    assert isinstance(result, str), "opened"
    assert PICTURES[name].fails and result.startswith(PICTURES[name].fails)
    assert "\n" not in result and len(result) < 300


def test_what_pillow_alone_shows_is_shown_and_nothing_else() -> None:
    warnings.simplefilter("ignore")
    theirs = {name for name, picture in PICTURES.items() if plain(picture.data) is not None}
    assert theirs - set(WHOLE) == {"cut in tiles.heic"}  # libheif leaves missing tiles green
    assert set(WHOLE) - theirs == set()


@pytest.mark.parametrize("part", [0.25, 0.5, 0.75])
def test_of_a_cut_picture_nothing_else_is_ever_shown(part: float) -> None:
    """A file of several pictures may have lost the others, and what stood behind is no loss."""
    for name in WHOLE:
        data = PICTURES[name].data
        result = outcome(data[: int(len(data) * part)])
        if isinstance(result, str):
            assert result.strip() and "\n" not in result, name
            continue
        whole = outcome(data)
        assert isinstance(whole, OpenedImage)
        assert np.array_equal(np.asarray(result.image), np.asarray(whole.image)), name


def test_any_byte_of_a_picture_may_be_wrong() -> None:
    """Then it opens as RGB of the size it says, or the reason is one line."""
    random = np.random.default_rng(0)
    for name in WHOLE:
        data = bytearray(PICTURES[name].data)
        for at in random.integers(0, min(len(data), 200), 2):
            data[at] ^= int(random.integers(1, 256))
        result = outcome(bytes(data))
        if isinstance(result, str):
            assert result.strip() and "\n" not in result and len(result) < 300, name
        else:
            assert result.image.mode == "RGB", name
            assert result.image.size == (result.metadata.width, result.metadata.height), name


def test_a_heic_over_the_limit_is_refused_without_decoding() -> None:
    with pytest.raises(UnreadableImage, match=r"too large: 199\.8 megapixels, limit 100"):
        open_image(resized_heic(12240, 16320), max_megapixels=100)


@pytest.mark.parametrize("shrink_to", [4, 9])
def test_reduced_it_looks_the_same(shrink_to: int) -> None:
    for name in WHOLE:
        picture = PICTURES[name]
        assert picture.shows is not None
        small = open_image(picture.data, shrink_to=shrink_to).image.resize((8, 8), 4)
        whole = Image.fromarray(np.ascontiguousarray(picture.shows)).resize((8, 8), 4)
        difference = np.abs(np.asarray(small, float) - np.asarray(whole, float)).mean()
        assert difference < 12, name


def test_the_pictures_themselves_are_what_they_are_called() -> None:
    """As Pillow names their kinds, so that no kind is missed because it was made wrong."""
    kinds = {
        (image.format, image.mode)
        for picture in PICTURES.values()
        if picture.shows is not None and (image := plain(picture.data)) is not None
    }
    modes = {mode for _, mode in kinds}
    assert modes >= {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"}
    formats = {name for name, _ in kinds}
    expected = {"PNG", "TIFF", "BMP", "PPM", "GIF", "WEBP", "JPEG", "JPEG2000", "ICO", "AVIF"}
    assert formats >= {*expected, "MPO"}


def test_the_smooth_picture_is_unlike_its_mirror_images() -> None:
    assert OddPicture(saved(smooth(), "PNG")).shows is None
    mirrored = [smooth()[::-1], smooth()[:, ::-1], smooth()[::-1, ::-1]]
    assert all(np.abs(m.astype(int) - smooth()).mean() > 20 for m in mirrored)
