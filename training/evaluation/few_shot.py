"""How many labelled photos of each class a linear probe needs to beat the class names alone.

As figure 6 of Radford et al. (2021): probes learned from 1, 2, 4, 8 and 16 photos a class, beside
the line of zero-shot classification, which learns from none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.models.prompts import ensemble_vectors
from clipsearch.training.evaluation.embedding import PLAIN, Report
from clipsearch.training.evaluation.labelled import split
from clipsearch.training.evaluation.probe import LabelledFeatures, Logistic, sweep_strength
from clipsearch.training.evaluation.ranks import Ranks
from clipsearch.training.evaluation.results import (
    USUAL,
    Evaluation,
    EvaluationSettings,
    measured_on,
)
from clipsearch.training.evaluation.zero_shot import ENSEMBLE, class_ranks

SHOTS = (1, 2, 4, 8, 16)
DRAWS = 3  # of the photos to learn from, for each number
_HELD_OUT_SHOTS = 4  # at most so many photos of a class choose C, or as many as the shots


def evaluate_few_shot(
    features: LabelledFeatures,
    *,
    shots: Sequence[int] = SHOTS,
    settings: EvaluationSettings = USUAL,
    report: Report | None = None,
) -> Evaluation:
    """Measure probes of k photos a class, three draws each, and the class names alone.

    A class with fewer photos than k gives all it has. C is chosen for each k, on the first draw,
    by other photos to learn from: as many a class as the shots, at most four. The ranks of a
    number of shots are those of the first draw; the details have each draw's accuracy.
    """
    texts = ensemble_vectors(features.encoder, features.classes.names, report)
    numbers = features.test_numbers
    scores = features.test.vectors[PLAIN] @ texts.T
    ranks = {f"zero-shot, {ENSEMBLE}": Ranks.one_a_photo(class_ranks(scores, numbers))}
    curve: list[dict[str, Any]] = []
    for done, k in enumerate(shots):
        found, learned_from = _draws(features, k, settings.seed)
        ranks[_way(k)] = found[0]
        accuracies = [float((draw.rank == 1).mean()) for draw in found]
        top1 = float(np.mean(accuracies))
        point = {"shots": k, "learned_from": learned_from, "top1": top1, "draws": accuracies}
        curve.append(point)
        if report is not None:
            report("numbers of shots", done + 1, len(shots))
    zero_shot = float((next(iter(ranks.values())).rank == 1).mean())
    return Evaluation(
        "few-shot",
        measured_on(
            features.encoder,
            features.test,
            settings,
            classes=len(features.classes.names),
            draws=DRAWS,
        ),
        ranks,
        details={
            "zero_shot_top1": zero_shot,
            "curve": curve,
            "shots_to_beat_zero_shot": next(
                (point["shots"] for point in curve if point["top1"] > zero_shot), None
            ),
        },
    )


def _way(k: int) -> str:
    return f"{k} shot" if k == 1 else f"{k} shots"


def _draws(features: LabelledFeatures, k: int, seed: int) -> tuple[list[Ranks], int]:
    """Return the ranks of each draw, and how many photos it was learned from."""
    x, y = features.train, features.train_numbers
    pool, held = split(features.train_keys, y)
    chance = np.random.default_rng([seed, k])
    chosen = _some_a_class(held, y, min(k, _HELD_OUT_SHOTS), chance)
    found, strength = [], None
    for _ in range(DRAWS):
        rows = _some_a_class(pool, y, k, chance)
        if strength is None:
            strength = sweep_strength(x[rows], y[rows], x[chosen], y[chosen]).best
        probe = Logistic.fit(x[rows], y[rows], strength)
        found.append(probe.ranks(features.test.vectors[PLAIN], features.test_numbers))
    return found, len(rows)


def _some_a_class(
    rows: NDArray[np.int64], y: NDArray[np.int64], k: int, chance: np.random.Generator
) -> NDArray[np.int64]:
    """Return up to k of these rows for each class, drawn by chance."""
    shuffled = chance.permutation(rows)
    parts = [shuffled[y[shuffled] == number][:k] for number in np.unique(y[rows])]
    return np.concatenate(parts)
