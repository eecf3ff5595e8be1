"""The whole image tower, taught classes for a short while, beside what is there without.

A linear head stands on the photos' unit vectors and starts as the class names' vectors, so that
before the first step the network is the zero-shot classifier (as in Wortsman et al. 2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from clipsearch.errors import ModelError
from clipsearch.models.loading import load_model
from clipsearch.models.names import resolve_model
from clipsearch.models.prompts import ensemble_vectors
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.training.data.samples import Sample
from clipsearch.training.evaluation.embedding import (
    BATCH,
    PLAIN,
    Photos,
    ReadPhoto,
    Report,
    batches,
    read_photos,
)
from clipsearch.training.evaluation.labelled import LabelledData
from clipsearch.training.evaluation.probe import PROBE, LabelledFeatures, evaluate_linear_probe
from clipsearch.training.evaluation.ranks import Ranks
from clipsearch.training.evaluation.results import (
    USUAL,
    Evaluation,
    EvaluationSettings,
    measured_on,
)
from clipsearch.training.evaluation.zero_shot import ENSEMBLE, class_ranks, per_class
from clipsearch.training.learning.schedule import warmup_cosine

FINE_TUNED = "fine-tuned"
_SMALLEST_CROP = 0.8  # of a side
_WARMUP_SHARE = 0.1


@dataclass(frozen=True)
class FineTuning:
    """How the tower is taught."""

    epochs: int = 5
    learning_rate: float = 3e-5  # of the tower, at its highest
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.1


def evaluate_fine_tune(
    model: str,
    data: LabelledData,
    features: LabelledFeatures,
    *,
    tuning: FineTuning = FineTuning(),
    settings: EvaluationSettings = USUAL,
    report: Report | None = None,
) -> Evaluation:
    """Measure the tuned tower beside the linear probe and the zero-shot classifier.

    `features` are those that `labelled_features` gave for the model and the data. The model itself
    stays as it is. Raises ModelError if the loss stops being a number.
    """
    names = features.classes.names
    texts = ensemble_vectors(features.encoder, names)
    numbers = features.test_numbers
    scores = features.test.vectors[PLAIN] @ texts.T
    probe = evaluate_linear_probe(features, settings=settings, report=report)
    network = _Classifier(model, features.encoder.device, texts)
    learned_from = data.test if data.train is None else data.train
    train = _Picked(learned_from, features.train_rows)
    losses = _teach(network, train, features.train_numbers, tuning, settings.seed, report)
    test = _Picked(data.test, np.array([facts.number for facts in features.test.facts]))
    ranks = {
        f"zero-shot, {ENSEMBLE}": Ranks.one_a_photo(class_ranks(scores, numbers)),
        PROBE: probe.ranks[PROBE],
        FINE_TUNED: Ranks.one_a_photo(class_ranks(network.scores(test), numbers)),
    }
    return Evaluation(
        "fine-tune",
        measured_on(
            features.encoder,
            features.test,
            settings,
            classes=len(names),
            learned_from=len(train),
            **vars(tuning),
        ),
        ranks,
        details={
            "losses": losses,
            "chosen_c": probe.details["chosen_c"],
            "per_class": per_class(names, numbers, ranks),
        },
    )


class _Picked:
    """Some photos of a source, in this order."""

    def __init__(self, photos: Photos, numbers: Sequence[int] | NDArray[np.integer]) -> None:
        self._photos, self._numbers = photos, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> Sample:
        return self._photos[int(self._numbers[number])]


class _Classifier:
    """An image tower with a linear head."""

    def __init__(self, model: str, device: torch.device, texts: NDArray[np.float32]) -> None:
        """Load the tower; the head starts as the class names' vectors, at the model's scale."""
        loaded = load_model(resolve_model(model))
        self.preprocessing = Preprocessing.from_json(loaded.identity.preprocessing)
        self.device = device
        self.network: Any = loaded.network.to(device)
        scale = float(self.network.state_dict()["logit_scale"].exp())
        self.head = nn.Linear(texts.shape[1], len(texts)).to(device)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(texts * scale))
            self.head.bias.zero_()
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(self.preprocessing.mean).reshape(shape).to(device)
        self._std = torch.tensor(self.preprocessing.std).reshape(shape).to(device)

    def pictures(self, batch: Sequence[ReadPhoto]) -> Tensor:
        """Return normalised pixels, (photos, 3, height, width)."""
        pixels = torch.from_numpy(np.stack([photo.pixels for photo in batch])).to(self.device)
        return (pixels.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std

    def __call__(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.head(self.network.encode_image(pictures, normalize=True))
        return scores

    @torch.inference_mode()
    def scores(self, photos: Photos) -> NDArray[np.float32]:
        """Return the scores of the classes, (photos, classes); the least for an unreadable one."""
        found = np.full((len(photos), self.head.out_features), -np.inf, np.float32)
        for batch in batches(read_photos(self.preprocessing, photos, []), BATCH):
            rows = [photo.facts.number for photo in batch]
            found[rows] = self(self.pictures(batch)).float().cpu().numpy()
        return found


def _teach(
    classifier: _Classifier,
    photos: _Picked,
    numbers: NDArray[np.int64],
    tuning: FineTuning,
    seed: int,
    report: Report | None,
) -> list[float]:
    """Teach tower and head; return the mean loss of each epoch."""
    tower = classifier.network.visual
    # The statistics of batch norms stay: small batches would spoil them.
    tower.eval().requires_grad_(True)
    rates = tuning.learning_rate, tuning.head_learning_rate
    optimizer = torch.optim.AdamW(
        [
            {"params": part.parameters(), "lr": rate}
            for part, rate in zip((tower, classifier.head), rates, strict=True)
        ],
        weight_decay=tuning.weight_decay,
    )
    steps = tuning.epochs * -(-len(photos) // BATCH)
    chance = torch.Generator().manual_seed(seed)
    losses, step = [], 0
    for _ in range(tuning.epochs):
        total = 0.0
        for batch, right in _shuffled(classifier, photos, numbers, chance):
            share = warmup_cosine(step, steps=steps, warmup=round(_WARMUP_SHARE * steps))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * share
            pictures = _changed(classifier.pictures(batch), chance)
            loss = functional.cross_entropy(classifier(pictures), right.to(classifier.device))
            if not torch.isfinite(loss):
                raise ModelError("fine-tuning diverged: try a smaller --learning-rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(loss.detach()) * len(batch)
            step += 1
            if report is not None:
                report("steps", min(step, steps), steps)
        losses.append(total / len(photos))
    return losses


def _shuffled(
    classifier: _Classifier, photos: _Picked, numbers: NDArray[np.int64], chance: torch.Generator
) -> Iterator[tuple[list[ReadPhoto], Tensor]]:
    """Yield one epoch's batches with the class of each photo."""
    order = torch.randperm(len(photos), generator=chance).numpy()
    shuffled = _Picked(photos, order)
    for batch in batches(read_photos(classifier.preprocessing, shuffled, []), BATCH):
        rows = order[[photo.facts.number for photo in batch]]
        yield batch, torch.from_numpy(numbers[rows])


def _changed(pictures: Tensor, chance: torch.Generator) -> Tensor:
    """Return each picture cropped a little and mirrored half the time."""
    count = len(pictures)
    size = _SMALLEST_CROP + (1 - _SMALLEST_CROP) * torch.rand(count, generator=chance)
    room = 1 - size  # of the crop's centre, either way
    centre = room[:, None] * (2 * torch.rand(count, 2, generator=chance) - 1)
    mirror = 1 - 2 * torch.randint(2, (count,), generator=chance)
    nought = torch.zeros(count)
    rows = [
        torch.stack([size * mirror, nought, centre[:, 0]], dim=1),
        torch.stack([nought, size, centre[:, 1]], dim=1),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(pictures.shape), False)
    return functional.grid_sample(pictures, grid.to(pictures.device), align_corners=False)
