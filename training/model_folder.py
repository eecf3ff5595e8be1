"""Write an open_clip model as a folder that open_clip loads: configuration and safetensors."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip import CustomTextCLIP
from safetensors.torch import save_file

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


def save_model_folder(model: CustomTextCLIP, folder: Path, config: ModelFolderConfig) -> None:
    """Write configuration and float16 weights, each put in place in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise ValueError("a weight is not finite in float16")
    aside = folder / f"{WEIGHTS_NAME}.part"
    save_file(tensors, aside, metadata={"format": "pt"})
    aside.chmod(0o644)  # safetensors makes files that only their owner can read
    aside.replace(folder / WEIGHTS_NAME)
    text = json.dumps({"model_cfg": config.model, "preprocess_cfg": config.preprocess}, indent=2)
    aside = folder / f"{CONFIG_NAME}.part"
    aside.write_text(text + "\n", encoding="utf-8")
    aside.replace(folder / CONFIG_NAME)
