"""A photo's bytes become the pixels that a model learns from: cropped and changed by chance.

Each photo's chances come from a generator of its own, so a photo looks the same however many
workers there are and wherever a run was resumed. That is why the transforms of torchvision, which
draw from one generator for the whole process, are used by their functional forms only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipsearch.photos.opening import open_image
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.training.run_config import AugmentationConfig

if TYPE_CHECKING:
    from PIL import Image

_KEPT_MARGIN = 3  # open_image leaves this many times the side that it is asked for
_ERASED_SHARE = (0.02, 0.33)  # of the area, as random erasing has it (Zhong et al. 2017)
_ERASED_RATIO = (0.3, 3.3)
_BLUR = (0.1 / 224, 2.0 / 224)  # standard deviation over the picture's side (SimCLR, appendix A)


@dataclass(frozen=True)
class Chances:
    """What was drawn for one photo, each from 0 to 1.

    All are drawn whatever is switched on, so one setting does not change what another draws.
    """

    crop: tuple[float, ...]  # share of the area, ratio, across, down
    flip: float
    jitter: tuple[float, ...]  # brightness, contrast, saturation, hue
    jitter_order: tuple[int, ...]
    grayscale: float
    blur: tuple[float, ...]  # whether, how much
    erase: tuple[float, ...]  # whether, share of the area, ratio, across, down

    @classmethod
    def draw(cls, generator: np.random.Generator) -> Chances:
        """Draw for the next photo."""
        values = [float(value) for value in generator.random(17)]
        order = tuple(int(place) for place in generator.permutation(4))
        return cls(
            crop=tuple(values[0:4]),
            flip=values[4],
            jitter=tuple(values[5:9]),
            jitter_order=order,
            grayscale=values[9],
            blur=tuple(values[10:12]),
            erase=tuple(values[12:17]),
        )


@dataclass(frozen=True)
class Augmentation:
    """Turns photos into pixels of the size that a model takes.

    A crop keeps `crop_scale` of the largest crop of its shape that fits, anywhere in the photo:
    with scale 1 and ratio 1 it is the random square crop of the CLIP paper. The shape is the
    model's, or the photo's own where the model squeezes or pads, changed by `crop_ratio`.
    """

    config: AugmentationConfig
    preprocessing: Preprocessing

    def __call__(self, photo: bytes, generator: np.random.Generator) -> NDArray[np.uint8]:
        """Return uint8 (3, height, width); raises UnreadableImage."""
        chances = Chances.draw(generator)
        image = self._cropped(open_image(photo, shrink_to=self._side_wanted()).image, chances.crop)
        if chances.flip < self.config.flip:
            from PIL.Image import Transpose

            image = image.transpose(Transpose.FLIP_LEFT_RIGHT)
        image = self._recolored(image, chances)
        pixels = _as_array(image)
        if chances.erase[0] < self.config.erase:
            _erase(pixels, chances.erase[1:], self.preprocessing.mean)
        return pixels

    def _side_wanted(self) -> int:
        """Return the side that a large photo may be reduced to: a small crop needs more of it."""
        side = self.preprocessing.image_size
        return math.ceil(side * max(1, 1 / (_KEPT_MARGIN * math.sqrt(self.config.crop_scale[0]))))

    def _cropped(self, image: Image.Image, crop: tuple[float, ...]) -> Image.Image:
        from PIL.Image import Resampling

        wanted = self.preprocessing
        keeps_shape = wanted.resize_mode != "shortest"
        shape = image.width / image.height if keeps_shape else wanted.width / wanted.height
        ratio = shape * _between(self.config.crop_ratio, crop[1], logarithmic=True)
        part = math.sqrt(_between(self.config.crop_scale, crop[0]))
        width = part * min(image.width, image.height * ratio)
        height = min(width / ratio, image.height)
        left, top = crop[2] * (image.width - width), crop[3] * (image.height - height)
        box = (left, top, min(left + width, image.width), min(top + height, image.height))
        if wanted.resize_mode == "longest":
            return wanted.pixels(image.crop(_whole(box)))
        by = Resampling.BILINEAR if wanted.interpolation == "bilinear" else Resampling.BICUBIC
        return image.resize((wanted.width, wanted.height), by, box, reducing_gap=2.0)

    def _recolored(self, image: Image.Image, chances: Chances) -> Image.Image:
        if self.config.color_jitter:
            image = _jittered(image, self.config.color_jitter, chances)
        if chances.grayscale < self.config.grayscale:
            image = image.convert("L").convert("RGB")
        if chances.blur[0] < self.config.blur:
            from PIL import ImageFilter

            radius = _between(_BLUR, chances.blur[1]) * max(image.size)
            image = image.filter(ImageFilter.GaussianBlur(radius))
        return image


def plain_pixels(photo: bytes, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return a photo as search and evaluation see it, uint8 (3, height, width)."""
    opened = open_image(photo, shrink_to=preprocessing.image_size)
    return _as_array(preprocessing.pixels(opened.image))


def normalized(
    pixels: NDArray[np.uint8],
    preprocessing: Preprocessing,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return pixels as the model takes them, bit for bit as torchvision does.

    `pixels` are uint8 (n, 3, height, width), the answer is float32 of the same shape: `out` where
    that is given. By numpy, which works in the thread that calls it: torch would take all cores
    from the model.
    """
    mean, std = (
        np.array(values, np.float32)[:, None, None]
        for values in (preprocessing.mean, preprocessing.std)
    )
    values: NDArray[np.float32] = np.divide(pixels, np.float32(255), out=out)
    values -= mean
    values /= std
    return values


def _as_array(image: Image.Image) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _between(ends: tuple[float, float], chance: float, *, logarithmic: bool = False) -> float:
    low, high = ends
    if logarithmic:
        return math.exp(math.log(low) + chance * (math.log(high) - math.log(low)))
    return low + chance * (high - low)


def _whole(box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """Return the box in whole pixels, at least one."""
    left, top = int(box[0]), int(box[1])
    return left, top, max(round(box[2]), left + 1), max(round(box[3]), top + 1)


def _jittered(image: Image.Image, strength: float, chances: Chances) -> Image.Image:
    """Change brightness, contrast, saturation by up to `strength`, and hue by a quarter of it."""
    from torchvision.transforms.v2 import functional  # type: ignore[import-untyped]

    weakest = max(1 - strength, 0)
    factors = [_between((weakest, 1 + strength), chance) for chance in chances.jitter[:3]]
    most = min(strength / 4, 0.5)
    shift = _between((-most, most), chances.jitter[3])
    changes = (
        lambda picture: functional.adjust_brightness(picture, factors[0]),
        lambda picture: functional.adjust_contrast(picture, factors[1]),
        lambda picture: functional.adjust_saturation(picture, factors[2]),
        lambda picture: functional.adjust_hue(picture, shift),
    )
    for place in chances.jitter_order:
        image = changes[place](image)
    return image


def _erase(pixels: NDArray[np.uint8], chances: tuple[float, ...], mean: tuple[float, ...]) -> None:
    """Paint a rectangle in the mean colour, in place."""
    _, height, width = pixels.shape
    area = _between(_ERASED_SHARE, chances[0]) * height * width
    ratio = _between(_ERASED_RATIO, chances[1], logarithmic=True)
    wide = min(max(round(math.sqrt(area * ratio)), 1), width)
    high = min(max(round(math.sqrt(area / ratio)), 1), height)
    left, top = (
        round(chance * room)
        for chance, room in zip(chances[2:], (width - wide, height - high), strict=True)
    )
    color = np.rint(np.array(mean) * 255).astype(np.uint8)
    pixels[:, top : top + high, left : left + wide] = color[:, None, None]
