"""Photos found by their captions, and captions by their photos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import InvalidInput
from clipsearch.training.evaluation.embedding import (
    PLAIN,
    EmbeddedPhotos,
    PhotoFacts,
    Photos,
    Report,
    embed_photos,
    open_encoder,
)
from clipsearch.training.evaluation.ranks import RETRIEVAL, Ranks
from clipsearch.training.evaluation.results import (
    USUAL,
    Evaluation,
    EvaluationSettings,
    measured_on,
)
from clipsearch.training.retrieval_metrics import RetrievalMetrics, image_ranks, text_ranks

if TYPE_CHECKING:
    from clipsearch.models.encoder import Encoder

TEXT_TO_IMAGE, IMAGE_TO_TEXT = "text to image", "image to text"
_NO_CAPTION = "no caption"
_AT_ONCE = 1024  # photos or texts whose scores are in memory at once


class RetrievalResult(Evaluation):
    """The ranks of both ways."""

    @property
    def captions(self) -> int:
        """Return how many captions were searched with."""
        return len(self.ranks[TEXT_TO_IMAGE].rank)

    @property
    def text_to_image(self) -> RetrievalMetrics:
        """Return the figures of the search for photos."""
        return _metrics(self.ranks[TEXT_TO_IMAGE])

    @property
    def image_to_text(self) -> RetrievalMetrics:
        """Return the figures of the search for captions."""
        return _metrics(self.ranks[IMAGE_TO_TEXT])


def _metrics(ranks: Ranks) -> RetrievalMetrics:
    recall = {m.within: float((ranks.rank <= m.within).mean()) for m in RETRIEVAL if m.within}
    return RetrievalMetrics(recall, float(np.median(ranks.rank)))


def evaluate_retrieval(
    model: str | Encoder,
    photos: Photos,
    *,
    settings: EvaluationSettings = USUAL,
    shifts: str | Iterable[str] = (),
    equal_captions: bool = False,
    report: Report | None = None,
) -> RetrievalResult:
    """Measure recall@1, 5, 10 and the median rank both ways, among all photos and captions.

    `model` is a name as `--model` takes it, or an encoder. With `equal_captions` a photo with the
    very same caption (case and outer space aside) is as right as the caption's own, as it should
    be where captions are made from class names; published figures are without. Photos without
    captions are left out. Raises InvalidInput where fewer than two photos are left, and ModelError
    and its kinds for a model that can't be used.
    """
    encoder = open_encoder(model)
    embedded = embed_photos(encoder, photos, shifts=shifts, report=report)
    embedded = _with_captions(embedded, len(photos))
    texts = [caption for facts in embedded.facts for caption in facts.captions]
    vectors = encoder.encode_text(texts)
    answers = _Answers(embedded.facts, equal_captions=equal_captions)
    ranks = {name: _ranks(images, vectors, answers) for name, images in embedded.vectors.items()}
    return RetrievalResult(
        "retrieval",
        measured_on(encoder, embedded, settings, equal_captions=equal_captions),
        ranks.pop(PLAIN),
        ranks,
    )


def report_lines(result: RetrievalResult) -> list[str]:
    """Return the figures as lines for people, recalls in percent."""
    lines = [f"{result.photos} photos, {result.captions} captions"]
    for way, metrics in (
        (TEXT_TO_IMAGE, result.text_to_image),
        (IMAGE_TO_TEXT, result.image_to_text),
    ):
        recalls = "  ".join(f"R@{k} {100 * r:5.1f}" for k, r in metrics.recall_at.items())
        lines.append(f"{way}:  {recalls}  median rank {metrics.median_rank:g}")
    return lines


def _with_captions(embedded: EmbeddedPhotos, all_photos: int) -> EmbeddedPhotos:
    """Leave out photos without captions; raise InvalidInput where none or one is left."""
    rows = [row for row, facts in enumerate(embedded.facts) if facts.captions]
    lacking = [f"{facts.key}: {_NO_CAPTION}" for facts in embedded.facts if not facts.captions]
    if not rows:
        raise InvalidInput(f"none of {all_photos} photos has a caption to search with")
    if len(rows) == 1:
        raise InvalidInput("only one photo can be read and has captions: nothing to search among")
    if lacking:
        embedded = embedded.only(rows)
        embedded.skipped.extend(lacking)
    return embedded


class _Answers:
    """Which text is right for which photo."""

    def __init__(self, photos: Sequence[PhotoFacts], *, equal_captions: bool) -> None:
        counts = [len(facts.captions) for facts in photos]
        self.photo_of_text = np.repeat(np.arange(len(photos)), counts)  # int64 (texts,)
        self._shared: NDArray[np.bool_] | None = None  # (photos, texts)
        if equal_captions:
            wording = [caption.strip().casefold() for f in photos for caption in f.captions]
            _, group = np.unique(wording, return_inverse=True)
            has = np.zeros((len(photos), group.max() + 1), np.bool_)
            has[self.photo_of_text, group] = True
            self._shared = has[:, group]

    def are_right(self, photos: slice, texts: slice) -> NDArray[np.bool_]:
        """Return which of these texts are right for which of these photos, (photos, texts)."""
        if self._shared is not None:
            return self._shared[photos, texts]
        rows = np.arange(photos.start, photos.stop)
        own: NDArray[np.bool_] = rows[:, None] == self.photo_of_text[None, texts]
        return own


def _ranks(
    images: NDArray[np.float32], texts: NDArray[np.float32], answers: _Answers
) -> dict[str, Ranks]:
    """Return the ranks of both ways, some texts or photos at a time."""
    every_photo, every_text = slice(0, len(images)), slice(0, len(texts))
    of_texts = [
        text_ranks(images @ texts[part].T, answers.are_right(every_photo, part))
        for part in _parts(len(texts))
    ]
    of_images = [
        image_ranks(images[part] @ texts.T, answers.are_right(part, every_text))
        for part in _parts(len(images))
    ]
    return {
        TEXT_TO_IMAGE: Ranks(np.concatenate(of_texts), answers.photo_of_text, len(images)),
        IMAGE_TO_TEXT: Ranks.one_a_photo(np.concatenate(of_images)),
    }


def _parts(length: int) -> list[slice]:
    starts = range(0, length, _AT_ONCE)
    return [slice(start, min(start + _AT_ONCE, length)) for start in starts]
