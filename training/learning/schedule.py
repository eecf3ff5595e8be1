"""The learning rate at each step: a pure function."""

import math


def warmup_cosine(step: int, *, steps: int, warmup: int) -> float:
    """Return the share of the full learning rate at `step`, counted from 0.

    It rises in a straight line to 1 over `warmup` steps, then falls along half a cosine
    towards 0, which it would reach at step `steps`.

    >>> [warmup_cosine(step, steps=6, warmup=2) for step in (0, 1, 2, 4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return (1 + math.cos(math.pi * min(1.0, progress))) / 2
