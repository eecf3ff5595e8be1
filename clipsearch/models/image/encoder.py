"""Photos to unit vectors without torch: an exported image tower in ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import as_list
from clipsearch.errors import ModelError, one_line
from clipsearch.index.records import ModelIdentity
from clipsearch.models.files import read_json
from clipsearch.models.onnx_session import open_session, runtime_errors
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.unit_length import unit_length

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # noqa: TID251
    from PIL import Image

FORMAT = 1
TOWER_NAME = "image.onnx"
WEIGHTS_NAME = "image.onnx.data"
SETTINGS_NAME = "image_encoder.json"
PIXELS_INPUT = "pixels"


@dataclass(frozen=True)
class ImageEncoderSettings:
    """What image_encoder.json says of an exported image tower."""

    format: int
    identity: ModelIdentity  # of the model it was exported from
    batch: int  # photos in one pass, the number with which a photo takes least
    torch_pays_from: int  # photos for which torch, once it is started, is the quicker way
    logit_scale: float | None = None  # as `TextEncoderSettings` has them
    logit_bias: float | None = None


class ImageEncoder:
    """Turns photos into unit vectors, in float32 on the processor, as `Encoder` does with torch."""

    precision = "float32"
    on_processor = True

    def __init__(self, session: InferenceSession, settings: ImageEncoderSettings) -> None:
        """Take the parts; `ImageEncoder.open` reads them from a folder."""
        self.settings = settings
        self.identity = settings.identity
        self.image_size = settings.identity.image_size
        self.preprocessing = Preprocessing.from_json(settings.identity.preprocessing)
        self._session = session

    @classmethod
    def open(cls, folder: Path) -> ImageEncoder:
        """Open what `export_image_tower` wrote; raises ModelError if it can't be used."""
        settings = read_settings(folder)
        # Few photos are the rule: packing the weights of a ViT-B-32 takes as long as ten of them
        # gain by it. Joined operators halve the time of a convolutional tower.
        session = open_session(folder / TOWER_NAME, "image tower", optimize=True, pack=False)
        _check_session(session, settings, folder)
        return cls(session, settings)

    @property
    def logit_scale(self) -> float | None:
        """Return what cosines are multiplied by, as `TextEncoderSettings` says."""
        return self.settings.logit_scale

    @property
    def logit_bias(self) -> float | None:
        """Return what is added to them then, as `TextEncoderSettings` says."""
        return self.settings.logit_bias

    def encode_pixels(
        self, pixels: NDArray[np.uint8] | Iterable[NDArray[np.uint8]]
    ) -> NDArray[np.float32]:
        """Return one unit vector a picture, float32 (n, width), of several pictures or of one.

        Each picture is RGB, (height, width, 3), of the size that `preprocessing` gives.
        """
        pixels = as_list(pixels)
        if not pixels:
            return np.zeros((0, self.identity.width), dtype=np.float32)
        step = self.settings.batch
        parts = [pixels[start : start + step] for start in range(0, len(pixels), step)]
        try:
            return unit_length(np.concatenate([self._run(part) for part in parts]))
        except ValueError as error:
            raise ModelError(f"the model {self.identity.name} gives no vector: {error}") from error

    def encode_images(self, images: Image.Image | Iterable[Image.Image]) -> NDArray[np.float32]:
        """Return one unit vector an upright RGB picture, float32 (n, width), as `encode_pixels`."""
        return self.encode_pixels(
            [np.asarray(self.preprocessing.pixels(i)) for i in as_list(images)]
        )

    def _run(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        features: NDArray[np.float32]
        try:
            (features,) = self._session.run(None, {PIXELS_INPUT: np.stack(pixels)})
        except runtime_errors() as error:
            raise ModelError(f"the image tower fails: {one_line(error)}") from error
        if features.shape != (len(pixels), self.identity.width):
            raise ModelError(f"the image tower gives {features.shape}, not one vector a picture")
        return features


def read_settings(folder: Path) -> ImageEncoderSettings:
    """Return what a folder says of its image tower; raises ModelError if it can't be used."""
    content = read_json(folder / SETTINGS_NAME)
    if content.get("format") != FORMAT:
        raise ModelError(f"{folder} has format {content.get('format')!r:.60}, not {FORMAT}")
    try:
        content["identity"] = ModelIdentity(**content["identity"])
        settings = ImageEncoderSettings(**content)
        Preprocessing.from_json(settings.identity.preprocessing)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / SETTINGS_NAME} is incomplete: {one_line(error)}") from error
    if not _are_whole(settings.batch, settings.torch_pays_from, settings.identity.width):
        raise ModelError(f"{folder / SETTINGS_NAME} holds values of the wrong kind")
    return settings


def _are_whole(*numbers: Any) -> bool:
    return all(type(number) is int and number > 0 for number in numbers)


def settings_as_json(settings: ImageEncoderSettings) -> str:
    """Return what `read_settings` reads."""
    from dataclasses import asdict

    return json.dumps(asdict(settings), indent=1)


def _check_session(session: InferenceSession, settings: ImageEncoderSettings, folder: Path) -> None:
    """Raise ModelError unless the graph takes pixels and gives vectors of the model's width."""
    inputs = [(i.name, i.type, len(i.shape)) for i in session.get_inputs()]
    outputs = [(o.type, len(o.shape)) for o in session.get_outputs()]
    if inputs != [(PIXELS_INPUT, "tensor(uint8)", 4)] or outputs != [("tensor(float)", 2)]:
        raise ModelError(f"the image tower in {folder} is no image tower")
    width = session.get_outputs()[0].shape[1]
    if width not in (settings.identity.width, None) and not isinstance(width, str):
        raise ModelError(f"the image tower in {folder} gives vectors of another width")
