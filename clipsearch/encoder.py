"""Photos and texts to unit vectors, through an open_clip model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.devices import choose_device, image_precision
from clipsearch.errors import ModelError
from clipsearch.model_loading import LoadedModel, load_model
from clipsearch.models import ModelSource
from clipsearch.preprocessing import Preprocessing
from clipsearch.unit_length import unit_length

if TYPE_CHECKING:
    import torch
    from PIL import Image

TEXT_BATCH = 256


class Encoder:
    """An open_clip model with the preprocessing and the tokenizer that belong to it."""

    def __init__(self, loaded: LoadedModel, device: torch.device, precision: torch.dtype) -> None:
        """Place a loaded model on a device; `load_encoder` does both."""
        import torch

        self.identity = loaded.identity
        self.image_size = loaded.identity.image_size
        self.preprocessing = Preprocessing.from_json(loaded.identity.preprocessing)
        self.device = device
        self.precision = precision
        self._network: Any = loaded.network.to(device)
        _lower_precision(self._network, precision)
        # Convolutions run half again as fast so; the others do not mind.
        self._network.visual.to(memory_format=torch.channels_last)
        self._scale, self._shift = self._normalisation()
        self._tokenizer = loaded.tokenizer

    def encode_pixels(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return one unit vector a picture, float32 (n, width).

        Each picture is RGB, (height, width, 3), of the size that `preprocessing` gives.
        """
        import torch

        if not pixels:
            return self._empty()
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(pixels)).to(self.device).permute(0, 3, 1, 2)
            pictures = (batch.float() * self._scale + self._shift).to(self.precision)
            return self._unit(self._network.encode_image(pictures))

    def encode_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return one unit vector an upright RGB picture, float32 (n, width)."""
        return self.encode_pixels([np.asarray(self.preprocessing.pixels(i)) for i in images])

    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector a text, float32 (n, width)."""
        import torch

        if not texts:
            return self._empty()
        ids = torch.from_numpy(self._tokenizer(texts))
        with torch.inference_mode():
            batches = torch.split(ids, TEXT_BATCH)
            parts = [self._network.encode_text(batch.to(self.device)) for batch in batches]
            return self._unit(torch.cat(parts))

    def export_text_encoder(self, folder: Path) -> None:
        """Write the text tower for `TextEncoder.open`; the folder appears whole or not at all.

        Raises ModelError if the model can't be exported or the export gives other vectors.
        """
        import copy

        from clipsearch.text_export import export_text_tower

        network = self._network
        if self.device.type != "cpu":
            network = copy.deepcopy(network).to("cpu")
        export_text_tower(
            network,
            self._tokenizer,
            folder,
            fingerprint=self.identity.fingerprint,
            width=self.identity.width,
        )

    def _normalisation(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what 0 to 255 is multiplied by, and what is then added, for each colour."""
        import torch

        mean, deviation = (
            torch.tensor(values, dtype=torch.float64).reshape(3, 1, 1)
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        scale, shift = 1 / (255 * deviation), -mean / deviation
        return scale.float().to(self.device), shift.float().to(self.device)

    def _unit(self, features: torch.Tensor) -> NDArray[np.float32]:
        try:
            return unit_length(features.float().cpu().numpy())
        except ValueError as error:
            raise ModelError(f"the model {self.identity.name} gives no vector: {error}") from error

    def _empty(self) -> NDArray[np.float32]:
        return np.zeros((0, self.identity.width), dtype=np.float32)


def load_encoder(source: ModelSource, *, device: str = "auto") -> Encoder:
    """Load a model with its weights onto a device (auto, cpu, cuda or mps).

    Raises UnknownModel, WeightsUnavailable or ModelError, and InvalidInput for a device that is
    not there; each in one line.
    """
    place = choose_device(device)
    return Encoder(load_model(source), place, image_precision(place))


def _lower_precision(network: Any, precision: torch.dtype) -> None:
    """Cast the image tower, but keep running statistics: halved, they shift every channel.

    The text tower stays float32: it is exported from here.
    """
    import torch

    network.visual.to(precision)
    for module in network.visual.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.float()
