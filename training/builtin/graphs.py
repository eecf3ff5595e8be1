"""The ONNX graphs that ship beside the built-in model's weights, and hold none themselves.

    python -m clipsearch.training.builtin.graphs

Run it whenever the weights change: `python -m clipsearch.training.builtin` ends with it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clipsearch.models.files import weights_in_folder
from clipsearch.models.image.encoder import (
    FORMAT,
    SETTINGS_NAME,
    TOWER_NAME,
    ImageEncoderSettings,
    settings_as_json,
)
from clipsearch.models.image.export import check_export, write_image_graph
from clipsearch.models.image.towers import PixelTower
from clipsearch.models.loading import LoadedModel, load_model, logit_bias, logit_scale
from clipsearch.models.names import BUILTIN_FOLDER, resolve_model
from clipsearch.models.onnx_export import lay_values_within, share_weights
from clipsearch.models.text import encoder as text
from clipsearch.models.text.export import SAMPLES, write_text_graph
from clipsearch.models.text.towers import ShortTower
from clipsearch.photos.preprocessing import Preprocessing

# One at a time a photo takes 8.7 ms on one core, eight together 11: what a layer makes of one stays
# in the processor's cache.
BATCH = 1
# Where a processor has bf16, torch gains 3 ms a photo, which is worth its start from 1,400 photos
# on (`python -m benchmarks.cold_query`); but it takes 1.2 GB of memory, too.
TORCH_PAYS_FROM = 2_000


def main() -> None:
    """Write the graphs of a model's folder, after the model they belong to is loaded from it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=BUILTIN_FOLDER)
    write_graphs(parser.parse_args().folder)


def write_graphs(folder: Path) -> None:
    """Write image.onnx, text.onnx and what belongs to them beside a model's weights.

    Raises ModelError where they do not give the model's own vectors.
    """
    source = resolve_model("builtin" if folder == BUILTIN_FOLDER else str(folder))
    loaded = load_model(source)
    weights = weights_in_folder(folder)
    assert weights is not None, folder
    loaded.tokenizer.save(folder)
    _write_image(loaded, folder, weights)
    _write_text(loaded, folder, weights)


def _write_image(loaded: LoadedModel, folder: Path, weights: Path) -> None:
    scale, bias = logit_scale(loaded.network), logit_bias(loaded.network)
    preprocessing = Preprocessing.from_json(loaded.identity.preprocessing)
    tower = PixelTower(loaded.network, preprocessing).eval()
    path = folder / TOWER_NAME
    write_image_graph(tower, preprocessing, path)
    _share(path, tower, weights, "network.")
    settings = ImageEncoderSettings(FORMAT, loaded.identity, BATCH, TORCH_PAYS_FROM, scale, bias)
    (folder / SETTINGS_NAME).write_text(f"{settings_as_json(settings)}\n", encoding="utf-8")
    check_export(folder, tower, preprocessing)


def _write_text(loaded: LoadedModel, folder: Path, weights: Path) -> None:
    assert ShortTower.fits(loaded.network)
    tower = ShortTower(loaded.network)
    path = folder / text.TOWER_NAME
    write_text_graph(tower, loaded.tokenizer(SAMPLES), path)
    _share(path, tower, weights, "tower.", "text.")
    settings = text.TextEncoderSettings(
        text.FORMAT,
        loaded.identity.fingerprint,
        loaded.identity.width,
        shortens=True,
        tokenizer=loaded.tokenizer.settings,
        logit_scale=logit_scale(loaded.network),
        logit_bias=logit_bias(loaded.network),
    )
    content = json.dumps(asdict(settings), indent=1)
    (folder / text.SETTINGS_NAME).write_text(f"{content}\n", encoding="utf-8")


def _share(path: Path, tower: nn.Module, weights: Path, prefix: str, kept_as: str = "") -> None:
    """Let a graph take its weights from the model's file, and hold its few other values itself."""
    with torch.no_grad():
        state: dict[str, Any] = dict(tower.state_dict())
    names = {name: name.replace(prefix, kept_as, 1) for name in state if name.startswith(prefix)}
    share_weights(path, weights, names)
    lay_values_within(path, state)


if __name__ == "__main__":
    main()
