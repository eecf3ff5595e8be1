"""A linear classifier on frozen features (Radford et al. 2021, 3.2 and appendix A.3).

Logistic regression by L-BFGS on the photos' unit vectors, as the search has them (the paper takes
the layer below). How strongly the weights are held small is swept as there: 97 strengths, eight a
decade from 1e-6 to 1e6, by a search that measures every sixteenth on held-out photos and halves its
step around the best.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import InvalidInput
from clipsearch.training.evaluation.classes import Classes
from clipsearch.training.evaluation.embedding import (
    PLAIN,
    EmbeddedPhotos,
    Report,
    embed_photos,
    open_encoder,
)
from clipsearch.training.evaluation.labelled import LabelledData, split, with_labels
from clipsearch.training.evaluation.ranks import Ranks
from clipsearch.training.evaluation.results import (
    USUAL,
    Evaluation,
    EvaluationSettings,
    measured_on,
)
from clipsearch.training.evaluation.zero_shot import class_ranks, per_class, to_classes

if TYPE_CHECKING:
    from clipsearch.models.encoder import Encoder

STRENGTHS: NDArray[np.float64] = np.logspace(-6, 6, 97)  # scikit-learn's C: small holds strongly
MOST_STEPS = 1000  # of L-BFGS, as in the paper
PROBE = "linear probe"
_FIRST_STEP = 16  # two decades

Features = NDArray[np.float32]  # (photos, width)
Numbers = NDArray[np.int64]  # (photos,): classes


@dataclass(frozen=True, eq=False)
class LabelledFeatures:
    """Photos to learn from and to be measured on, as vectors and numbers of classes."""

    encoder: Encoder
    classes: Classes
    train: Features
    train_numbers: Numbers
    train_keys: list[str]
    test: EmbeddedPhotos
    test_numbers: Numbers
    train_rows: NDArray[np.int64]  # (photos,): the numbers in the source of those to learn from


def labelled_features(
    model: str | Encoder,
    data: LabelledData,
    *,
    classes: str | Classes | None = None,
    skip_unknown: bool = False,
    report: Report | None = None,
) -> LabelledFeatures:
    """Encode the photos to learn from and to be measured on; without the former, split the latter.

    Raises InvalidInput as `evaluate_zero_shot`, and where a part has fewer than two classes or a
    photo to be measured has a class that there is nothing to learn of.
    """
    check_sklearn()
    encoder = open_encoder(model)
    test = with_labels(embed_photos(encoder, data.test, report=report))
    if data.train is None:
        named, test, numbers = to_classes(test, classes, skip_unknown=skip_unknown)
        rows, held = split([facts.key for facts in test.facts], numbers)
        train, train_numbers = test.only(rows), numbers[rows]
        test, test_numbers = test.only(held), numbers[held]
    else:
        train = with_labels(embed_photos(encoder, data.train, report=report))
        named, train, train_numbers = to_classes(train, classes, skip_unknown=skip_unknown)
        named, test, test_numbers = to_classes(test, named, skip_unknown=skip_unknown)
    if len(np.unique(train_numbers)) < 2:
        raise InvalidInput("the photos to learn from are all of one class: two or more are needed")
    keys = [facts.key for facts in train.facts]
    if not len(split(keys, train_numbers)[1]):
        raise InvalidInput("no class has two photos to learn from: a second chooses the strength")
    if not len(test):
        raise InvalidInput("no class has two photos, one to learn from and one to be measured on")
    return LabelledFeatures(
        encoder,
        named,
        train.vectors[PLAIN],
        train_numbers,
        keys,
        test,
        test_numbers,
        np.array([facts.number for facts in train.facts], np.int64),
    )


def evaluate_linear_probe(
    features: LabelledFeatures,
    *,
    settings: EvaluationSettings = USUAL,
    report: Report | None = None,
) -> Evaluation:
    """Learn from all photos with the strength that a fifth of them prefer; measure on the others.

    `features` are those of `labelled_features`. The chosen C and the accuracies of the sweep stand
    in the details.
    """
    rows, held = split(features.train_keys, features.train_numbers)
    x, y = features.train, features.train_numbers
    sweep = sweep_strength(x[rows], y[rows], x[held], y[held], report)
    network = Logistic.fit(x, y, sweep.best)
    ranks = {PROBE: network.ranks(features.test.vectors[PLAIN], features.test_numbers)}
    return Evaluation(
        "linear-probe",
        measured_on(
            features.encoder,
            features.test,
            settings,
            classes=len(features.classes.names),
            learned_from=len(x),
            most_steps=MOST_STEPS,
        ),
        ranks,
        details={
            "chosen_c": sweep.best,
            "sweep": [{"c": c, "held_out_top1": top1} for c, top1 in sorted(sweep.tried.items())],
            "converged": network.converged,
            "per_class": per_class(features.classes.names, features.test_numbers, ranks),
        },
    )


@dataclass(frozen=True)
class Sweep:
    """The strengths that were tried, and the best."""

    best: float
    tried: dict[float, float]  # C: top-1 accuracy on held-out photos


def sweep_strength(
    x: Features, y: Numbers, held_x: Features, held_y: Numbers, report: Report | None = None
) -> Sweep:
    """Find the C that classifies held-out photos best; of equals, the one that holds strongest."""

    def top1(number: int) -> float:
        return Logistic.fit(x, y, float(STRENGTHS[number])).top1(held_x, held_y)

    found = search_peak(top1, len(STRENGTHS), _FIRST_STEP, report)
    best = max(found, key=lambda number: (found[number], -number))
    tried = {float(STRENGTHS[number]): value for number, value in found.items()}
    return Sweep(float(STRENGTHS[best]), tried)


def search_peak(
    value: Callable[[int], float], length: int, step: int, report: Report | None = None
) -> dict[int, float]:
    """Return the values measured while looking for the greatest of `value(0..length - 1)`.

    Every `step`-th first; then both sides of the best so far, at half the distance each time.
    """
    found: dict[int, float] = {}
    numbers: Sequence[int] = range(0, length, step)
    expected = len(numbers) + 2 * (step.bit_length() - 1)
    while step:
        for number in numbers:
            if 0 <= number < length and number not in found:
                found[number] = value(number)
                if report is not None:
                    report("fits", len(found), expected)
        best = max(found, key=lambda number: (found[number], -number))
        step //= 2
        numbers = (best - step, best + step)
    return found


@dataclass(frozen=True, eq=False)
class Logistic:
    """A fitted classifier."""

    estimator: Any
    converged: bool

    @classmethod
    def fit(cls, x: Features, y: Numbers, strength: float) -> Logistic:
        """Fit to features and classes, deterministically; `strength` is scikit-learn's C."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        estimator = LogisticRegression(C=strength, max_iter=MOST_STEPS)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            estimator.fit(x.astype(np.float64), y)
        slow = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        return cls(estimator, not slow)

    def top1(self, x: Features, y: Numbers) -> float:
        """Return the share of photos that are classified rightly."""
        return float((self.estimator.predict(x) == y).mean())

    def ranks(self, x: Features, y: Numbers) -> Ranks:
        """Return where the right class of each photo stands; last, if it was never seen."""
        scores = self.estimator.decision_function(x.astype(np.float64))
        if scores.ndim == 1:  # two classes
            scores = np.stack([-scores, scores], axis=1)
        known = self.estimator.classes_
        columns = np.searchsorted(known, y).clip(max=len(known) - 1)
        ranks = class_ranks(scores, columns)
        ranks[known[columns] != y] = len(known) + 1
        return Ranks.one_a_photo(ranks)


def check_sklearn() -> None:
    """Raise InvalidInput where scikit-learn is missing."""
    try:
        import sklearn.linear_model  # noqa: F401
    except ImportError as error:
        raise InvalidInput("probes need scikit-learn: pip install 'clipsearch[train]'") from error
