"""Captioned photos as arrays: cached features, and numbers for captions, photos and labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipsearch.training.data.samples import Sample


@dataclass(frozen=True)
class PhotoBatch:
    """n different photos with one caption each."""

    features: Tensor  # float32 (n, 1280)
    captions: Tensor  # int64 (n,), numbers of texts
    labels: Tensor  # int64 (n,), -1 where the photo has no class


@dataclass(frozen=True)
class CaptionedPhotos:
    """Photos with their cached features and several numbered captions each."""

    features: NDArray[np.float16]  # (photos, width)
    captions: tuple[NDArray[np.int64], ...]  # for each photo its captions' numbers, (captions,)
    labels: NDArray[np.int64]  # (photos,), -1 where there is none
    texts: tuple[str, ...]  # the text of each caption number

    @classmethod
    def collect(cls, samples: Sequence[Sample], features: NDArray[np.float16]) -> "CaptionedPhotos":
        """Number the captions and labels of the samples; equal texts get equal numbers.

        `features`, float16 (photos, width), are those of the samples' photos.
        """
        texts = list(dict.fromkeys(text for sample in samples for text in sample.captions))
        number = {text: i for i, text in enumerate(texts)}
        labels = {label: i for i, label in enumerate(sorted({s.label for s in samples if s.label}))}
        return cls(
            features=features,
            captions=tuple(np.array([number[text] for text in s.captions]) for s in samples),
            labels=np.array([labels[s.label] if s.label else -1 for s in samples]),
            texts=tuple(texts),
        )

    def batches(self, size: int, seed: int) -> Iterator[PhotoBatch]:
        """Yield batches without end: each pass takes every photo once, in a new order."""
        chance = np.random.default_rng(seed)
        while True:
            order = chance.permutation(len(self.captions))
            for start in range(0, len(order) - size + 1, size):
                yield self._batch(order[start : start + size], chance)

    def _batch(self, photos: NDArray[np.int64], chance: np.random.Generator) -> PhotoBatch:
        captions = [chance.choice(self.captions[photo]) for photo in photos]
        return PhotoBatch(
            features=torch.from_numpy(self.features[photos].astype(np.float32)),
            captions=torch.from_numpy(np.array(captions)),
            labels=torch.from_numpy(self.labels[photos]),
        )
