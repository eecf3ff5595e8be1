"""Image towers made over for speed: some layers replaced by others that compute the same.

Imports torch: import it where needed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

INT8_LEAST_WIDTH = 256  # of a layer; a smaller one gains nothing
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Swap:
    """A layer of a tower, and what may take its place."""

    parent: nn.Module
    name: str
    old: nn.Module
    new: nn.Module


class Swaps:
    """Replacements that are made together, and can be taken back."""

    def __init__(self, swaps: Iterator[Swap]) -> None:
        self._swaps = list(swaps)

    def __bool__(self) -> bool:
        return bool(self._swaps)

    def make(self) -> None:
        """Put the new layers in place."""
        for swap in self._swaps:
            setattr(swap.parent, swap.name, swap.new)

    def undo(self) -> None:
        """Put the old layers back."""
        for swap in self._swaps:
            setattr(swap.parent, swap.name, swap.old)


def folded_norms(tower: nn.Module) -> Swaps:
    """Return the swaps that multiply batch norms into the convolutions before them.

    Which norm follows which convolution is told from their order in the tower, which need not be
    the order of the computation: compare the vectors before and after.
    """
    return Swaps(_folds(tower))


def _folds(tower: nn.Module) -> Iterator[Swap]:
    for parent in tower.modules():
        for (name, layer), (norm_name, norm) in pairwise(parent.named_children()):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                rest = _after_norm(norm)
                if rest is not None and norm.num_features == layer.out_channels:
                    yield Swap(parent, name, layer, fuse_conv_bn_eval(layer, norm))
                    yield Swap(parent, norm_name, norm, rest)


def _after_norm(norm: Any) -> nn.Module | None:
    """Return what a batch norm still does once it is folded away; None if it can't be folded."""
    from timm.layers.norm_act import BatchNormAct2d

    if norm.running_mean is None:
        return None
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    if type(norm) is BatchNormAct2d:
        return nn.Sequential(norm.drop, norm.act)
    return None


def lean_convolutions(tower: nn.Module) -> Swaps:
    """Return the swaps that spare a processor passes over memory, once norms are folded away.

    An activation is computed with the convolution before it, where torch has an operator for that,
    and a padding that differs by side becomes one that does not, with a wider kernel: for sides
    that the stride divides, so compare the vectors. A third of the time of an EfficientNet.
    """
    return Swaps(_leaner(tower))


def _leaner(tower: nn.Module) -> Iterator[Swap]:
    fuses = _works(_try_activated_convolution)
    for parent in tower.modules():
        children = [*parent.named_children(), ("", nn.Identity())]
        for (name, layer), (next_name, following) in pairwise(children):
            lean = _evenly_padded(layer)
            activation = _fusible(following) if fuses else None
            if activation and type(lean) is nn.Conv2d and lean.padding_mode == "zeros":
                lean = ActivatedConvolution(lean, *activation)
                yield Swap(parent, next_name, following, nn.Identity())
            if lean is not layer:
                yield Swap(parent, name, layer, lean)


def _evenly_padded(layer: nn.Module) -> nn.Module:
    """Return a convolution that pads one more behind than before as one that pads alike."""
    from timm.layers.conv2d_same import Conv2dSame

    if type(layer) is not Conv2dSame:
        return layer
    size = layer.kernel_size[0]
    plain = layer.kernel_size == (size, size) and layer.dilation == (1, 1)
    if not plain or layer.stride != (2, 2) or size % 2 == 0:
        return layer
    lean = nn.Conv2d(
        *(layer.in_channels, layer.out_channels, size + 1),
        stride=2,
        padding=size // 2,
        groups=layer.groups,
        bias=layer.bias is not None,
    )
    lean.weight = nn.Parameter(functional.pad(layer.weight.detach(), (1, 0, 1, 0)), False)
    lean.bias = layer.bias
    return lean


def _fusible(layer: nn.Module) -> tuple[str, list[float]] | None:
    """Return how oneDNN calls what a folded norm still does, if that is an activation it has."""
    if type(layer) is not nn.Sequential or not all(
        type(part) is nn.Identity for part in layer[:-1]
    ):
        return None
    names = {nn.ReLU: ("relu", []), nn.ReLU6: ("hardtanh", [0.0, 6.0])}
    return names.get(type(layer[-1]))


class ActivatedConvolution(nn.Module):
    """A convolution and the activation of what comes out, in one pass."""

    def __init__(self, convolution: nn.Conv2d, activation: str, settings: list[float]) -> None:
        """Take a convolution that pads with zeros, and an activation as oneDNN calls it."""
        super().__init__()
        self.convolution, self._activation, self._settings = convolution, activation, settings

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, out, height, width) of (n, in, height, width), on a processor."""
        return _activated_convolution(x, self.convolution, self._activation, self._settings)


def in_half_precision(network: nn.Module, dtype: torch.dtype, *, spared: int) -> Swaps:
    """Return the swap of a network's image tower for one in bf16 or fp16.

    The first `spared` layers stay in float32: what they round off is the same all over a plain
    wall or a night sky, and no later layer averages it away.
    """
    tower: Any = network.visual
    return Swaps(iter([Swap(network, "visual", tower, _halved(tower, dtype, spared))]))


def _halved(tower: nn.Module, dtype: torch.dtype, spared: int) -> nn.Module:
    norms = [m for m in tower.modules() if isinstance(m, BATCH_NORMS)]
    # Halved, running statistics would shift every channel.
    whole = [*list(_layers(tower))[:spared], *norms]
    kept = {id(tensor) for layer in whole for tensor in _tensors(layer)}
    halves = {
        id(t): t if id(t) in kept else _cast(t, dtype)
        for t in _tensors(tower)
        if t.is_floating_point()
    }
    halved = copy.deepcopy(tower, halves)  # without a copy of a weight in float32
    for number, layer in enumerate(_layers(halved)):
        takes = torch.float32 if number < spared else dtype
        layer.register_forward_pre_hook(partial(_cast_inputs, dtype=takes), with_kwargs=True)
    return halved


def _layers(tower: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules with weights that are made of no modules, or of such alone, in order."""
    for child in tower.children():
        if next(child.parameters(), None) is None:
            continue
        container = isinstance(child, nn.Sequential | nn.ModuleList)
        if container or any(next(part.children(), None) for part in child.children()):
            yield from _layers(child)
        else:
            yield child


def _tensors(module: nn.Module) -> Iterable[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    lower = tensor.detach().to(dtype)
    return nn.Parameter(lower, False) if isinstance(tensor, nn.Parameter) else lower


def _cast_inputs(
    _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], *, dtype: torch.dtype
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def cast(value: Any) -> Any:
        floating = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(dtype) if floating else value

    return tuple(map(cast, inputs)), {name: cast(value) for name, value in named.items()}


def int8_layers(tower: nn.Module) -> Swaps:
    """Return the swaps that make a transformer multiply its large matrices in int8.

    None for a tower that does most of its work otherwise: it would lose exactness for no gain; and
    none where torch lacks the operators. How much exactness is lost depends on the weights: compare
    the vectors.
    """
    layers = list(_with_large_matrices(tower))
    parts = {id(p): p.numel() for _, _, layer in layers for p in layer.parameters()}
    large = 2 * sum(parts.values()) > sum(p.numel() for p in tower.parameters())
    if not large or not _works(_try_int8):
        return Swaps(iter(()))
    return Swaps(Swap(parent, name, old, _in_int8(old)) for parent, name, old in layers)


def _with_large_matrices(tower: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    for parent in tower.modules():
        for name, layer in parent.named_children():
            if (
                (type(layer) is nn.Linear and _is_large(layer.weight))
                or (type(layer) is nn.MultiheadAttention and _attends_to_itself(parent, layer))
                or (type(layer) is nn.Conv2d and _is_of_patches(layer))
            ):
                yield parent, name, layer


def _in_int8(layer: Any) -> nn.Module:
    if isinstance(layer, nn.MultiheadAttention):
        return Int8Attention(layer)
    if isinstance(layer, nn.Conv2d):
        return Int8Patches(layer)
    return Int8Linear(layer.weight, layer.bias)


def _is_large(weight: Tensor) -> bool:
    return min(weight.flatten(1).shape) >= INT8_LEAST_WIDTH and weight.dtype == torch.float32


def _is_of_patches(layer: nn.Conv2d) -> bool:
    """Say whether a convolution sees each pixel once, which is a linear layer of patches.

    Those of single pixels stay: towers that have many are no transformers.
    """
    plain = (layer.padding, layer.dilation, layer.groups) == ((0, 0), (1, 1), 1)
    patches = layer.kernel_size == layer.stride and min(layer.kernel_size) > 1
    return plain and patches and _is_large(layer.weight)


def _attends_to_itself(block: nn.Module, attention: nn.MultiheadAttention) -> bool:
    from open_clip.transformer import ResidualAttentionBlock

    return (
        type(block) is ResidualAttentionBlock
        and not hasattr(block, "ln_1_kv")  # there, keys and values come from elsewhere
        and attention.batch_first
        and attention.in_proj_weight is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
        and _is_large(attention.in_proj_weight)
    )


class Int8Linear(nn.Module):
    """A linear layer in int8, with a scale for each output, a scale and offset for each input row.

    They depend on that row alone, so a photo's vector does not depend on its batch.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Take the weight (out, in) and bias of a float32 layer."""
        super().__init__()
        weight = weight.detach()
        top = weight.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
        self._scale = top / 127  # (out)
        whole = (weight / self._scale[:, None]).round_().to(torch.int8)
        self._sums = whole.sum(dim=1) * self._scale  # (out)
        self._packed = _packed_int8(whole)
        self._zeros = torch.zeros(len(top), dtype=torch.int32)
        self.bias = torch.zeros(len(top)) if bias is None else bias.detach()

    @property
    def weight(self) -> Tensor:
        """Return the weight in float32, for towers that look at it."""
        return self._product(torch.eye(self._packed.shape[0]).to(torch.uint8)).t()

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., out) of (..., in)."""
        width = x.shape[-1]
        rows, worth, least = _rows_as_bytes(x.reshape(-1, width))
        y = self._product(rows)
        torch.addcmul(self.bias, y, worth, out=y).addcmul_(least, self._sums)
        return y.reshape(*x.shape[:-1], -1)

    def _product(self, rows: Tensor) -> Tensor:
        """Return (n, out) in float32 of bytes (n, in)."""
        return _int8_product(rows, self._packed, self._scale, self._zeros)


class Int8Attention(nn.Module):
    """A self-attention whose projections are in int8; called as the one it replaces."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        """Take a float32 attention that is called with the same query, key and value."""
        super().__init__()
        self._heads = attention.num_heads
        self._joined = Int8Linear(attention.in_proj_weight, attention.in_proj_bias)
        self._out = Int8Linear(attention.out_proj.weight, attention.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """Return the mixed values (n, length, width), and no weights."""
        count, length, width = query.shape
        joined = self._joined(query).reshape(count, length, 3, self._heads, width // self._heads)
        parts = joined.permute(2, 0, 3, 1, 4)  # (3, n, heads, length, depth)
        q, k, v = parts.unbind()
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self._out(mixed.transpose(1, 2).reshape(count, length, width)), None


class Int8Patches(nn.Module):
    """A convolution that sees each pixel once, in int8, with a scale for each patch."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        """Take a float32 convolution whose stride is its kernel's size."""
        super().__init__()
        self._size = convolution.kernel_size
        weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)
        self._linear = Int8Linear(weight, convolution.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, out, height, width) of (n, in, height, width)."""
        for dimension, size in zip((2, 3), self._size, strict=True):
            x = x.unfold(dimension, size, size)  # (n, in, down, across, height, width of a patch)
        # A pixel's channels lie together in memory, so also in a patch: it is copied in long runs.
        patches = x.permute(0, 2, 3, 4, 5, 1).flatten(3)
        y: Tensor = self._linear(patches).permute(0, 3, 1, 2)
        return y


# Operators that torch does not promise to keep: each is called in one function of these, and tried
# before a tower is made over with it, for a torch that lacks it, wants other arguments or gives
# another answer. Whether the numbers are right, the vectors tell.


def _activated_convolution(
    x: Tensor, layer: nn.Conv2d, activation: str, settings: list[float]
) -> Tensor:
    """Return a convolution of (n, in, height, width) and then an activation, in one pass."""
    y: Tensor = torch.ops.mkldnn._convolution_pointwise(
        *(x, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation),
        *(layer.groups, activation, settings, ""),
    )
    return y


def _packed_int8(weight: Tensor) -> Tensor:
    """Return an int8 weight (out, in) as `_int8_product` wants it."""
    packed: Tensor = torch.ops.onednn.qlinear_prepack(weight, None)
    return packed


def _int8_product(rows: Tensor, packed: Tensor, scale: Tensor, zeros: Tensor) -> Tensor:
    """Return (n, out) in float32 of bytes (n, in); scale and zeros are (out)."""
    product: Tensor = torch.ops.onednn.qlinear_pointwise(
        *(rows, 1.0, 0, packed, scale, zeros, None),
        *(1.0, 0, torch.float32, "none", [], ""),
    )
    return product


def _rows_as_bytes(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return float32 rows (n, width) as bytes, and what 1 of them is worth and 0 is (n, 1)."""
    width = x.shape[1]
    # Meant for tables of embeddings, but by far the quickest way: each row as bytes from 0 to
    # 255, followed by two float32, what one of them is worth and what 0 stands for.
    rows = torch.ops.quantized.embedding_bag_byte_prepack(x)
    worth, least = rows[:, width:].contiguous().view(torch.float32).split(1, dim=1)
    return rows[:, :width].contiguous(), worth, least


def _works(trial: Callable[[], object]) -> bool:
    try:
        with torch.inference_mode():
            trial()
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return False
    return True


def _try_activated_convolution() -> None:
    _activated_convolution(torch.ones(1, 1, 2, 2), nn.Conv2d(1, 1, 1), "relu", [])


def _try_int8() -> None:
    Int8Linear(torch.ones(16, 16), None)(torch.ones(1, 16))
