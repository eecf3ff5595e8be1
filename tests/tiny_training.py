"""A tiny model and tiny data to train on: seconds, not minutes."""

from __future__ import annotations

import io
import json
import tarfile
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from clipsearch.training.run_config import (
    AugmentationConfig,
    DataConfig,
    ModelConfig,
    OptimizationConfig,
    OutputConfig,
    RunConfig,
)
from clipsearch.training.run_folder import RunFolder
from clipsearch.training.trainer import RunResult, StepReport, train_run

VIT: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {
        "context_length": 8,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 2,
    },
}
RESNET: dict[str, Any] = {
    **VIT,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16},
}
CONVNEXT: dict[str, Any] = {
    **VIT,
    "vision_cfg": {"image_size": 32, "timm_model_name": "test_convnext"},
}


class PlainFolder(RunFolder):
    """A run's folder without curves."""

    def _draw(self) -> None:
        """Draw nothing."""


def without_drawing() -> AbstractContextManager[Any]:
    """Let runs draw no sheets of retrievals; with a PlainFolder no curves either.

    Drawing takes ten times as long as the runs here.
    """
    return patch("clipsearch.training.validation.draw_retrievals")


_COLOURS = ("red", "green", "blue", "white", "black")


def run(
    config: RunConfig, path: Path, *, stop_after: int | None = None
) -> tuple[RunResult, list[StepReport]]:
    """Train in the folder, or go on if there is a run in it; return the result and each step."""
    begin = PlainFolder.resume if (path / "config.toml").exists() else PlainFolder.create
    folder = begin(path, config)
    steps: list[StepReport] = []
    with without_drawing():
        result = train_run(
            config, folder, report=steps.append, stop=lambda: len(steps) == stop_after
        )
    folder.close()
    return result, steps


def write_json(path: Path, config: dict[str, Any]) -> str:
    """Write a model configuration; return its path as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"model_cfg": config}), encoding="utf-8")
    return str(path)


def write_shard(path: Path, *, photos: int = 48, seed: int = 0) -> str:
    """Write photos of two colours, one above the other, with captions that name both."""
    chance = np.random.default_rng(seed)
    values = {"red": (200, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 200)}
    values |= {"white": (240, 240, 240), "black": (10, 10, 10)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in range(photos):
            upper, lower = _COLOURS[number % 5], _COLOURS[(number // 5) % 5]
            pixels = np.empty((24, 24, 3))
            pixels[:12], pixels[12:] = values[upper], values[lower]
            noisy = np.clip(pixels + chance.normal(0, 12, pixels.shape), 0, 255).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(noisy).save(buffer, "PNG")
            captions = [f"{upper} over {lower}", f"a photo of {upper} above {lower}"]
            _add(tar, f"{number:04}.png", buffer.getvalue())
            _add(tar, f"{number:04}.json", json.dumps({"captions": captions}).encode())
    return str(path)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def tiny_config(folder: Path, model: dict[str, Any] = VIT, **optimization: Any) -> RunConfig:
    """Return the settings of a run from scratch whose model and data are written into `folder`."""
    wanted = {"steps": 6, "batch_size": 16, "learning_rate": 3e-3, "warmup_steps": 2}
    return RunConfig(
        model=ModelConfig(name=write_json(folder / "model.json", model), scratch=True),
        data=DataConfig(
            train=(write_shard(folder / "train.tar"),),
            validation=(write_shard(folder / "val.tar", photos=10, seed=1),),
            workers=0,
        ),
        augmentation=AugmentationConfig(),
        optimization=OptimizationConfig(**{**wanted, **optimization}),
        output=OutputConfig(log_every=1, evaluate_every=100, checkpoint_every=100),
        device="cpu",
    )


def with_output(config: RunConfig, **values: Any) -> RunConfig:
    """Return the settings with some of `output` changed."""
    return replace(config, output=replace(config.output, **values))


def with_model(config: RunConfig, **values: Any) -> RunConfig:
    """Return the settings with some of `model` changed."""
    return replace(config, model=replace(config.model, **values))
