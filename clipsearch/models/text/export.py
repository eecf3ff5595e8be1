"""A model's text tower as ONNX, so that a text query never waits for torch."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import ModelError
from clipsearch.index.durable import replace_text
from clipsearch.models.onnx_export import lay_weights_beside, put_in_place, write_graph
from clipsearch.models.onnx_session import make_ready
from clipsearch.models.text.encoder import (
    FORMAT,
    SETTINGS_NAME,
    TOKENS_INPUT,
    TOWER_NAME,
    WEIGHTS_NAME,
    TextEncoder,
    TextEncoderSettings,
)
from clipsearch.models.text.int8 import matrix_values, write_in_int8
from clipsearch.models.text.settings import TextTokenizer
from clipsearch.unit_length import unit_length

if TYPE_CHECKING:
    import torch

MINIMAL_COSINE = 0.999
# A tower whose matrices have so many values is reduced to int8: half the time of a query and half
# the file; a smaller one has little to gain. With the built-in model's tower, recall@10 over 5,000
# captions went from 67.88 to 67.76 %.
INT8_LEAST_VALUES = 16_000_000
INT8_MINIMAL_COSINE = 0.995
SAMPLES = (
    "a dog on a beach",
    "two people ride bicycles past an old stone church on a rainy evening",
    "red",
    "",
    "Grandmother's 80th birthday, with the whole family around the long table in the garden (2019)",
)


def export_text_tower(
    network: torch.nn.Module,
    tokenizer: TextTokenizer,
    folder: Path,
    *,
    fingerprint: str,
    width: int,
    logit_scale: float | None,
    logit_bias: float | None,
) -> None:
    """Write text.onnx, the tokenizer and text_encoder.json, which `TextEncoder.open` reads.

    The folder appears whole or not at all. Raises ModelError if the network can't be exported or
    the export does not give the network's own vectors.
    """
    from clipsearch.models.text.towers import ShortTower

    whole = TextEncoderSettings(
        FORMAT,
        fingerprint,
        width,
        shortens=False,
        tokenizer=tokenizer.settings,
        logit_scale=logit_scale,
        logit_bias=logit_bias,
    )
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    for leftover in folder.parent.glob(f".{folder.name}.*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        if ShortTower.fits(network):
            with suppress(ModelError):  # an unforeseen tower only looks like CLIP's
                _write(network, tokenizer, aside, replace(whole, shortens=True))
                put_in_place(aside, folder)
                return
        _write(network, tokenizer, aside, whole)
        put_in_place(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def add_logit_scale(
    folder: Path,
    settings: TextEncoderSettings,
    *,
    logit_scale: float | None,
    logit_bias: float | None,
) -> None:
    """Bring the settings of an export of format 1 up to the present one; the tower stays as it is.

    Raises OSError where they can't be written; the old ones are there then.
    """
    settings = replace(settings, format=FORMAT, logit_scale=logit_scale, logit_bias=logit_bias)
    replace_text(folder / SETTINGS_NAME, _as_json(settings))


def _write(
    network: torch.nn.Module,
    tokenizer: TextTokenizer,
    folder: Path,
    settings: TextEncoderSettings,
) -> None:
    """Fill a new folder and check that it gives the network's own vectors."""
    import torch

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _write_settings(folder, settings)
    tokenizer.save(folder)
    ids = tokenizer(SAMPLES)
    _write_tower(network, ids, folder, settings.shortens)
    with torch.inference_mode():
        tower: Any = network.encode_text
        expected = unit_length(tower(torch.from_numpy(ids)).float().numpy())
    cosine = _least_cosine(folder, expected)
    if cosine < MINIMAL_COSINE:
        raise ModelError(f"the exported text tower differs from the model (cosine {cosine:.4f})")
    if matrix_values(folder / TOWER_NAME) >= INT8_LEAST_VALUES:
        _reduce_to_int8(folder, settings, expected)


def _write_settings(folder: Path, settings: TextEncoderSettings) -> None:
    (folder / SETTINGS_NAME).write_text(_as_json(settings), encoding="utf-8")


def _as_json(settings: TextEncoderSettings) -> str:
    return json.dumps(asdict(settings), indent=1)


def _write_tower(
    network: torch.nn.Module, ids: NDArray[np.int64], folder: Path, shortens: bool
) -> None:
    from clipsearch.models.text.towers import ShortTower, WholeTower

    tower = ShortTower(network) if shortens else WholeTower(network)
    raw = folder / "raw"  # a tower of over 2 GB becomes many files
    raw.mkdir()
    write_text_graph(tower, ids, raw / TOWER_NAME)
    lay_weights_beside(raw / TOWER_NAME, tower, WEIGHTS_NAME)
    make_ready(raw / TOWER_NAME, folder / TOWER_NAME, "text tower", WEIGHTS_NAME)
    shutil.rmtree(raw)


def write_text_graph(tower: torch.nn.Module, ids: NDArray[np.int64], path: Path) -> None:
    """Write a text tower's graph without weights, traced with ids (n, length) of texts."""
    import torch

    from clipsearch.models.text.towers import ShortTower

    free = {0: "text", 1: "token"} if isinstance(tower, ShortTower) else {0: "text"}
    example = torch.from_numpy(ids)
    write_graph(tower.eval(), example, path, "text tower", input_name=TOKENS_INPUT, free=free)


def _least_cosine(folder: Path, expected: NDArray[np.float32]) -> float:
    """Return how near the exported tower comes to the network's own vectors of SAMPLES."""
    exported = TextEncoder.open(folder).encode_text(SAMPLES)
    return float((expected * exported).sum(axis=1).min())


def _reduce_to_int8(
    folder: Path, settings: TextEncoderSettings, expected: NDArray[np.float32]
) -> None:
    """Let an exported tower multiply in int8, unless that turns a vector too far."""
    reduced = folder / "int8"
    shutil.copytree(folder, reduced, ignore=shutil.ignore_patterns(TOWER_NAME, WEIGHTS_NAME))
    _write_settings(reduced, replace(settings, int8=True))
    try:
        write_in_int8(folder / TOWER_NAME, reduced / TOWER_NAME)
        close = _least_cosine(reduced, expected) >= INT8_MINIMAL_COSINE
    except ModelError:
        close = False
    if close:
        for file in reduced.iterdir():
            file.replace(folder / file.name)
    shutil.rmtree(reduced)
