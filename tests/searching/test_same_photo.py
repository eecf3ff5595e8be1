import io
from functools import cache

import numpy as np
import pytest
from example_photos import small_photos
from photo_edits import EDITS
from PIL import Image

from clipsearch.photos.opening import open_image, upright_rgb
from clipsearch.photos.perceptual_hash import SIDE, perceptual_hash
from clipsearch.searching.same_photo import (
    ROUGHLY,
    TURNED,
    is_hash,
    levels,
    lies_on_its_side,
    likeness,
    rough_parts,
    turned,
    turned_alike,
)

TURNINGS = {"turned left", "turned right", "turned by exif", "mirrored"}
CUT = {"crop 5 %", "crop 10 %", "crop 10 % at a corner", "white border", "black border"}


@cache
def pictures() -> np.ndarray:
    return levels([perceptual_hash(picture) for picture in rgb_pictures()])


@cache
def rgb_pictures() -> list[Image.Image]:
    return [upright_rgb(Image.open(io.BytesIO(photo))) for photo in small_photos()[::5]]


def edited(edit: str) -> np.ndarray:
    files = [EDITS[edit](picture) for picture in rgb_pictures()]
    return levels([perceptual_hash(open_image(file).image) for file in files])


@pytest.mark.parametrize("edit", sorted(EDITS.keys() - TURNINGS - CUT))
def test_what_keeps_the_picture_keeps_it_the_same(edit: str) -> None:
    alike = likeness(pictures(), edited(edit))
    least = 0.95 if edit == "brighter" else 0.995  # what was white before stays white
    assert alike.whole.min() >= least
    assert (alike.turn == 0).all()


@pytest.mark.parametrize("edit", sorted(TURNINGS))
def test_a_turned_picture_is_the_same_in_one_of_the_eight_ways(edit: str) -> None:
    alike = likeness(pictures(), edited(edit))
    assert alike.whole.min() >= 0.995
    assert (lies_on_its_side(alike.turn) == (edit != "mirrored")).all()
    found = (turned_alike(pictures()) * turned_alike(edited(edit))).sum(axis=1)
    assert found.min() >= TURNED


@pytest.mark.parametrize("edit", sorted(CUT))
def test_a_crop_is_the_same_as_a_part(edit: str) -> None:
    there = edited(edit)
    for ones, others, sign in ((pictures(), there, 1), (there, pictures(), -1)):
        alike = likeness(ones, others)
        assert np.quantile(alike.part, 0.1) >= 0.98
        assert (alike.part > alike.whole).all()
        cut = "border" not in edit
        smaller = alike.shown.max(axis=1) < 1
        assert np.mean(smaller == (cut == (sign == 1))) >= 0.9
    ones, others = rough_parts(pictures()), rough_parts(there)
    rough = np.maximum(
        np.einsum("npw,nw->np", ones, others[:, 0]).max(axis=1),
        np.einsum("npw,nw->np", others, ones[:, 0]).max(axis=1),
    )
    assert np.quantile(rough, 0.1) >= ROUGHLY


def test_how_much_of_a_side_is_shown_is_told() -> None:
    alike = likeness(pictures(), edited("crop 10 %"))
    assert np.median(alike.shown, axis=0) == pytest.approx([0.9, 0.9], abs=0.02)


def test_other_photos_are_others() -> None:
    ones, others = np.triu_indices(len(pictures()), 1)
    alike = likeness(pictures()[ones], pictures()[others])
    assert max(alike.whole.max(), alike.part.max()) < 0.95


def test_the_same_whichever_of_them_is_the_first() -> None:
    there = edited("crop 10 %")
    one, other = likeness(pictures(), there), likeness(there, pictures())
    assert one.whole == pytest.approx(other.whole, abs=1e-3)
    assert one.part == pytest.approx(other.part, abs=1e-5)
    assert one.shown == pytest.approx(1 / other.shown, rel=1e-5)


def test_the_eight_ways_are_those_of_pillow() -> None:
    from PIL.Image import Transpose

    square = np.arange(SIDE * SIDE, dtype=np.float32).reshape(1, SIDE, SIDE)
    ways = {way.tobytes() for way in turned(square)}
    image = Image.fromarray(square[0])
    assert ways == {image.tobytes(), *(image.transpose(way).tobytes() for way in Transpose)}


def test_no_pairs_are_compared_to_no_numbers() -> None:
    none = np.empty((0, SIDE, SIDE), np.float32)
    alike = likeness(none, none)
    assert len(alike.whole) == len(alike.part) == len(alike.turn) == len(alike.shown) == 0


@pytest.mark.parametrize("text", [None, "", "A", "A" * 399, "A" * 399 + "\n", "A" * 399 + "é"])
def test_what_is_no_hash_is_known(text: str | None) -> None:
    assert not is_hash(text)
    assert is_hash("A" * 400)
