"""Averages of weights: a running mean over the steps, and mixtures with the start (WiSE-FT)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

State = Mapping[str, Tensor]  # a network's weights by name, of any shapes and dtypes
SHARES = tuple(i / 10 for i in range(11))


class RunningMean:
    """An exponential moving average of what is trained (EMA), on the network's device.

    The first steps count for less than the decay says, or the random start would stay in the mean
    for 1 / (1 - decay) steps. Buffers (statistics of batch norms) are running means already and
    are taken as they are.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {
            name: parameter.detach().clone()
            for name, parameter in network.named_parameters()
            if parameter.requires_grad
        }

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after step number `step`, counted from 1."""
        decay = min(self.decay, step / (step + 10))
        parameters = dict(network.named_parameters())
        for name, mean in self.state.items():
            mean.lerp_(parameters[name], 1 - decay)

    @contextmanager
    def in_place_of_weights(self, network: nn.Module) -> Iterator[None]:
        """Let the network have the mean for a while."""
        self._swap(network)
        try:
            yield
        finally:
            self._swap(network)

    @torch.no_grad()
    def _swap(self, network: nn.Module) -> None:
        parameters = dict(network.named_parameters())
        for name, mean in self.state.items():
            now = parameters[name].detach().clone()
            parameters[name].copy_(mean)
            mean.copy_(now)


def mixed(start: State, tuned: State, share: float) -> dict[str, Tensor]:
    """Return the weights `(1 - share) * start + share * tuned`, name by name.

    Each has the shape and the dtype of the tuned weight; one that is no floating-point number (a
    batch norm's count) is the tuned one itself. `start` has all names that `tuned` has, with
    weights of the same shapes.
    """
    return {
        name: torch.lerp(start[name].to(weight.dtype), weight, share)
        if weight.is_floating_point()
        else weight
        for name, weight in tuned.items()
    }


@dataclass(frozen=True)
class MixResult:
    """Which mixture of weights was chosen, and what was measured."""

    share: float  # of the tuned weights
    state: dict[str, Tensor]  # the mixture itself, as `mixed` returns it
    scores: dict[float, float]  # of each share, by `evaluate`
    kept: dict[float, tuple[float, ...]]  # of the shares that `keeps` was asked about


def choose_mix(
    start: State,
    tuned: State,
    evaluate: Callable[[State], float],
    *,
    keeps: Callable[[State], tuple[float, ...]] | None = None,
    most_loss: float = 0.01,
    shares: Sequence[float] = SHARES,
) -> MixResult:
    """Choose the mixture of two weightings that scores highest on validation.

    Wortsman et al., "Robust fine-tuning of zero-shot models", 2022 (arXiv 2109.01903): on the line
    from the start to the tuned weights there are models that have learned the task and still know
    what the start knew. With `keeps`, a score on other data, only mixtures that lose at most
    `most_loss` of it against the start are taken. Of equal ones the nearest to the start wins;
    where none may be taken, the start is returned (share 0).
    """
    scores = {share: evaluate(mixed(start, tuned, share)) for share in shares}
    kept: dict[float, tuple[float, ...]] = {}
    if keeps is not None:
        kept[0.0] = keeps(start)
    chosen = 0.0
    for share in sorted(shares, key=lambda share: (-scores[share], share)):
        if keeps is not None and share not in kept:
            kept[share] = keeps(mixed(start, tuned, share))
        if keeps is None or all(
            before - after <= most_loss
            for before, after in zip(kept[0.0], kept[share], strict=True)
        ):
            chosen = share
            break
    return MixResult(chosen, mixed(start, tuned, chosen), scores, kept)
