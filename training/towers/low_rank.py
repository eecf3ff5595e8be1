"""Low-rank changes of linear layers (LoRA), merged into plain weights for the output.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021 (arXiv 2106.09685): the
weights stay, and W + (alpha / rank) B A takes their place, with A and B of small rank. Only A and
B are trained, so that optimizer and checkpoints are small.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from clipsearch.errors import InvalidInput

_PART = re.compile(r"(.*\.)?parametrizations\.(\w+)\.(original|0\.(?:up|down))")


class LowRank(nn.Module):
    """The change of one weight, (out, in); of each of its `parts` by itself, where it has several.

    The joint projection of an attention holds three: query, key and value.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float, *, parts: int = 1) -> None:
        super().__init__()
        height, width = weight.shape[0] // parts, weight.shape[1]
        self.scale = alpha / rank
        # As in the paper: B is zero, so that nothing changes at first.
        self.down = nn.Parameter(weight.new_empty(parts, rank, width))
        self.up = nn.Parameter(weight.new_zeros(parts, height, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight, of the shape (out, in) and the dtype of the one given."""
        return weight + self.scale * (self.up @ self.down).reshape(weight.shape)


def add_low_rank(network: nn.Module, *, rank: int, alpha: float, layers: str) -> list[str]:
    """Freeze the towers and let low-rank changes of linear layers be trained; return their names.

    `layers` is a regular expression to be found in the weight's name; frozen weights get no
    change. Raises InvalidInput where nothing fits.
    """
    try:
        pattern = re.compile(layers)
    except re.error as error:
        raise InvalidInput(f"model.lora_layers is no regular expression: {error}") from error
    chosen = [
        (module, weight, name, parts)
        for module, weight, name, parts in _linear_weights(network)
        if pattern.search(name) and getattr(module, weight).requires_grad
    ]
    if rank < 1 or not chosen:
        what = f"{layers!r} fits no trainable linear layer" if rank > 0 else "lora_rank is below 1"
        raise InvalidInput(f"model.lora_layers and lora_rank choose nothing: {what}")
    for name, parameter in network.named_parameters():
        if name not in ("logit_scale", "logit_bias"):
            parameter.requires_grad_(False)
    for module, weight, _, parts in chosen:
        change = LowRank(getattr(module, weight).detach(), rank, alpha, parts=parts)
        parametrize.register_parametrization(module, weight, change)
    return [name for *_, name, _ in chosen]


def _linear_weights(network: nn.Module) -> Iterator[tuple[nn.Module, str, str, int]]:
    """Yield each linear layer, its weight's name in it and in the network, and its parts."""
    for prefix, module in network.named_modules():
        if isinstance(module, nn.Linear):
            yield module, "weight", f"{prefix}.weight", 1
        # An attention's joint projection; both torch's and open_clip's own have it.
        elif isinstance(getattr(module, "in_proj_weight", None), nn.Parameter):
            yield module, "in_proj_weight", f"{prefix}.in_proj_weight", 3


def merged_state(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights by name as if the network had plain ones, on its device, detached.

    Shapes and dtypes are those of the weights that low-rank changes were added to.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        found = _PART.fullmatch(name)
        if found is None:
            state[name] = tensor
        elif found[3] == "original":
            owner = network.get_submodule((found[1] or "").rstrip("."))
            with torch.no_grad():
                state[f"{found[1] or ''}{found[2]}"] = getattr(owner, found[2]).detach()
    return state
