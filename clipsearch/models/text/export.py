"""A model's text tower as ONNX, so that a text query never waits for torch."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import ModelError, one_line
from clipsearch.index.durable import replace_text
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
from clipsearch.privacy import onnx_runtime
from clipsearch.unit_length import unit_length

if TYPE_CHECKING:
    import torch

OPSET = 20  # the first with Gelu; onnxruntime has known it since 1.17
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
                _put_in_place(aside, folder)
                return
        _write(network, tokenizer, aside, whole)
        _put_in_place(aside, folder)
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
    _to_onnx(tower.eval(), ids, raw / TOWER_NAME, shortens)
    _lay_weights_beside(raw / TOWER_NAME, tower)
    _optimize(raw / TOWER_NAME, folder / TOWER_NAME)
    shutil.rmtree(raw)


def _to_onnx(tower: torch.nn.Module, ids: NDArray[np.int64], path: Path, shortens: bool) -> None:
    import torch

    example = torch.from_numpy(ids)
    axes = {0: "text", 1: "token"} if shortens else {0: "text"}
    try:
        with _plain_tracing(), torch.no_grad():
            torch.onnx.export(
                tower,
                (example,),
                str(path),
                input_names=[TOKENS_INPUT],
                output_names=["features"],
                dynamic_axes={TOKENS_INPUT: axes, "features": {0: "text"}},
                opset_version=OPSET,
                export_params=False,  # it would hold three copies of them
                do_constant_folding=False,
                dynamo=False,  # 4 s where the newer exporter takes 18 for the same graph
            )
    except (RuntimeError, TypeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        raise ModelError(f"the text tower can't be exported: {one_line(error)}") from error


def _lay_weights_beside(path: Path, tower: torch.nn.Module) -> None:
    """Give a graph without weights those of the tower, in a file that is written from them."""
    import onnx

    weights = tower.state_dict()
    model = onnx.load(path)
    with path.with_name(WEIGHTS_NAME).open("wb") as file:
        for value in [value for value in model.graph.input if value.name in weights]:
            array = weights[value.name].detach().contiguous().numpy()
            place = {"location": WEIGHTS_NAME, "offset": file.tell(), "length": array.nbytes}
            tensor = model.graph.initializer.add(
                name=value.name,
                dims=array.shape,
                data_type=value.type.tensor_type.elem_type,
                data_location=onnx.TensorProto.EXTERNAL,
            )
            for key, number in place.items():
                tensor.external_data.add(key=key, value=str(number))
            file.write(memoryview(array.reshape(-1)).cast("B"))
            model.graph.input.remove(value)
    path.write_bytes(model.SerializeToString())


@contextmanager
def _plain_tracing() -> Iterator[None]:
    """Trace attention step by step, not as torch's fused kernel; hold the exporter's advice."""
    import torch

    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        torch.backends.mha.set_fastpath_enabled(fused)


def _optimize(raw: Path, path: Path) -> None:
    """Fold constants once, now, and lay the weights apart so that they can be memory-mapped."""
    from clipsearch.models.text.encoder import runtime_errors

    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    # only standard operators, so that the file outlives this version of the runtime
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    entries = {"external_initializers_file_name": WEIGHTS_NAME}
    entries["external_initializers_min_size_in_bytes"] = "1024"
    for key, value in entries.items():
        options.add_session_config_entry(f"session.optimized_model_{key}", value)
    # this session runs nothing, so it needs no copies of the weights in the layout to run them
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.log_severity_level = 3
    try:
        onnxruntime.InferenceSession(str(raw), options, providers=["CPUExecutionProvider"])
    except runtime_errors() as error:
        size = sum(file.stat().st_size for file in raw.parent.iterdir())
        if shutil.disk_usage(path.parent).free < size:  # the runtime does not say so itself
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise ModelError(f"the exported text tower can't run: {one_line(error)}") from error


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


def _put_in_place(aside: Path, folder: Path) -> None:
    """Move the new folder to its name; an old one steps aside first and is then removed."""
    old = folder.with_name(f"{aside.name}.old")
    if folder.exists():
        folder.replace(old)
    aside.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
