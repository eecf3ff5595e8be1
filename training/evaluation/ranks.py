"""Where right answers stood, what that amounts to, and how sure one may be of it (pure).

A question is asked about a photo: find it by this caption, name its class. `Ranks` keeps the place
of the right answer to each; every metric of this package is a function of ranks alone. Intervals
come from the bootstrap over photos (Efron and Tibshirani, 1993, chapter 13, percentiles): photos
are drawn with replacement, each with all its questions, because two captions of one photo are not
two independent observations. What is searched stays whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
BOTH_WAYS = "both ways"
MEAN_RECALL = "mean recall"


class Metric(NamedTuple):
    """The share of questions whose right answer is among the first few, or the median rank."""

    name: str
    within: int | None  # None: the median rank

    @property
    def lower_is_better(self) -> bool:
        """Say so of the median rank."""
        return self.within is None


RETRIEVAL = (
    Metric("recall@1", 1),
    Metric("recall@5", 5),
    Metric("recall@10", 10),
    Metric("median rank", None),
)
CLASSIFICATION = (Metric("top-1", 1), Metric("top-5", 5))


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where the right answer to each question stood; 1 is first."""

    rank: NDArray[np.int64]  # (questions,)
    photo: NDArray[np.int64]  # (questions,): the row of the photo that each is about
    photos: int  # rows

    @classmethod
    def one_a_photo(cls, rank: NDArray[np.int64]) -> Ranks:
        """Return the ranks, int64 (photos,), of one question a photo, in the photos' order."""
        return cls(rank, np.arange(len(rank)), len(rank))

    def by_photo(self) -> list[list[int]]:
        """Return the ranks of each photo's questions."""
        rows: list[list[int]] = [[] for _ in range(self.photos)]
        for photo, rank in zip(self.photo.tolist(), self.rank.tolist(), strict=True):
            rows[photo].append(rank)
        return rows

    @classmethod
    def from_photos(cls, rows: Sequence[Sequence[int]]) -> Ranks:
        """Return what `by_photo` was made of, question by question in the photos' order."""
        photo = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        return cls(np.array([r for row in rows for r in row], np.int64), photo, len(rows))


class Figure(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


Name = tuple[str, str]  # which way, which metric
# Of how often each photo counts, int64 (photos,): the values, float64 (names,), as `names_of`.
Scores = Callable[[NDArray[np.int64]], NDArray[np.float64]]


def metrics_of(task: str) -> tuple[Metric, ...]:
    """Return the metrics of a task."""
    return RETRIEVAL if task == "retrieval" else CLASSIFICATION


def names_of(ways: Sequence[str], task: str) -> list[Name]:
    """Return the names of the values that `scores_of` gives, in its order."""
    names = [(way, metric.name) for way in ways for metric in metrics_of(task)]
    return [*names, (BOTH_WAYS, MEAN_RECALL)] if task == "retrieval" else names


def scores_of(ranks: Mapping[str, Ranks], task: str) -> Scores:
    """Return the function from how often each photo counts to the values of all metrics."""
    metrics = metrics_of(task)
    ways = [_WayScores(some, metrics) for some in ranks.values()]
    recalls = np.array([metric.within is not None for metric in metrics] * len(ways))

    def scores(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        values = np.concatenate([way(counts) for way in ways])
        return np.append(values, values[recalls].mean()) if task == "retrieval" else values

    return scores


class _WayScores:
    """The metrics of one way, quick for many weightings: the ranks are sorted once."""

    def __init__(self, ranks: Ranks, metrics: Sequence[Metric]) -> None:
        order = np.argsort(ranks.rank, kind="stable")
        self._rank, self._photo = ranks.rank[order], ranks.photo[order]
        # How many questions are within k; -1 stands for the median.
        self._ends = [
            -1 if m.within is None else int(np.searchsorted(self._rank, m.within, "right"))
            for m in metrics
        ]

    def __call__(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        reached = np.concatenate([[0], np.cumsum(counts[self._photo])])
        total = int(reached[-1])
        return np.array(
            [self._median(reached) if end < 0 else reached[end] / total for end in self._ends]
        )

    def _median(self, reached: NDArray[np.int64]) -> float:
        total = int(reached[-1])
        middle = np.searchsorted(reached[1:], [(total - 1) // 2, total // 2], "right")
        return float(self._rank[middle].mean())


def resamples(photos: int, number: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield how often each photo is drawn when so many are drawn with replacement.

    There are `number` of these arrays, int64 (photos,). They are the same for the same numbers, so
    what is measured on the same photos can be paired.
    """
    chance = np.random.default_rng(seed)
    for _ in range(number):
        yield np.bincount(chance.integers(photos, size=photos), minlength=photos)


def interval(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the 95 % interval of each column, float64 (values,) both.

    `values` is float64 (resamples, values).
    """
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail], axis=0)
    return low, high


def with_intervals(scores: Scores, photos: int, *, number: int, seed: int) -> list[Figure]:
    """Return each value of `scores` over all photos, with its interval."""
    values = scores(np.ones(photos, np.int64))
    drawn = np.array([scores(counts) for counts in resamples(photos, number, seed)])
    low, high = interval(drawn)
    return [Figure(*map(float, three)) for three in zip(values, low, high, strict=True)]


@dataclass(frozen=True)
class Difference:
    """One metric of A and B on the same photos."""

    a: float
    b: float
    change: Figure  # B less A, with the interval of the pairs
    lower_is_better: bool

    @property
    def better(self) -> str | None:
        """Return "A" or "B" where the interval of the change excludes 0, else None."""
        if self.change.low <= 0 <= self.change.high:
            return None
        return "B" if (self.change.low > 0) != self.lower_is_better else "A"


def differences(
    a: Mapping[str, Ranks], b: Mapping[str, Ranks], task: str, *, number: int, seed: int
) -> dict[Name, Difference]:
    """Compare the ranks of A and B, whose photos are the same, row by row, and the ways too.

    Each resample draws the same photos for both, so what makes a photo hard falls out.
    """
    of_a, of_b = scores_of(a, task), scores_of(b, task)
    photos = next(iter(a.values())).photos
    all_photos = np.ones(photos, np.int64)
    changes = with_intervals(lambda w: of_b(w) - of_a(w), photos, number=number, seed=seed)
    lower = {metric.name for metric in metrics_of(task) if metric.lower_is_better}
    names = names_of(list(a), task)
    values = zip(names, of_a(all_photos).tolist(), of_b(all_photos).tolist(), changes, strict=True)
    return {name: Difference(x, y, change, name[1] in lower) for name, x, y, change in values}
