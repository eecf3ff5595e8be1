"""The gradient of a whole batch from parts of it that fit into memory, exactly.

Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021
(arXiv 2101.06983). The loss couples all samples, but only through their vectors. So all vectors
are made first, without keeping what they were made from; the loss tells how it changes with each
vector; then each part is encoded once more, now for its gradient, with the same random numbers
(dropout) as the first time. It costs one more pass forward.

Exact means: equal to the whole batch at once, if a sample's vector depends on that sample alone.
Batch norm in training mode is the exception: its statistics are those of the part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipsearch.models.faster_layers import BATCH_NORMS

Part = TypeVar("Part")
# Of the vectors of images and texts, each (n, width): the loss, (), and its gradient by each.
FeatureGradients = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def backward_in_parts(
    network: nn.Module,
    parts: Sequence[Part],
    encode: Callable[[Part], tuple[Tensor, Tensor]],
    gradients_of: FeatureGradients,
) -> Tensor:
    """Add the gradient of a batch's loss to the parameters of `network`; return the loss.

    `encode` makes image and text vectors, each (n, width), of one part of n samples; the vectors of
    all parts, in order, go to `gradients_of`, which gives the loss and its gradients by them. The
    loss is of shape (). With a single part nothing is encoded twice.
    """
    if len(parts) == 1:
        vectors = encode(parts[0])
        loss, *gradients = gradients_of(*(v.detach() for v in vectors))
        _backward(vectors, gradients)
        return loss

    states, encoded = [], []
    with torch.no_grad(), _running_statistics_kept(network):
        for part in parts:
            states.append(_RandomState.now())
            encoded.append(encode(part))
    images, texts = (torch.cat(vectors) for vectors in zip(*encoded, strict=True))
    loss, *gradients = gradients_of(images, texts)

    after = _RandomState.now()
    sizes = [len(images) for images, _ in encoded]
    split = zip(*(torch.split(gradient, sizes) for gradient in gradients), strict=True)
    for part, state, own in zip(parts, states, split, strict=True):
        state.restore()
        _backward(encode(part), own)
    after.restore()
    return loss


def _backward(vectors: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    # A frozen tower's vectors lead back to nothing.
    pairs = [(v, g) for v, g in zip(vectors, gradients, strict=True) if v.requires_grad]
    if pairs:
        torch.autograd.backward([v for v, _ in pairs], [g for _, g in pairs])


@dataclass(frozen=True)
class Encoding:
    """Pictures and texts as unit vectors in float32."""

    network: nn.Module
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext

    def images(self, pixels: Tensor) -> Tensor:
        """Return unit vectors, float32 (n, width), of normalised pixels (n, 3, height, width)."""
        return self._unit("encode_image", pixels)

    def texts(self, tokens: Tensor) -> Tensor:
        """Return unit vectors, float32 (n, width), of token ids, int64 (n, context)."""
        return self._unit("encode_text", tokens)

    def _unit(self, method: str, inputs: Tensor) -> Tensor:
        with self.autocast():
            features: Tensor = getattr(self.network, method)(inputs)
        return functional.normalize(features.float(), dim=1)


@dataclass(frozen=True)
class _RandomState:
    """Where torch's random numbers stand."""

    processor: Tensor
    device: Tensor | None

    @classmethod
    def now(cls) -> _RandomState:
        device = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return cls(torch.get_rng_state(), device)

    def restore(self) -> None:
        torch.set_rng_state(self.processor)
        if self.device is not None:
            torch.cuda.set_rng_state(self.device)


@contextmanager
def _running_statistics_kept(network: nn.Module) -> Iterator[None]:
    """Keep batch norms from counting the parts of a batch twice."""
    norms = [m for m in network.modules() if isinstance(m, BATCH_NORMS)]
    before = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
