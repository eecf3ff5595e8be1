"""Which of some labels a picture shows, as the model itself weighs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import shown
from clipsearch.errors import InvalidInput, ModelError
from clipsearch.models.prompts import EncodesTexts, ensemble_vectors, single_vectors
from clipsearch.tagging.deciding import shares

MOST_LABELS = 2000
_AT_ONCE = 32  # pictures that are encoded together


@dataclass(frozen=True)
class Classified:
    """How probable each label is for a picture, if it shows one of them."""

    picture: str  # as it was given
    labels: tuple[str, ...]  # the most probable first
    probabilities: tuple[float, ...]  # of these, their sum is 1; none if there is an error
    error: str | None = None  # why the picture can't be read


def labels_given(labels: Sequence[str]) -> list[str]:
    """Return labels, trimmed, each once; InvalidInput unless there are two at least."""
    for label in labels:
        if not isinstance(label, str):
            raise InvalidInput(f"a label is a str, not {shown(label)}")
    found = list(dict.fromkeys(filter(None, (" ".join(label.split()) for label in labels))))
    if len(found) < 2:
        raise InvalidInput("name two labels at least: their probabilities are shares of 1")
    if len(found) > MOST_LABELS:
        raise InvalidInput(f"{len(found):,} labels are more than {MOST_LABELS:,}")
    return found


def label_vectors(encoder: EncodesTexts, labels: Sequence[str]) -> NDArray[np.float32]:
    """Return the unit vectors of labels (n, width), of CLIP's 80 templates.

    Of the single prompt where open_clip, which has them, is not installed.
    """
    try:
        return ensemble_vectors(encoder, labels)
    except ModelError as error:
        if "open_clip" not in str(error):
            raise
        return single_vectors(encoder, labels)


def classify(
    pictures: Sequence[tuple[str, object]],
    labels: Sequence[str],
    *,
    texts: NDArray[np.float32],
    scale: float,
    encode: Callable[[Sequence[object]], NDArray[np.float32]],
) -> list[Classified]:
    """Return what each picture shows; one that can't be read doesn't stop the others.

    Args:
        pictures: each with what it is called.
        labels: what they may show.
        texts: the unit vectors of the labels (n, width).
        scale: what the model multiplies cosines by.
        encode: makes unit vectors of pictures; raises InvalidInput for one that can't be read.
    """
    found = []
    for start in range(0, len(pictures), _AT_ONCE):
        some = pictures[start : start + _AT_ONCE]
        for (name, _), vector in zip(some, _encoded([one for _, one in some], encode), strict=True):
            if isinstance(vector, str):
                found.append(Classified(name, (), (), vector))
                continue
            weights = shares(vector[np.newaxis], texts, scale)[0]
            order = np.argsort(-weights, kind="stable").tolist()
            probable = tuple(float(weights[one]) for one in order)
            found.append(Classified(name, tuple(labels[one] for one in order), probable))
    return found


def _encoded(
    pictures: Sequence[object], encode: Callable[[Sequence[object]], NDArray[np.float32]]
) -> list[NDArray[np.float32] | str]:
    """Return the vector of each picture, or why it has none."""
    try:
        return list(encode(pictures))
    except InvalidInput as error:
        if len(pictures) == 1:
            return [str(error)]
    return [one for picture in pictures for one in _encoded([picture], encode)]
