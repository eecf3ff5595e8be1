import io

import numpy as np
import pytest
from example_photos import small_photos
from PIL import Image
from PIL.Image import Transpose

from clipsearch.photos.opening import upright_rgb
from clipsearch.photos.perceptual_hash import LETTERS, SIDE, perceptual_hash


def small_picture(number: int = 0) -> Image.Image:
    with Image.open(io.BytesIO(small_photos()[number])) as image:
        return upright_rgb(image)


def levels(picture: Image.Image) -> np.ndarray:
    places = [LETTERS.index(letter) for letter in perceptual_hash(picture)]
    return np.array(places).reshape(SIDE, SIDE)


def test_it_is_one_line_of_plain_letters_of_one_length() -> None:
    texts = {perceptual_hash(small_picture(number)) for number in range(6)}
    assert len(texts) == 6
    assert {len(text) for text in texts} == {SIDE * SIDE}
    assert set("".join(texts)) <= set(LETTERS)


def test_the_darkest_is_the_first_level_and_the_lightest_the_last() -> None:
    ramp = Image.linear_gradient("L").convert("RGB")  # black above, white below
    shown = levels(ramp)
    assert (shown == shown[:, :1]).all()
    assert (np.diff(shown[:, 0]) > 0).all()
    assert (shown[0, 0], shown[-1, 0]) == (0, len(LETTERS) - 1)


def test_half_the_light_changes_nearly_nothing() -> None:
    ramp = np.asarray(small_picture().resize((160, 120)), np.uint16)
    dim = Image.fromarray((ramp // 2).astype(np.uint8))
    assert np.abs(levels(dim) - levels(small_picture().resize((160, 120)))).max() <= 2


@pytest.mark.parametrize("turn", [Transpose.ROTATE_90, Transpose.FLIP_LEFT_RIGHT])
def test_a_picture_that_is_turned_has_its_levels_turned(turn: Transpose) -> None:
    picture = small_picture()
    expected = Image.fromarray(levels(picture).astype(np.uint8)).transpose(turn)
    assert np.abs(levels(picture.transpose(turn)) - np.asarray(expected)).max() <= 3


def test_a_picture_of_one_colour_has_nothing_to_compare() -> None:
    assert perceptual_hash(Image.new("RGB", (40, 30), "orange")) == ""


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (3, 2), (20, 20)])
def test_pictures_of_any_size_have_one(size: tuple[int, int]) -> None:
    picture = small_picture().resize(size)
    assert len(perceptual_hash(picture)) in (0, SIDE * SIDE)
