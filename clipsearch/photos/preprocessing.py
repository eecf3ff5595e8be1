"""How a picture becomes the pixels that a model takes: its size, by scaling, cropping or padding.

The same as open_clip's transform for inference up to normalisation, bit for bit, but with Pillow
alone: the processes that decode photos load neither torch nor numpy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clipsearch.errors import ModelError

if TYPE_CHECKING:
    from PIL import Image

# Those of OpenAI's CLIP, which open_clip takes where a model names none.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)

_RESIZE_MODES = ("shortest", "longest", "squash")
_INTERPOLATIONS = ("bicubic", "bilinear", "random")  # random: in training; else bicubic

# Of a picture that would become larger than this when its shorter side is scaled to the model's,
# only the middle is scaled. A strip of 1 x 65,000 pixels would take 10 GB.
_MOST_SCALED_PIXELS = 2**24


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its pictures, as open_clip's PreprocessCfg says it."""

    height: int
    width: int
    mean: tuple[float, ...] = _MEAN  # a channel, of values from 0 to 1
    std: tuple[float, ...] = _STD
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"  # the side that is scaled to the model's; squash: both
    fill_color: tuple[int, ...] = (0, 0, 0)  # of what is padded

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Read a PreprocessCfg, as ModelIdentity.preprocessing holds it.

        Raises ModelError for what open_clip would not take.
        """
        try:
            return cls._from_config(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise ModelError(f"the model's preprocessing can't be used: {error}") from error

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> Preprocessing:
        size = config["size"]
        height, width = (size, size) if isinstance(size, int) else size
        preprocessing = cls(
            int(height),
            int(width),
            _per_channel(config.get("mean") or _MEAN),
            _per_channel(config.get("std") or _STD),
            config.get("interpolation") or "bicubic",
            config.get("resize_mode") or "shortest",
            tuple(int(value) for value in _per_channel(config.get("fill_color") or 0)),
        )
        if min(preprocessing.height, preprocessing.width) < 1:
            raise ValueError(f"size {size}")
        if config.get("mode", "RGB") != "RGB":
            raise ValueError(f"mode {config['mode']!r}")
        if preprocessing.resize_mode not in _RESIZE_MODES:
            raise ValueError(f"resize_mode {preprocessing.resize_mode!r}")
        if preprocessing.interpolation not in _INTERPOLATIONS:
            raise ValueError(f"interpolation {preprocessing.interpolation!r}")
        return preprocessing

    def to_json(self) -> str:
        """Return what `from_json` takes."""
        config = {
            "size": [self.height, self.width],
            "mean": self.mean,
            "std": self.std,
            "interpolation": self.interpolation,
            "resize_mode": self.resize_mode,
            "fill_color": self.fill_color,
        }
        return json.dumps(config)

    @property
    def image_size(self) -> int:
        """Return the longer side, in pixels, of the pictures that the model takes."""
        return max(self.height, self.width)

    def pixels(self, image: Image.Image) -> Image.Image:
        """Return an RGB picture of exactly the model's size."""
        if self.resize_mode == "squash":
            return _resized(image, (self.width, self.height), self._filter())
        return self._cropped_or_padded(self._scaled(image))

    def _filter(self) -> Image.Resampling:
        from PIL.Image import Resampling

        if self.resize_mode == "shortest" and self.height != self.width:
            return Resampling.BICUBIC  # whatever the model says: open_clip does not pass it on
        return Resampling.BILINEAR if self.interpolation == "bilinear" else Resampling.BICUBIC

    def _scaled(self, image: Image.Image) -> Image.Image:
        """Return the picture with one side as the model's, its proportions kept."""
        width, height = self._scaled_size(image)
        if width * height <= _MOST_SCALED_PIXELS:
            return _resized(image, (width, height), self._filter())
        return self._scaled_middle(image, (width, height))

    def _scaled_size(self, image: Image.Image) -> tuple[int, int]:
        width, height = image.size
        if self.resize_mode == "shortest" and self.height == self.width:
            if width <= height:
                return self.width, int(self.width * height / width)
            return int(self.height * width / height), self.height
        ratios = (height / self.height, width / self.width)
        ratio = max(ratios) if self.resize_mode == "longest" else min(ratios)
        return max(round(width / ratio), 1), max(round(height / ratio), 1)

    def _scaled_middle(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        """Return the middle of the picture as scaled to `size`, without scaling what is cropped."""
        left, top = (_middle(size[0], self.width), _middle(size[1], self.height))
        right, bottom = left + min(size[0], self.width), top + min(size[1], self.height)
        across, down = image.width / size[0], image.height / size[1]
        far = (min(right * across, image.width), min(bottom * down, image.height))
        box = (left * across, top * down, *far)
        return image.resize((right - left, bottom - top), self._filter(), box)

    def _cropped_or_padded(self, image: Image.Image) -> Image.Image:
        from PIL import Image

        wide, high = max(image.width, self.width), max(image.height, self.height)
        if (wide, high) != image.size:
            padded = Image.new("RGB", (wide, high), self.fill_color)
            padded.paste(image, ((wide - image.width) // 2, (high - image.height) // 2))
            image = padded
        if image.size == (self.width, self.height):
            return image
        left, top = _middle(wide, self.width), _middle(high, self.height)
        return image.crop((left, top, left + self.width, top + self.height))


def _resized(image: Image.Image, size: tuple[int, int], by: Image.Resampling) -> Image.Image:
    return image if image.size == size else image.resize(size, by)


def _middle(length: int, part: int) -> int:
    """Return where the middle part begins."""
    return max(round((length - part) / 2), 0)


def _per_channel(value: float | Sequence[float]) -> tuple[float, ...]:
    values = (value,) if isinstance(value, (int, float)) else tuple(value)
    if len(values) not in (1, 3):
        raise ValueError(f"{len(values)} values for 3 channels")
    return values * 3 if len(values) == 1 else values
