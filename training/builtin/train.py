"""The training loop: any module, any stream of batches, any loss."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from clipsearch.training.builtin.config import StageConfig
from clipsearch.training.learning.schedule import warmup_cosine

Batch = TypeVar("Batch")


def train(
    model: nn.Module,
    batches: Iterable[Batch],
    loss_of: Callable[[Batch], Tensor],
    *,
    config: StageConfig,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> list[float]:
    """Train the model's parameters that require gradients; return the loss of every step.

    `batches` must hold at least `config.steps` of them, ValueError else. `report` gets the step
    and the mean loss since its last call. A loss that is not finite ends the run with a
    FloatingPointError, so that broken weights are never saved.
    """
    optimizer = make_optimizer(model, config)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    losses: list[float] = []
    model.train()
    for step, batch in enumerate(batches):
        if step == config.steps:
            break
        share = warmup_cosine(step, steps=config.steps, warmup=config.warmup_steps)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * share

        loss = loss_of(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, config.max_gradient_norm)
        optimizer.step()

        losses.append(loss.item())
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {losses[-1]} at step {step}")
        if (step + 1) % config.report_every == 0 or step + 1 == config.steps:
            recent = losses[-config.report_every :]
            report(step + 1, sum(recent) / len(recent))
    if len(losses) < config.steps:
        raise ValueError(f"the batches ended after {len(losses)} of {config.steps} steps")
    model.eval()
    return losses


def make_optimizer(model: nn.Module, config: StageConfig) -> torch.optim.AdamW:
    """Return AdamW with weight decay on the matrices alone.

    Token embeddings go without decay too: rows that no batch touches must stay as they were.
    """
    embeddings = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)
    }
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            matrix = parameter.ndim >= 2 and id(parameter) not in embeddings
            (decayed if matrix else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def print_progress(step: int, loss: float) -> None:
    """Print one line for a person who waits."""
    print(f"step {step}: loss {loss:.4f}", flush=True)
