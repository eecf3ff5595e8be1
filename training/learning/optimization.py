"""How the weights move: AdamW with its groups, reduced precision, clipping."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipsearch.errors import InvalidInput
from clipsearch.training.run_config import OptimizationConfig
from clipsearch.training.towers.models import SCALES, is_text

# Of position and class embeddings, by the last part of their names in open_clip and timm.
_EMBEDDINGS = re.compile(
    r"(position_?al_embedding|class_embedding|cls_emb|cls_token|\w*pos_embed)$"
)
_BLOCK = re.compile(r"\.(?:resblocks|layer)\.(\d+)\.")
_RESNET_STAGE = re.compile(r"^layer(\d)\.")
_AT_THE_BOTTOM = re.compile(
    r"^(conv\d|bn\d|class_embedding|positional_embedding|ln_pre|token_embedding|cls_emb"
    r"|transformer\.embeddings)\b"
)


def make_optimizer(network: nn.Module, config: OptimizationConfig) -> torch.optim.AdamW:
    """Return AdamW over what is trained; each group holds its full rate as `full_rate`.

    Weight decay is for matrices alone: gains, biases, the logit scale and bias, token, position
    and class embeddings have none (rows of words that no batch holds stay as they were).
    """
    rates = rate_shares(network, config)
    undecayed = _without_decay(network)
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decay = 0.0 if name in undecayed else config.weight_decay
            groups[config.learning_rate * rates[name], decay].append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "full_rate": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ],
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def set_rates(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set each group's learning rate to this share of its full one."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_rate"] * share


def _without_decay(network: nn.Module) -> set[str]:
    embeddings = {id(m.weight) for m in network.modules() if isinstance(m, nn.Embedding)}
    return {
        name
        for name, parameter in network.named_parameters()
        if parameter.ndim < 2 or id(parameter) in embeddings or _EMBEDDINGS.search(name)
    }


def rate_shares(network: nn.Module, config: OptimizationConfig) -> dict[str, float]:
    """Return the share of the learning rate that each parameter gets, by tower and depth.

    With `layer_decay` below 1 each layer learns that much slower than the one above it (as in
    BEiT, Bao et al. 2021); projections at the top, scale and bias learn at the full rate.
    """
    text_rate = config.text_learning_rate or config.learning_rate
    depths = _depths(network) if config.layer_decay != 1 else {}
    tops = {
        text: max((d for n, d in depths.items() if is_text(n) == text), default=0)
        for text in (False, True)
    }
    shares = {}
    for name, _ in network.named_parameters():
        text = is_text(name)
        share = text_rate / config.learning_rate if text else 1.0
        if name in depths:
            share *= config.layer_decay ** (tops[text] - depths[name])
        shares[name] = share
    return shares


def _depths(network: nn.Module) -> dict[str, int]:
    """Return how many layers lie below each parameter's own, tower by tower."""
    names = [name for name, _ in network.named_parameters() if name not in SCALES]
    texts = {name: name.removeprefix("text.") for name in names if is_text(name)}
    depths = _depths_of_tower(texts)
    trunk = getattr(network.visual, "trunk", None)
    if trunk is None:
        pictures = {n: n.removeprefix("visual.") for n in names if n.startswith("visual.")}
        return depths | _depths_of_tower(pictures)
    return depths | _timm_depths(trunk, names)


def _depths_of_tower(inner_names: dict[str, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, inner in inner_names.items():
        if block := _BLOCK.search(f".{inner}"):
            found[name] = int(block[1]) + 1
        elif stage := _RESNET_STAGE.match(inner):
            found[name] = int(stage[1])
        elif _AT_THE_BOTTOM.match(inner):
            found[name] = 0
    top = max(found.values(), default=0) + 1
    return {name: found.get(name, top) for name in inner_names}


def _timm_depths(trunk: nn.Module, names: list[str]) -> dict[str, int]:
    from timm.models import group_parameters

    model: Any = trunk
    if not hasattr(model, "group_matcher"):
        raise InvalidInput("optimization.layer_decay: timm knows no layers of this image tower")
    # Adapters of low rank stand under another name than the weights that they change.
    layers: dict[str, int] = group_parameters(trunk, model.group_matcher(), reverse=True)
    top = max(layers.values()) + 1
    depths = {}
    for name in names:
        if name.startswith("visual."):
            inner = name.removeprefix("visual.trunk.")
            depths[name] = layers.get(inner, top)
    return depths


@dataclass(frozen=True)
class Precision:
    """In which numbers the towers are worked out."""

    name: str  # fp32, bf16 or fp16
    device: torch.device
    scaler: torch.amp.GradScaler  # does nothing unless fp16

    @classmethod
    def of(cls, name: str, device: torch.device) -> Precision:
        """Return the precision of this name; raise InvalidInput where the device lacks it."""
        if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise InvalidInput("this GPU has no bf16; choose optimization.precision = 'fp16'")
        scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")
        return cls(name, device, scaler)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context to encode in; weights and their gradients stay float32."""
        if self.name == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype)


def apply_gradients(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    *,
    max_norm: float,
) -> float:
    """Clip the gradients to `max_norm` (0 does not), take the step, and return their norm.

    A step whose gradients are not finite is left out: with fp16 that happens, and the scaler
    then lowers its factor; without it the caller should stop.
    """
    parameters = [p for p in network.parameters() if p.grad is not None]
    scaler.unscale_(optimizer)
    norm: Tensor = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if max_norm:
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    value = float(norm)
    if scaler.is_enabled() or math.isfinite(value):
        scaler.step(optimizer)
    scaler.update()
    return value
