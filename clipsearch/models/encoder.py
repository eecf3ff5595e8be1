"""Photos and texts to unit vectors, through an open_clip model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import as_list, texts_given
from clipsearch.errors import ModelError
from clipsearch.models.devices import Precision, choose_device, fast_precisions
from clipsearch.models.freed_memory import keep_freed_memory, return_freed_memory
from clipsearch.models.judging import (
    HALVED_LEAST_COSINE,
    LEAST_COSINE,
    SAME_LEAST_COSINE,
    judges_pictures,
    least_cosine,
)
from clipsearch.models.loading import LoadedModel, load_model, logit_bias, logit_scale
from clipsearch.models.names import ModelSource
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.unit_length import unit_length

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from clipsearch.models.faster_layers import Swaps
    from clipsearch.models.text.settings import TokenizerSettings
    from clipsearch.models.text.towers import ShortTower, WholeTower

TEXT_BATCH = 256
CPU_BATCH = 32  # photos in one pass on a processor; more gains nothing and takes memory
SPARED = (0, 4, 8, 12)  # so many of the first layers stay in float32, the fewest that are enough
# The least cosine of a text tower that is given texts without their padding.
TEXTS_JUDGED_WITH = 8
SHORT_LEAST_COSINE = 0.99999


@dataclass
class _Judge:
    """Pictures, and how near to their vectors in float32 those of a changed tower must lie."""

    pictures: list[NDArray[np.uint8]]  # (height, width, 3)
    least: float  # cosine
    expected: NDArray[np.float32] | None = None  # their features in float32, once they are made


class Encoder:
    """An open_clip model with the preprocessing and the tokenizer that belong to it.

    `precision` is the one in which it embeds photos, `spared` how many of the first layers stay in
    float32 for that.
    """

    def __init__(
        self, loaded: LoadedModel, device: torch.device, precisions: Sequence[Precision] = ()
    ) -> None:
        """Place a loaded model on a device; `load_encoder` does both.

        Of the `precisions`, the first is taken in which vectors stay near those of float32.
        """
        import torch

        from clipsearch.models.faster_layers import folded_norms, lean_convolutions
        from clipsearch.models.image.towers import normalisation

        self.identity = loaded.identity
        self.image_size = loaded.identity.image_size
        self.preprocessing = Preprocessing.from_json(loaded.identity.preprocessing)
        self.device = device
        self.on_processor = device.type == "cpu"
        self.precision: Precision = "float32"
        self.spared = 0
        self._network: Any = loaded.network.to(device)
        scale, shift = normalisation(self.preprocessing)
        self._scale, self._shift = scale.to(device), shift.to(device)
        self._tokenizer = loaded.tokenizer
        self._text_tower: ShortTower | WholeTower | None = None  # chosen with the first texts
        tower: Any = loaded.network.visual
        judge = _Judge(judges_pictures(self.preprocessing, 1), SAME_LEAST_COSINE)
        self._make_over(partial(folded_norms, tower), judge)
        if device.type == "cpu":
            self._make_over(partial(lean_convolutions, tower), judge)
        # Convolutions run half again as fast so; the others do not mind.
        tower.to(memory_format=torch.channels_last)
        if precisions:
            self._lower_precision(precisions)
            return_freed_memory()

    @property
    def logit_scale(self) -> float | None:
        """Return what cosines are multiplied by, as `TextEncoderSettings` says."""
        return logit_scale(self._network)

    @property
    def logit_bias(self) -> float | None:
        """Return what is added to them then, as `TextEncoderSettings` says."""
        return logit_bias(self._network)

    @property
    def tokenizer(self) -> TokenizerSettings:
        """Return how texts are cut."""
        return self._tokenizer.settings

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
            # Between layers of two precisions, memory holds both: half as many photos then.
            step = CPU_BATCH // 2 if self.spared else CPU_BATCH
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
            features = torch.cat([self._text_features(tower, batch) for batch in batches])
            return self._unit(features.cpu().numpy())

    def export_text_encoder(self, folder: Path) -> None:
        """Write the text tower for `TextEncoder.open`; the folder appears whole or not at all.

        Raises ModelError if the model can't be exported or the export gives other vectors.
        """
        import copy

        from clipsearch.models.text.export import export_text_tower

        network = self._network
        if self.device.type != "cpu":
            network = copy.deepcopy(network).to("cpu")
        export_text_tower(
            network,
            self._tokenizer,
            folder,
            fingerprint=self.identity.fingerprint,
            width=self.identity.width,
            logit_scale=self.logit_scale,
            logit_bias=self.logit_bias,
        )
        return_freed_memory()

    def _make_over(self, layers: Callable[[], Swaps], judge: _Judge) -> bool:
        """Replace layers of the image tower by others, unless that turns a vector too far."""
        other_version = (AttributeError, NotImplementedError, RuntimeError)  # of torch
        try:
            swaps = layers()
        except other_version:
            return False
        if not swaps:
            return False
        if judge.expected is None:
            judge.expected = self._features(judge.pictures)
        swaps.make()
        try:
            close = least_cosine(self._features(judge.pictures), judge.expected) >= judge.least
        except other_version:
            close = False
        if not close:
            swaps.undo()
        return close

    def _lower_precision(self, precisions: Sequence[Precision]) -> None:
        """Take the first precision that the model bears; float32 is left if it bears none."""
        judge = _Judge(judges_pictures(self.preprocessing), LEAST_COSINE)
        for precision in precisions:
            judge.least = LEAST_COSINE if precision == "int8" else HALVED_LEAST_COSINE
            for spared, layers in self._layers_in(precision):
                if self._make_over(layers, judge):
                    self.precision, self.spared = precision, spared
                    return

    def _layers_in(self, precision: Precision) -> Iterator[tuple[int, Callable[[], Swaps]]]:
        """Yield what lowers the precision, each with the number of layers that it spares."""
        import torch

        from clipsearch.models.faster_layers import in_half_precision, int8_layers

        if precision != "int8":
            dtype = torch.bfloat16 if precision == "bf16" else torch.float16
            for spared in SPARED:
                yield spared, partial(in_half_precision, self._network, dtype, spared=spared)
        elif self.device.type == "cpu":
            yield 0, partial(int8_layers, self._network.visual)

    def _text_features(self, tower: ShortTower | WholeTower, ids: torch.Tensor) -> torch.Tensor:
        from clipsearch.models.text.towers import ShortTower

        if isinstance(tower, ShortTower):
            ids = ids[:, : int(ids.argmax(dim=1).max()) + 1]  # the end token has the highest id
        features: torch.Tensor = tower(ids.to(self.device))
        return features

    def _fastest_text_tower(self, ids: torch.Tensor) -> ShortTower | WholeTower:
        """Return the tower that needs no padding, if it gives the vectors of the whole."""
        from clipsearch.models.text.towers import ShortTower, WholeTower

        whole = WholeTower(self._network)
        if not ShortTower.fits(self._network):
            return whole
        short = ShortTower(self._network)
        found, expected = (self._text_features(t, ids).cpu().numpy() for t in (short, whole))
        return short if least_cosine(found, expected) >= SHORT_LEAST_COSINE else whole

    def _encode_batch(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return self._unit(self._features(pixels))

    def _features(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return what the image tower gives for each picture, of any length, (n, width)."""
        import torch

        with torch.inference_mode():
            batch = self._on_device(torch.from_numpy(np.stack(pixels))).permute(0, 3, 1, 2)
            pictures = batch.float() * self._scale + self._shift
            features: torch.Tensor = self._network.encode_image(pictures)
            return features.float().cpu().numpy()

    def _on_device(self, batch: torch.Tensor) -> torch.Tensor:
        if self.device.type == "cuda":  # from locked memory, several times as fast
            return batch.pin_memory().to(self.device, non_blocking=True)
        return batch.to(self.device)

    def _unit(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            return unit_length(features)
        except ValueError as error:
            raise ModelError(f"the model {self.identity.name} gives no vector: {error}") from error

    def _empty(self) -> NDArray[np.float32]:
        return np.zeros((0, self.identity.width), dtype=np.float32)


def load_encoder(source: ModelSource, *, device: str = "auto", exact: bool = False) -> Encoder:
    """Load a model with its weights onto a device (auto, cpu, cuda or mps).

    Photos are embedded in the fastest precision of the device in which the vectors of the judge's
    pictures stay near those of float32 (LEAST_COSINE, HALVED_LEAST_COSINE); with `exact`, which is
    for measuring a model itself, in float32.

    Raises UnknownModel, WeightsUnavailable or ModelError, and InvalidInput for a device that is
    not there or a CLIPSEARCH_PRECISION that is none; each in one line.
    """
    place = choose_device(device)
    precisions = () if exact else fast_precisions(place)
    return Encoder(load_model(source), place, precisions)
