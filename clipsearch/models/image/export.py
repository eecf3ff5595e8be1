"""A model's image tower as ONNX, so that few photos never wait for torch. Imports torch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipsearch.errors import ModelError
from clipsearch.models import shipped, tower_cache
from clipsearch.models.image.encoder import (
    FORMAT,
    PIXELS_INPUT,
    SETTINGS_NAME,
    TOWER_NAME,
    WEIGHTS_NAME,
    ImageEncoder,
    ImageEncoderSettings,
    settings_as_json,
)
from clipsearch.models.image.towers import PixelTower, fixed_padding
from clipsearch.models.judging import SAME_LEAST_COSINE, judges_pictures, least_cosine
from clipsearch.models.loading import LoadedModel, logit_bias, logit_scale
from clipsearch.models.names import ModelSource
from clipsearch.models.onnx_export import lay_weights_beside, write_graph
from clipsearch.photos.preprocessing import Preprocessing

# A matrix of weights is read once for so many photos; a ninth gains nothing.
BATCH = 8
# Starting torch, with a ViT-B-32 built and judged, takes 7 s of processor time more; where the
# processor has int8 or bf16, a photo then takes 0.02 s instead of 0.11
# (`python -m benchmarks.cold_query` prints both, and what follows: 77 photos when quiet, 211 with
# neighbours); and torch takes 1.2 GB of memory, too.
TORCH_PAYS_FROM = 200


def keep_image_tower(loaded: LoadedModel, source: ModelSource) -> None:
    """Export a model's image tower into the user's cache, unless one ships or is there.

    A model that can't be exported needs torch each time; where the cache can't be written, too.
    """
    fingerprint = loaded.identity.fingerprint
    if shipped.is_shipped(fingerprint):
        return
    if not tower_cache.holds(fingerprint, tower_cache.IMAGE):
        with suppress(ModelError):
            tower_cache.keep(
                fingerprint, tower_cache.IMAGE, lambda folder: export_image_tower(loaded, folder)
            )
    tower_cache.remember_source(loaded.identity, source, loaded.files)


def export_image_tower(loaded: LoadedModel, folder: Path) -> None:
    """Fill a new folder with what `ImageEncoder.open` reads, of a network in float32.

    Raises ModelError if the network can't be exported or the export does not give the network's
    own vectors of the judge's pictures.
    """
    preprocessing = Preprocessing.from_json(loaded.identity.preprocessing)
    tower = PixelTower(loaded.network, preprocessing).eval()
    folder.mkdir(parents=True)
    write_image_graph(tower, preprocessing, folder / TOWER_NAME)
    lay_weights_beside(folder / TOWER_NAME, tower, WEIGHTS_NAME)
    settings = ImageEncoderSettings(
        FORMAT,
        loaded.identity,
        BATCH,
        TORCH_PAYS_FROM,
        logit_scale(loaded.network),
        logit_bias(loaded.network),
    )
    (folder / SETTINGS_NAME).write_text(settings_as_json(settings), encoding="utf-8")
    check_export(folder, tower, preprocessing)


def write_image_graph(tower: PixelTower, preprocessing: Preprocessing, path: Path) -> None:
    """Write an image tower's graph without weights; raises ModelError if it can't be exported."""
    pixels = torch.from_numpy(np.stack(judges_pictures(preprocessing, 2)))
    swaps = fixed_padding(tower.network.visual)
    swaps.make()
    try:
        with torch.no_grad():
            tower(pixels[:1])  # which fixes the padding
        what, free = "image tower", {0: "picture"}
        write_graph(tower, pixels, path, what, input_name=PIXELS_INPUT, free=free)
    finally:
        swaps.undo()


def check_export(folder: Path, tower: PixelTower, preprocessing: Preprocessing) -> None:
    """Raise ModelError unless an export gives the tower's own vectors of the judge's pictures."""
    pictures = judges_pictures(preprocessing)
    with torch.inference_mode():
        features: Any = tower(torch.from_numpy(np.stack(pictures)))
    expected: NDArray[np.float32] = features.float().numpy()
    cosine = least_cosine(ImageEncoder.open(folder).encode_pixels(pictures), expected)
    if not cosine >= SAME_LEAST_COSINE:
        raise ModelError(f"the exported image tower differs from the model (cosine {cosine:.4f})")
