"""Photos classified by the names of the classes alone (Radford et al. 2021, 3.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import InvalidInput
from clipsearch.models.prompts import PROMPT, ensemble_vectors, single_vectors
from clipsearch.training.evaluation.classes import (
    IMAGENET,
    Classes,
    by_wordnet_folders,
    check_known,
    classes_of,
    open_classes,
)
from clipsearch.training.evaluation.embedding import (
    PLAIN,
    EmbeddedPhotos,
    Photos,
    Report,
    embed_photos,
    open_encoder,
)
from clipsearch.training.evaluation.labelled import labels_of, with_labels
from clipsearch.training.evaluation.ranks import Ranks
from clipsearch.training.evaluation.results import (
    USUAL,
    Evaluation,
    EvaluationSettings,
    measured_on,
)

if TYPE_CHECKING:
    from clipsearch.models.encoder import Encoder

SINGLE, ENSEMBLE = "single prompt", "80 templates"
_MOST_CONFUSIONS = 10


class ZeroShotResult(Evaluation):
    """The ranks of the right class, by the single prompt and by the templates."""

    @property
    def mean_per_class(self) -> dict[str, float]:
        """Return the mean over the classes of each class's top-1 accuracy, by prompt."""
        rows = self.details["per_class"]
        return {way: float(np.mean([row[way] for row in rows])) for way in self.ranks}


def evaluate_zero_shot(
    model: str | Encoder,
    photos: Photos,
    *,
    classes: str | Classes | None = None,
    skip_unknown: bool = False,
    ensemble: bool = True,
    settings: EvaluationSettings = USUAL,
    shifts: str | Iterable[str] = (),
    report: Report | None = None,
) -> ZeroShotResult:
    """Measure top-1 and top-5 accuracy by class names, with one prompt and with CLIP's 80.

    The 80 take 80 times as long as the one; `ensemble` says if they are wanted. `classes` is what
    `open_classes` takes; None takes the photos' own labels. Classes that score the same as the
    right one count as ranked before it. Raises InvalidInput where no photo has a label, all have
    the same, or (without `skip_unknown`) one has a label that is not on the list.
    """
    encoder = open_encoder(model)
    embedded = with_labels(embed_photos(encoder, photos, shifts=shifts, report=report))
    named, embedded, numbers = to_classes(embedded, classes, skip_unknown=skip_unknown)
    vectors = {SINGLE: single_vectors(encoder, named.names)}
    if ensemble:
        vectors[ENSEMBLE] = ensemble_vectors(encoder, named.names, report)
    ranks = {
        name: {way: _ranks(images, texts, numbers) for way, texts in vectors.items()}
        for name, images in embedded.vectors.items()
    }
    plain = ranks.pop(PLAIN)
    best = embedded.vectors[PLAIN] @ list(vectors.values())[-1].T
    return ZeroShotResult(
        "zeroshot",
        measured_on(
            encoder,
            embedded,
            settings,
            classes=len(named.names),
            prompt=PROMPT,
            templates="the 80 of CLIP's authors for ImageNet",
        ),
        plain,
        ranks,
        {
            "per_class": per_class(named.names, numbers, plain),
            "confusions": confusions(named.names, numbers, best.argmax(axis=1)),
        },
    )


def to_classes(
    embedded: EmbeddedPhotos, classes: str | Classes | None, *, skip_unknown: bool = False
) -> tuple[Classes, EmbeddedPhotos, NDArray[np.int64]]:
    """Return the classes, the photos that belong to one, and each photo's class, int64 (photos,).

    Raises InvalidInput as `evaluate_zero_shot`.
    """
    labels = labels_of(embedded)
    if classes is None:
        named = classes_of(labels)
    else:
        named = open_classes(classes) if isinstance(classes, str) else classes
        if classes == IMAGENET:
            named = by_wordnet_folders(named, labels)
    numbers = named.numbers(labels)
    if not skip_unknown:
        check_known(labels, numbers)
    rows = np.flatnonzero(numbers >= 0)
    if not len(rows):
        raise InvalidInput(f"no photo has a label on the list of {len(named.names)} classes")
    if len(rows) < len(numbers):
        unknown = [embedded.facts[row] for row in np.flatnonzero(numbers < 0)]
        embedded = embedded.only(rows)
        embedded.skipped.extend(f"{f.key}: {f.label} is not on the list" for f in unknown)
    return named, embedded, numbers[rows]


def _ranks(
    images: NDArray[np.float32], texts: NDArray[np.float32], numbers: NDArray[np.int64]
) -> Ranks:
    return Ranks.one_a_photo(class_ranks(images @ texts.T, numbers))


def class_ranks(scores: NDArray[np.floating], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where the right class stands for each photo, int64 (photos,); ties come before it.

    `scores` is float (photos, classes), `numbers`, int64 (photos,), the right class of each photo.
    """
    right = scores[np.arange(len(numbers)), numbers][:, None]
    ranks: NDArray[np.int64] = (~(scores < right)).sum(axis=1, dtype=np.int64)
    return ranks


def per_class(
    names: Sequence[str], numbers: NDArray[np.int64], ranks: dict[str, Ranks]
) -> list[dict[str, Any]]:
    """Return for each class that has photos their number and their top-1 accuracy by way.

    `numbers`, int64 (photos,), is the right class of each photo.
    """
    return [
        {
            "class": names[number],
            "photos": int((numbers == number).sum()),
            **{way: float((r.rank[numbers == number] == 1).mean()) for way, r in ranks.items()},
        }
        for number in np.unique(numbers).tolist()
    ]


def confusions(
    names: Sequence[str], numbers: NDArray[np.int64], taken_for: NDArray[np.integer]
) -> list[dict[str, Any]]:
    """Return the pairs of classes that are most often confused, the most photos first.

    `numbers` are the right classes, `taken_for` those that scored best, both integers (photos,).
    """
    counts = Counter(zip(numbers.tolist(), taken_for.tolist(), strict=True))
    pairs = [(count, pair) for pair, count in counts.items() if pair[0] != pair[1]]
    pairs.sort(key=lambda item: (-item[0], item[1]))
    return [
        {
            "class": names[right],
            "taken_for": names[wrong],
            "photos": count,
            "of": int((numbers == right).sum()),
        }
        for count, (right, wrong) in pairs[:_MOST_CONFUSIONS]
    ]
