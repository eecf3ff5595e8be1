"""open_clip's image towers as modules that export well. Imports torch: import it where needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipsearch.models.faster_layers import Swap, Swaps
from clipsearch.photos.preprocessing import Preprocessing


class PixelTower(nn.Module):
    """Any model's image tower, from the bytes of pictures."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        """Take an open_clip model and how it wants its pictures."""
        super().__init__()
        self.network: Any = network
        scale, shift = normalisation(preprocessing)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the features (n, width) of uint8 (n, height, width, 3), not yet unit length."""
        pictures = pixels.permute(0, 3, 1, 2).float() * self.scale + self.shift
        features: Tensor = self.network.encode_image(pictures)
        return features


def normalisation(preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Return what 0 to 255 is multiplied by, and what is then added, for each colour (3, 1, 1)."""
    mean, deviation = (
        torch.tensor(values, dtype=torch.float64).reshape(3, 1, 1)
        for values in (preprocessing.mean, preprocessing.std)
    )
    scale, shift = 1 / (255 * deviation), -mean / deviation
    return scale.float(), shift.float()


def fixed_padding(tower: nn.Module) -> Swaps:
    """Return the swaps that work a padding out once, as the next picture has it, and keep it.

    timm works it out anew for each size; in a graph that would be a dozen operators a layer.
    """
    return Swaps(_fixed(tower))


def _fixed(tower: nn.Module) -> Iterator[Swap]:
    from timm.layers.conv2d_same import Conv2dSame

    for parent in list(tower.modules()):
        for name, layer in parent.named_children():
            if type(layer) is Conv2dSame:
                yield Swap(parent, name, layer, FixedPadding(layer))


class FixedPadding(nn.Module):
    """A convolution that pads by what the first picture needed."""

    def __init__(self, convolution: Any) -> None:
        """Take a convolution of timm's that pads as TensorFlow does."""
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self._settings = convolution.kernel_size, convolution.stride, convolution.dilation
        self._groups = convolution.groups
        self._padding: list[int] | None = None  # left, right, top, bottom

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, out, height, width) of (n, in, height, width)."""
        _, stride, dilation = self._settings
        if self._padding is None:
            self._padding = self._needed(x.shape[-2:])
        padded = functional.pad(x, self._padding)
        return functional.conv2d(padded, self.weight, self.bias, stride, 0, dilation, self._groups)

    def _needed(self, size: torch.Size) -> list[int]:
        from timm.layers.padding import get_same_padding

        padding: list[int] = []
        for side, kernel, stride, dilation in zip(size, *self._settings, strict=True):
            whole = int(get_same_padding(int(side), kernel, stride, dilation))
            padding = [whole // 2, whole - whole // 2, *padding]  # the last axis comes first
        return padding
