"""What learns: network, optimizer, running mean; one step at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipsearch.training.data.loader import Batch
from clipsearch.training.learning.distributed import Processes
from clipsearch.training.learning.divergence import check_finite
from clipsearch.training.learning.gradient_cache import Encoding, backward_in_parts
from clipsearch.training.learning.objective import Objective, balanced_bias
from clipsearch.training.learning.optimization import (
    Precision,
    apply_gradients,
    make_optimizer,
    set_rates,
)
from clipsearch.training.run_config import RunConfig
from clipsearch.training.towers.averaging import RunningMean
from clipsearch.training.towers.models import (
    TrainedModel,
    is_trained,
    load_start,
    resized_positions,
    set_training_mode,
)


@dataclass(frozen=True)
class Learned:
    """What is known of a step once it is taken."""

    loss: float
    gradient_norm: float
    learning_rate: float  # of the image tower's top
    logit_scale: float


class Learner:
    """A model that learns from batches."""

    def __init__(self, model: TrainedModel, config: RunConfig, processes: Processes) -> None:
        """Take a model and put it on the device of `processes`."""
        self.model, self.config, self.processes = model, config, processes
        self.network: Any = model.network.to(processes.device)
        if processes.device.type != "mps":  # convolutions run faster so
            self.network.visual.to(memory_format=torch.channels_last)
        self.objective = Objective(config.objective)
        self.precision = Precision.of(config.optimization.precision, processes.device)
        self.optimizer = make_optimizer(self.network, config.optimization)
        ema = config.optimization.ema
        self.mean = RunningMean(self.network, ema) if ema else None
        self._encoding = Encoding(self.network, self.precision.autocast)
        self._trained = [is_trained(self.network, text=text) for text in (False, True)]

    def learn(self, batch: Batch, *, step: int, share: float) -> Learned:
        """Take step number `step`, from 1, with this share of the full learning rates.

        `batch` is this process's part of the whole batch. Raises TrainingDiverged.
        """
        wanted, processes, scaler = self.config.optimization, self.processes, self.precision.scaler
        set_training_mode(self.network)
        set_rates(self.optimizer, share)
        keys = torch.stack([batch.photos, batch.texts, batch.labels], dim=1)
        pixels, tokens, keys = (t.to(processes.device) for t in (batch.pixels, batch.tokens, keys))
        everyones_keys = processes.gather(keys)
        if self.model.lacks_bias and step == 1:
            self._choose_bias(pixels, tokens)

        def own_part(vectors: Tensor) -> Tensor:
            rows = processes.rows(len(pixels))
            assert vectors.grad is not None
            return processes.sum(vectors.grad)[rows.start : rows.stop]

        def gradients_of(images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            rows = processes.rows(len(images))
            all_images, all_texts = (processes.gather(v).requires_grad_() for v in (images, texts))
            loss = self.objective(self.network, all_images, all_texts, everyones_keys, rows=rows)
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            return processes.sum(loss.detach()), own_part(all_images), own_part(all_texts)

        self.optimizer.zero_grad(set_to_none=True)
        part = wanted.micro_batch or len(pixels)
        parts = list(zip(torch.split(pixels, part), torch.split(tokens, part), strict=True))
        loss = float(backward_in_parts(self.network, parts, self._encode, gradients_of))
        check_finite(loss, "loss", step, precision=wanted.precision)
        processes.sum_gradients(self.network.parameters())
        norm = apply_gradients(
            self.network, self.optimizer, scaler, max_norm=wanted.max_gradient_norm
        )
        if not scaler.is_enabled():
            check_finite(norm, "gradient", step, precision=wanted.precision)
        self.objective.clamp(self.network)
        if self.mean is not None:
            self.mean.update(self.network, step)
        rate = self.config.optimization.learning_rate * share
        return Learned(loss, norm, rate, float(self.network.logit_scale.detach().exp()))

    def _encode(self, part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the vectors of pixels and tokens, with gradients for towers that are trained."""
        wanted = torch.is_grad_enabled()
        with torch.set_grad_enabled(wanted and self._trained[0]):
            images = self._encoding.images(part[0])
        with torch.set_grad_enabled(wanted and self._trained[1]):
            return images, self._encoding.texts(part[1])

    @torch.no_grad()
    def _choose_bias(self, pixels: Tensor, tokens: Tensor) -> None:
        images = self.processes.gather(self._encoding.images(pixels))
        texts = self.processes.gather(self._encoding.texts(tokens))
        logits = self.network.logit_scale.exp() * images @ texts.T
        self.network.logit_bias.fill_(balanced_bias(logits))

    def output_weights(self) -> AbstractContextManager[None]:
        """Let the network have the weights that would be the output now."""
        return nullcontext() if self.mean is None else self.mean.in_place_of_weights(self.network)

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, without copying."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "mean": {} if self.mean is None else self.mean.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there. Raises RuntimeError, ValueError or KeyError where it does not fit."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.precision.scaler.load_state_dict(state["scaler"])
        if self.mean is not None:
            self.mean.state = {n: state["mean"][n].to(m.device) for n, m in self.mean.state.items()}

    def grown(self, model: TrainedModel) -> Learner:
        """Return one that goes on with `model`, the same for pictures of another size.

        It takes over weights, mean and the optimizer's moments, but for those of the position
        embeddings, which are interpolated.
        """
        other = Learner(model, self.config, self.processes)
        load_start(other.network, self.network.state_dict())
        if self.mean is not None and other.mean is not None:
            other.mean.state = resized_positions(self.mean.state, other.network)
        parameters = dict(_trained(other.network))
        for name, parameter in _trained(self.network):
            if parameter.shape == parameters[name].shape:
                other.optimizer.state[parameters[name]] = self.optimizer.state[parameter]
        other.precision.scaler.load_state_dict(self.precision.scaler.state_dict())
        return other


def _trained(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in network.named_parameters() if p.requires_grad)
