"""Is B better than A? Two evaluations of the same photos, in pairs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from clipsearch import __version__
from clipsearch.errors import InvalidInput
from clipsearch.training.evaluation.ranks import (
    BOTH_WAYS,
    CONFIDENCE,
    MEAN_RECALL,
    Difference,
    Name,
    Ranks,
    differences,
)
from clipsearch.training.evaluation.results import Evaluation, nested

_SAME_QUESTION = ("equal_captions", "classes")  # choices that must be the same


@dataclass(frozen=True, eq=False)
class Comparison:
    """Every metric of A and B, and what follows."""

    a: Evaluation
    b: Evaluation  # with its photos in A's order
    resamples: int
    seed: int

    @cached_property
    def differences(self) -> dict[Name, Difference]:
        """Return the difference in each metric by way and name."""
        return differences(
            self.a.ranks, self.b.ranks, self.a.task, number=self.resamples, seed=self.seed
        )

    @property
    def decisive(self) -> Name:
        """Return the one metric that the verdict stands on, so that none is picked by luck."""
        if self.a.task == "retrieval":
            return BOTH_WAYS, MEAN_RECALL
        return list(self.a.ranks)[-1], "top-1"

    @property
    def better(self) -> str | None:
        """Return "A", "B", or None where the interval of the decisive metric holds 0."""
        return self.differences[self.decisive].better

    @property
    def verdict(self) -> str:
        """Return the verdict in a sentence, in percentage points."""
        found = self.differences[self.decisive]
        change, low, high = (100 * value for value in found.change)
        words = {"A": "A is better", "B": "B is better", None: "No clear difference"}
        return (
            f"{words[found.better]}: {self.decisive[1]} of B is {change:+.2f} points from A's "
            f"({100 * CONFIDENCE:g} % interval {low:+.2f} to {high:+.2f})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything but the ranks."""
        return {
            "task": "compare",
            "clipsearch": __version__,
            "of": self.a.task,
            "a": _who(self.a),
            "b": _who(self.b),
            "data": {"named": list(self.b.measured.settings.data), "photos": self.a.photos},
            "settings": {
                "resamples": self.resamples,
                "seed": self.seed,
                "confidence": CONFIDENCE,
            },
            "metrics": nested({name: _in_json(d) for name, d in self.differences.items()}),
            "decisive": list(self.decisive),
            "better": self.better,
            "verdict": self.verdict,
        }


def compare(a: Evaluation, b: Evaluation, *, resamples: int = 1000, seed: int = 0) -> Comparison:
    """Compare two evaluations of the same task on the same photos, whatever their order.

    Raises InvalidInput where they are not of the same.
    """
    if a.task != b.task:
        raise InvalidInput(f"A is a result of {a.task} and B of {b.task}: measure both alike")
    if list(a.ranks) != list(b.ranks):
        raise InvalidInput(f"A was asked {', '.join(a.ranks)}; B {', '.join(b.ranks)}")
    for choice in _SAME_QUESTION:
        of_a, of_b = (one.measured.choices.get(choice) for one in (a, b))
        if of_a != of_b:
            raise InvalidInput(f"A was measured with {choice} {of_a} and B with {of_b}")
    return Comparison(a, _in_order_of(a, b), resamples, seed)


def _in_order_of(a: Evaluation, b: Evaluation) -> Evaluation:
    """Return B with its photos in A's order; raises InvalidInput if they are others."""
    of_a, of_b = np.array(a.measured.digests), np.array(b.measured.digests)
    if np.array_equal(of_a, of_b):
        return b
    shared = np.intersect1d(of_a, of_b)
    orders = [np.argsort(some, kind="stable") for some in (of_a, of_b)]
    if len(of_a) != len(of_b) or not np.array_equal(of_a[orders[0]], of_b[orders[1]]):
        raise InvalidInput(
            f"A and B were measured on other photos: A on {len(of_a):,}, B on {len(of_b):,}, "
            f"{len(shared):,} of them the same with the same captions and label"
        )
    rows = np.empty(len(of_a), np.int64)
    rows[orders[0]] = orders[1]
    ranks = {}
    for way, some in b.ranks.items():
        by_photo = some.by_photo()
        ranks[way] = Ranks.from_photos([by_photo[row] for row in rows])
    return Evaluation(b.task, b.measured, ranks)


def _who(one: Evaluation) -> dict[str, str]:
    return {"name": one.measured.model, "fingerprint": one.measured.fingerprint}


def _in_json(found: Difference) -> dict[str, Any]:
    change, low, high = found.change
    return {
        "a": found.a,
        "b": found.b,
        "difference": change,
        "low": low,
        "high": high,
        "better": found.better,
    }
