"""Pictures come to the model's size exactly as open_clip brings them there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipsearch.errors import ModelError
from clipsearch.photos.preprocessing import Preprocessing

MODES = ("shortest", "longest", "squash")
SIZES = (224, 97, 2, [64, 48], [33, 80], [1, 7])
SHAPES = [
    (64, 48),
    (48, 64),
    (224, 224),
    (97, 97),
    (333, 500),
    (500, 333),
    (31, 29),
    (1, 1),
    (7, 3),
]


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Return a picture in which every misplaced pixel shows."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(values)


def config(**changes: Any) -> dict[str, Any]:
    return {"size": 224, "interpolation": "bicubic", "resize_mode": "shortest", **changes}


def same_as_open_clip(image: Image.Image, settings: dict[str, Any]) -> None:
    """Compare the normalised tensors, for which the rest is done with the same operations."""
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from torchvision.transforms.functional import normalize, to_tensor

    theirs = image_transform_v2(PreprocessCfg(**settings), is_train=False)(image)
    preprocessing = Preprocessing.from_json(json.dumps(settings))
    pixels = preprocessing.pixels(image)
    assert pixels.mode == "RGB"
    assert pixels.size == (preprocessing.width, preprocessing.height)
    ours = normalize(to_tensor(pixels), preprocessing.mean, preprocessing.std)
    assert ours.shape == theirs.shape
    assert ours.equal(theirs), (image.size, settings)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "random"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_mode_and_size_as_open_clip(
    size: int | list[int], mode: str, interpolation: str
) -> None:
    for number, shape in enumerate(SHAPES):
        settings = config(size=size, resize_mode=mode, interpolation=interpolation)
        same_as_open_clip(picture(shape, number), settings)


@pytest.mark.parametrize("fill", [0, 127, 255, [10, 20, 30], [9]], ids=str)
@pytest.mark.parametrize("size", [60, [60, 31], [31, 60]], ids=str)
def test_padding_has_the_models_colour(size: int | list[int], fill: int | list[int]) -> None:
    for shape in [(100, 37), (37, 100), (10, 9), (60, 60)]:
        same_as_open_clip(picture(shape), config(size=size, resize_mode="longest", fill_color=fill))


@pytest.mark.parametrize("shape", [(3000, 2), (2, 3000), (1, 900), (5000, 30), (999, 1)])
@pytest.mark.parametrize("size", [32, [32, 24]], ids=str)
def test_extreme_proportions_as_open_clip(shape: tuple[int, int], size: int | list[int]) -> None:
    for mode in ("shortest", "squash"):
        same_as_open_clip(picture(shape), config(size=size, resize_mode=mode))


def test_a_line_that_open_clip_would_scale_to_nothing_keeps_one_pixel() -> None:
    preprocessing = Preprocessing.from_json(json.dumps(config(size=8, resize_mode="longest")))
    line = Image.new("RGB", (1000, 1), (200, 100, 50))
    pixels = np.asarray(preprocessing.pixels(line))
    assert pixels.shape == (8, 8, 3)
    assert (pixels[3] == (200, 100, 50)).all()
    assert pixels.sum() == pixels[3].sum()


@pytest.mark.parametrize("shape", [(3000, 40), (40, 3000), (1500, 20)])
@pytest.mark.parametrize("size", [32, [32, 24], [20, 50]], ids=str)
def test_of_a_very_long_picture_only_the_middle_is_scaled_to_the_same_pixels(
    shape: tuple[int, int], size: int | list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocessing = Preprocessing.from_json(json.dumps(config(size=size)))
    # Of low contrast: Pillow clips between its two passes, and chooses their order by the size.
    image = picture(shape).point(lambda value: 96 + value // 4)
    whole = np.asarray(preprocessing.pixels(image)).astype(int)
    monkeypatch.setattr("clipsearch.photos.preprocessing._MOST_SCALED_PIXELS", 0)
    middle = np.asarray(preprocessing.pixels(image)).astype(int)
    assert np.abs(whole - middle).max() <= 1


def test_a_strip_of_65000_pixels_takes_little_memory() -> None:
    preprocessing = Preprocessing.from_json(json.dumps(config()))
    strip = Image.new("RGB", (65000, 1))  # 224 times as high and wide: 3 billion pixels
    strip.putpixel((32500, 0), (255, 255, 255))
    pixels = np.asarray(preprocessing.pixels(strip))
    assert pixels.shape == (224, 224, 3)
    assert pixels.max() > 200


def test_real_photos_as_open_clip(sample_photos: list[Path]) -> None:
    for path in sample_photos[:6]:
        with Image.open(path) as image:
            for mode in MODES:
                same_as_open_clip(image.convert("RGB"), config(resize_mode=mode))


def test_the_picture_given_is_left_as_it_is() -> None:
    image = picture((50, 40))
    before = image.tobytes()
    for mode in MODES:
        Preprocessing(32, 32, resize_mode=mode).pixels(image)
    assert image.size == (50, 40) and image.tobytes() == before


def test_what_a_config_leaves_out_is_as_open_clip_has_it() -> None:
    from dataclasses import asdict

    from open_clip.transform import PreprocessCfg

    sparse = Preprocessing.from_json('{"size": 224}')
    assert sparse == Preprocessing.from_json(json.dumps(asdict(PreprocessCfg())))
    assert (sparse.height, sparse.width, sparse.image_size) == (224, 224, 224)


def test_json_there_and_back() -> None:
    settings = config(size=[33, 80], resize_mode="longest", fill_color=[1, 2, 3], mean=0.5, std=[2])
    preprocessing = Preprocessing.from_json(json.dumps(settings))
    assert preprocessing.mean == (0.5,) * 3 and preprocessing.std == (2,) * 3
    assert preprocessing.image_size == 80
    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        "{}",
        '{"size": 0}',
        '{"size": [1, 2, 3]}',
        '{"size": "large"}',
        '{"size": 1e999}',
        '{"size": 224, "resize_mode": "other"}',
        '{"size": 224, "interpolation": "nearest"}',
        '{"size": 224, "mode": "L"}',
        '{"size": 224, "mean": [1, 2]}',
        '{"size": 224, "fill_color": "red"}',
    ],
)
def test_what_open_clip_would_not_take_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match=r"^the model's preprocessing can't be used: [^\n]+$"):
        Preprocessing.from_json(text)
