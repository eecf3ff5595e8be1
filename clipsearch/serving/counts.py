"""What a warm searcher has done so far, counted; and a line in the log for each request."""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

LOG = logging.getLogger("clipsearch.serving")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32)


@dataclass
class Histogram:
    """Values counted by bounds: how many are at most so large, and no smaller bound holds them."""

    bounds: tuple[float, ...]
    within: list[int] = field(init=False)  # by bound; the last of what is above all
    total: float = 0.0

    def __post_init__(self) -> None:
        self.within = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self.within[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self.within)


@dataclass(frozen=True)
class Done:
    """A request that was answered; nothing in it says what was asked."""

    door: str
    command: str
    kinds: str  # of what the question is made: "text", "picture", or both; "" for none
    k: int | None
    waited: float  # seconds until it was its turn
    answered: float  # seconds from then on
    batch: int = 1  # how many were answered together
    found: int | None = None  # hits
    error: Exception | None = None


class Counts:
    """Counts requests; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: Counter[tuple[str, str]] = Counter()  # by door and command
        self.errors: Counter[str] = Counter()  # by their kinds
        self.batches = Histogram(BATCH_SIZES)  # questions answered together
        self.seconds = Histogram(SECONDS)  # from a question to its answer

    def add(self, done: Done) -> None:
        """Count a request that was answered, or failed, and log it."""
        with self._lock:
            self.requests[done.door, done.command] += 1
            self.seconds.add(done.waited + done.answered)
            if done.error is not None:
                self.errors[type(done.error).__name__] += 1
        _log(done)

    def add_batch(self, size: int) -> None:
        """Count questions that were answered together."""
        with self._lock:
            self.batches.add(size)


def _log(done: Done) -> None:
    if not LOG.isEnabledFor(logging.INFO):
        return
    said: dict[str, object] = {"door": done.door, "command": done.command}
    said |= {"kinds": done.kinds, "k": done.k} if done.kinds else {}
    said |= {} if done.found is None else {"found": done.found}
    said |= {} if done.error is None else {"error": type(done.error).__name__}
    said["waited_ms"] = f"{1000 * done.waited:.1f}"
    said["answered_ms"] = f"{1000 * done.answered:.1f}"
    said["batch"] = done.batch
    LOG.info(" ".join(f"{name}={value}" for name, value in said.items()))
