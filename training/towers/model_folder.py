"""Write an open_clip model as a folder that open_clip loads: configuration and safetensors."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip import CustomTextCLIP
from safetensors.torch import save_file
from torch import Tensor, nn

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"


@dataclass(frozen=True)
class ModelFolderConfig:
    """The two parts of open_clip's configuration file."""

    model: dict[str, Any]
    preprocess: dict[str, Any]


def new_model(config: ModelFolderConfig, *, scale: float = 20.0) -> CustomTextCLIP:
    """Return the model with fresh weights; `scale` is the inverse temperature to start from."""
    parts = {name: value for name, value in config.model.items() if name != "custom_text"}
    return CustomTextCLIP(**parts, init_logit_scale=math.log(scale))


def save_model_folder(model: nn.Module, folder: Path, config: ModelFolderConfig) -> None:
    """Write configuration and float16 weights, each put in place in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(model.state_dict(), folder)
    write_config(folder, config)


def save_weights(
    state: Mapping[str, Tensor], folder: Path, *, dtype: torch.dtype = torch.float16
) -> None:
    """Write weights of any shapes, rounded to `dtype` where they are floating-point numbers.

    Raises ValueError where one is not finite in it, OSError where the file can't be written.
    """
    tensors = {
        name: (tensor.detach().to(dtype) if tensor.is_floating_point() else tensor)
        .cpu()
        .contiguous()
        for name, tensor in state.items()
    }
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise ValueError(f"a weight is not finite in {str(dtype).removeprefix('torch.')}")
    aside = folder / f"{WEIGHTS_NAME}.part"
    save_file(tensors, aside, metadata={"format": "pt"})
    aside.chmod(0o644)  # safetensors makes files that only their owner can read
    aside.replace(folder / WEIGHTS_NAME)


def write_config(folder: Path, config: ModelFolderConfig) -> None:
    """Write the configuration file."""
    text = json.dumps({"model_cfg": config.model, "preprocess_cfg": config.preprocess}, indent=2)
    aside = folder / f"{CONFIG_NAME}.part"
    aside.write_text(text + "\n", encoding="utf-8")
    aside.replace(folder / CONFIG_NAME)
