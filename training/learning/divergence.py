"""Runs that go wrong, seen early and explained."""

from __future__ import annotations

import math
from collections import deque

from clipsearch.errors import ClipsearchError

_NEAR_CHANCE = 0.97  # of the loss of towers that tell nothing apart


class TrainingDiverged(ClipsearchError):
    """The loss or its gradient is no number any more; what was saved before is still good."""


def check_finite(value: float, what: str, step: int, *, precision: str) -> None:
    """Raise TrainingDiverged for a loss or gradient that is not finite, with the usual cures."""
    if math.isfinite(value):
        return
    cures = "a lower learning_rate, a longer warmup_steps, max_gradient_norm = 1"
    if precision == "fp16":
        cures += ", or precision = 'bf16'"
    raise TrainingDiverged(
        f"the {what} became {value} at step {step}; usual cures: {cures}. The checkpoint from "
        "before is kept"
    )


class StuckWatch:
    """Notices a loss that stays where guessing has it."""

    def __init__(self, chance_loss: float, *, patience: int, formula: str = "") -> None:
        """Take the loss of guessing, what it is worked out from, and for how many steps it may."""
        self._named = f"{formula} = {chance_loss:.2f}" if formula else f"{chance_loss:.2f}"
        self._chance_loss = chance_loss
        self._recent: deque[float] = deque(maxlen=patience)
        self._said = False

    def warning(self, loss: float) -> str | None:
        """Take in the loss of a step; return what to say about it, once."""
        self._recent.append(loss)
        full = len(self._recent) == self._recent.maxlen
        if self._said or not full or min(self._recent) < _NEAR_CHANCE * self._chance_loss:
            return None
        self._said = True
        return (
            f"the loss has stood at that of guessing, {self._named}, for {len(self._recent)} "
            "steps: the towers tell nothing apart. Usual cures: a lower learning_rate, a longer "
            "warmup_steps; and do the captions belong to their photos?"
        )
