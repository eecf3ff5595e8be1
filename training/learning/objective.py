"""What the towers learn from: the chosen loss over a batch, shared out over processes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipsearch.errors import InvalidInput
from clipsearch.training.learning.losses import contrastive_loss, same_meaning, sigmoid_loss
from clipsearch.training.run_config import ObjectiveConfig


@dataclass(frozen=True)
class Objective:
    """The loss of a whole batch from its unit vectors."""

    config: ObjectiveConfig

    def __post_init__(self) -> None:
        """Raise InvalidInput for settings that can't be used."""
        if not self.config.max_logit_scale > 1:
            raise InvalidInput("objective.max_logit_scale must be above 1; CLIP's is 100")
        if not 0 <= self.config.label_smoothing < 1:
            raise InvalidInput("objective.label_smoothing must be from 0 to below 1")
        if self.config.loss == "sigmoid" and self.config.label_smoothing:
            raise InvalidInput("objective.label_smoothing goes with the softmax loss only")

    def __call__(
        self,
        network: nn.Module,
        images: Tensor,
        texts: Tensor,
        keys: Tensor,
        *,
        rows: range | None = None,
    ) -> Tensor:
        """Return the loss, (), of unit vectors with the scale (and bias) of `network`.

        `images` and `texts` are float (n, width). `keys`, int64 (n, 3), number photo, text and
        label of each sample; equal ones (-1 aside) are no negatives of each other. `rows` gives the
        share of these samples in the whole loss.
        """
        model: Any = network
        columns = keys.unbind(dim=1)
        same = same_meaning(*(columns if self.config.same_label_is_no_negative else columns[:2]))
        scale = model.logit_scale.exp()
        if self.config.loss == "sigmoid":
            return sigmoid_loss(images, texts, scale, model.logit_bias, same=same, rows=rows)
        smoothing = self.config.label_smoothing
        return contrastive_loss(
            images, texts, scale, same=same, label_smoothing=smoothing, rows=rows
        )

    def clamp(self, network: nn.Module) -> None:
        """Keep the scale between 1 and its upper bound, as CLIP does after each step."""
        model: Any = network
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(self.config.max_logit_scale))

    def chance_loss(self, batch_size: int) -> float:
        """Return the loss of towers that tell nothing apart, all wrong pairs taking part."""
        if self.config.loss == "softmax":
            return math.log(batch_size)
        # The best that a bias alone can do: a probability of 1 / n for each of n pairs.
        others = batch_size - 1
        return math.log(batch_size) + others * math.log(batch_size / others)


def balanced_bias(logits: Tensor) -> float:
    """Return the bias with which the sigmoids of logits, float (n, n), add up to the n right pairs.

    A model that was trained with the softmax loss has no bias; with 0, nearly all of its pairs
    would be taken for right, and its first steps would undo what it knows.

    >>> round(balanced_bias(torch.zeros(4, 4)), 4) == round(-math.log(3), 4)
    True
    """
    low, high = -float(logits.max()) - 50, -float(logits.min()) + 50
    for _ in range(60):
        middle = (low + high) / 2
        if float(torch.sigmoid(logits.double() + middle).sum()) > len(logits):
            high = middle
        else:
            low = middle
    return (low + high) / 2
