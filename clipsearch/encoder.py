"""Photos and texts to unit vectors, through an open_clip model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import as_list, texts_given
from clipsearch.devices import choose_device, image_precision, multiplies_int8
from clipsearch.errors import ModelError
from clipsearch.freed_memory import keep_freed_memory, return_freed_memory
from clipsearch.model_loading import LoadedModel, load_model
from clipsearch.models import ModelSource
from clipsearch.preprocessing import Preprocessing
from clipsearch.unit_length import unit_length

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from clipsearch.image_tower import Swaps
    from clipsearch.text_towers import ShortTower, WholeTower

TEXT_BATCH = 256
CPU_BATCH = 32  # photos in one pass on a processor; more gains nothing and takes memory
# The least cosine to float32, over so many pictures, with which a tower may work in int8.
INT8_JUDGED_WITH = 4
INT8_LEAST_COSINE = 0.998
FOLDED_LEAST_COSINE = 0.9999
# The same for a text tower that is given texts without their padding.
TEXTS_JUDGED_WITH = 8
SHORT_LEAST_COSINE = 0.99999


class Encoder:
    """An open_clip model with the preprocessing and the tokenizer that belong to it."""

    def __init__(
        self,
        loaded: LoadedModel,
        device: torch.device,
        precision: torch.dtype,
        *,
        exact: bool = False,
    ) -> None:
        """Place a loaded model on a device; `load_encoder` does both."""
        import torch

        from clipsearch.image_tower import folded_norms, int8_layers, lean_convolutions

        self.identity = loaded.identity
        self.image_size = loaded.identity.image_size
        self.preprocessing = Preprocessing.from_json(loaded.identity.preprocessing)
        self.device = device
        self.precision = precision
        self._network: Any = loaded.network
        self._make_over(folded_norms, least=FOLDED_LEAST_COSINE)
        if device.type == "cpu":
            self._make_over(lean_convolutions, least=FOLDED_LEAST_COSINE)
        self._network.to(device)
        _lower_precision(self._network, precision)
        # Convolutions run half again as fast so; the others do not mind.
        self._network.visual.to(memory_format=torch.channels_last)
        self._scale, self._shift = self._normalisation()
        self._tokenizer = loaded.tokenizer
        self._text_tower: ShortTower | WholeTower | None = None  # chosen with the first texts
        if not exact and precision == torch.float32 and multiplies_int8(device):
            self._make_over(int8_layers, least=INT8_LEAST_COSINE, pictures=INT8_JUDGED_WITH)
            return_freed_memory()

    def encode_pixels(
        self, pixels: NDArray[np.uint8] | Iterable[NDArray[np.uint8]]
    ) -> NDArray[np.float32]:
        """Return one unit vector a picture, float32 (n, width), of several pictures or of one.

        Each picture is RGB, (height, width, 3), of the size that `preprocessing` gives.
        """
        pixels = as_list(pixels)
        if not pixels:
            return self._empty()
        step = len(pixels)
        if self.device.type == "cpu":
            keep_freed_memory()
            step = CPU_BATCH
        parts = [pixels[start : start + step] for start in range(0, len(pixels), step)]
        return np.concatenate([self._encode_batch(part) for part in parts])

    def encode_images(self, images: Image.Image | Iterable[Image.Image]) -> NDArray[np.float32]:
        """Return one unit vector an upright RGB picture, float32 (n, width), as `encode_pixels`."""
        pixels = [np.asarray(self.preprocessing.pixels(image)) for image in as_list(images)]
        return self.encode_pixels(pixels)

    def encode_text(self, texts: str | Iterable[str]) -> NDArray[np.float32]:
        """Return one unit vector a text, float32 (n, width), of several texts or of one."""
        import torch

        texts = texts_given(texts)
        if not texts:
            return self._empty()
        ids = torch.from_numpy(self._tokenizer(texts))
        with torch.inference_mode():
            if self._text_tower is None:
                self._text_tower = self._fastest_text_tower(ids[:TEXTS_JUDGED_WITH])
            tower, batches = self._text_tower, torch.split(ids, TEXT_BATCH)
            return self._unit(torch.cat([self._text_features(tower, batch) for batch in batches]))

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
        return_freed_memory()

    def _make_over(
        self, layers: Callable[[Any], Swaps], *, least: float, pictures: int = 1
    ) -> None:
        """Replace layers of the image tower by faster ones, unless that turns a vector too far.

        Judged by pictures that are always the same: what a photo's vector is must not depend on
        which photos came first.
        """
        import torch

        other_version = (AttributeError, NotImplementedError, RuntimeError)  # of torch
        try:
            swaps = layers(self._network.visual)
        except other_version:
            return
        if not swaps:
            return
        examples = _test_pictures(pictures, self.preprocessing)
        with torch.inference_mode():
            expected = self._network.encode_image(examples).numpy()
            swaps.make()
            try:
                found = self._network.encode_image(examples).numpy()
                close = _least_cosine(found, expected) >= least
            except other_version:
                close = False
        if not close:
            swaps.undo()

    def _text_features(self, tower: ShortTower | WholeTower, ids: torch.Tensor) -> torch.Tensor:
        from clipsearch.text_towers import ShortTower

        if isinstance(tower, ShortTower):
            ids = ids[:, : int(ids.argmax(dim=1).max()) + 1]  # the end token has the highest id
        features: torch.Tensor = tower(ids.to(self.device))
        return features

    def _fastest_text_tower(self, ids: torch.Tensor) -> ShortTower | WholeTower:
        """Return the tower that needs no padding, if it gives the vectors of the whole."""
        from clipsearch.text_towers import ShortTower, WholeTower

        whole = WholeTower(self._network)
        if not ShortTower.fits(self._network):
            return whole
        short = ShortTower(self._network)
        found, expected = (self._text_features(t, ids).cpu().numpy() for t in (short, whole))
        return short if _least_cosine(found, expected) >= SHORT_LEAST_COSINE else whole

    def _encode_batch(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            batch = self._on_device(torch.from_numpy(np.stack(pixels))).permute(0, 3, 1, 2)
            pictures = (batch.float() * self._scale + self._shift).to(self.precision)
            return self._unit(self._network.encode_image(pictures))

    def _on_device(self, batch: torch.Tensor) -> torch.Tensor:
        if self.device.type == "cuda":  # from locked memory, several times as fast
            return batch.pin_memory().to(self.device, non_blocking=True)
        return batch.to(self.device)

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


def load_encoder(source: ModelSource, *, device: str = "auto", exact: bool = False) -> Encoder:
    """Load a model with its weights onto a device (auto, cpu, cuda or mps).

    On a processor that multiplies int8 itself, and bf16 not, a transformer's image tower works in
    int8, unless that changes the vectors of test pictures: nearly twice as fast. `exact` says no
    to that, for measuring a model itself.

    Raises UnknownModel, WeightsUnavailable or ModelError, and InvalidInput for a device that is
    not there; each in one line.
    """
    place = choose_device(device)
    return Encoder(load_model(source), place, image_precision(place), exact=exact)


def _lower_precision(network: Any, precision: torch.dtype) -> None:
    """Cast the image tower, but keep running statistics: halved, they shift every channel.

    The text tower stays float32: it is exported from here.
    """
    import torch

    network.visual.to(precision)
    for module in network.visual.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.float()


def _test_pictures(count: int, preprocessing: Preprocessing) -> torch.Tensor:
    """Return pictures with as much coarse and fine detail as photos have, (n, 3, height, width).

    Noise whose strength falls with its frequency, as it does in photos (Field, 1987), mean 0 and
    variance 1.
    """
    import torch

    size = (preprocessing.height, preprocessing.width)
    generator = torch.Generator().manual_seed(0)
    pictures = torch.zeros(count, 3, *size)
    side = 2
    while side < max(size):
        noise = torch.randn(count, 3, side, side, generator=generator)
        pictures += torch.nn.functional.interpolate(noise, size, mode="bilinear")
        side *= 2
    return (pictures - pictures.mean()) / pictures.std()


def _least_cosine(some: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    """Return the least cosine of the rows of both; NaN if a row has no direction."""
    dots = (some * others).sum(axis=1)
    lengths = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float((dots / lengths).min())
