"""What a run measures of itself: loss and recall both ways on photos it does not learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from clipsearch.errors import InvalidInput, UnreadableImage
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.training.data.augmentation import normalized, plain_pixels
from clipsearch.training.data.samples import BadSample, Sample
from clipsearch.training.data.sources import Source
from clipsearch.training.learning.gradient_cache import Encoding
from clipsearch.training.learning.objective import Objective
from clipsearch.training.retrieval_metrics import image_ranks, text_ranks
from clipsearch.training.retrieval_sheet import choose_retrievals, draw_retrievals

MEAN_RECALL, LOSS = "mean_recall", "loss"
RECALLS = (1, 5, 10)
METRICS = (
    MEAN_RECALL,
    LOSS,
    *(f"{way}_R@{k}" for way in ("text_to_image", "image_to_text") for k in RECALLS),
)
_MOST_PHOTOS = 5000  # of a larger source so many are taken, evenly
_MOST_BYTES = 1 << 30  # of pixels, which stay in memory
_AT_ONCE = 64

Tokenize = Callable[[Sequence[str]], NDArray[np.int64]]  # of n texts: (n, context)


class Validation:
    """Photos with all their captions, in memory.

    A photo with the very same caption (case and outer space aside) is as right as the caption's
    own, as it should be where captions are made from class names.
    """

    def __init__(
        self, source: Source, preprocessing: Preprocessing, tokenize: Tokenize, *, workers: int = 1
    ) -> None:
        """Read the photos; raise InvalidInput where fewer than two can be read."""
        self._preprocessing = preprocessing
        shape = (preprocessing.height, preprocessing.width, 3)
        most = max(2, min(_MOST_PHOTOS, _MOST_BYTES // int(np.prod(shape))))
        numbers = np.unique(np.linspace(0, len(source) - 1, min(len(source), most)).astype(int))

        def read(number: int) -> tuple[Sample, NDArray[np.uint8]] | str:
            try:
                sample = source[number]
                return sample, plain_pixels(sample.image, preprocessing)
            except (BadSample, UnreadableImage) as error:
                return str(error)

        with ThreadPoolExecutor(max(1, workers)) as threads:
            found = list(threads.map(read, numbers.tolist()))
        self.skipped = [reason for reason in found if isinstance(reason, str)]
        readable = [one for one in found if not isinstance(one, str)]
        if len(readable) < 2:
            why = f": {self.skipped[0]}" if self.skipped else ""
            raise InvalidInput(f"the validation data has fewer than two usable photos{why}")
        samples = [sample for sample, _ in readable]
        self.pixels = np.stack([pixels for _, pixels in readable])  # uint8 (n, 3, height, width)
        self.captions = [caption for sample in samples for caption in sample.captions]
        counts = [len(sample.captions) for sample in samples]
        self.photo_of_text = np.repeat(np.arange(len(samples)), counts)
        self._tokens = torch.from_numpy(tokenize(self.captions))
        _, self._wording = np.unique(
            [caption.strip().casefold() for caption in self.captions], return_inverse=True
        )
        _, labels = np.unique([sample.label or "" for sample in samples], return_inverse=True)
        has_label = np.array([sample.label is not None for sample in samples])
        self._labels = np.where(has_label, labels, -1)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def notes(self) -> list[str]:
        """Return what was left out, as a line for people if there is anything."""
        if not self.skipped:
            return []
        count = len(self.skipped)
        photos = "1 photo" if count == 1 else f"{count:,} photos"
        return [f"{photos} of the validation data can't be used, the first: {self.skipped[0]}"]

    @torch.no_grad()
    def measure(
        self,
        network: nn.Module,
        objective: Objective,
        *,
        batch_size: int,
        device: torch.device,
        sheet: Path | None = None,
    ) -> dict[str, float]:
        """Return each of METRICS, the loss over batches like those of training.

        The network is left in evaluation mode. With `sheet`, what some captions find is drawn
        there.
        """
        network.eval()
        encode = Encoding(network)
        parts = torch.split(torch.arange(len(self)), _AT_ONCE)
        images = torch.cat([encode.images(self._normalised(part, device)) for part in parts])
        texts = torch.cat(
            [encode.texts(t.to(device)) for t in torch.split(self._tokens, 4 * _AT_ONCE)]
        )
        metrics = {LOSS: self._loss(network, objective, images, texts, batch_size)}
        similarity = (images @ texts.T).cpu().numpy()
        metrics |= self._recalls(similarity)
        if sheet is not None:
            chosen = choose_retrievals(similarity, self.captions, self.photo_of_text)
            draw_retrievals(chosen, self._picture, sheet)
        return metrics

    def _picture(self, number: int) -> Image.Image:
        return Image.fromarray(np.ascontiguousarray(self.pixels[number].transpose(1, 2, 0)))

    def _normalised(self, rows: Tensor, device: torch.device) -> Tensor:
        pixels = normalized(self.pixels[rows.numpy()], self._preprocessing)
        return torch.from_numpy(pixels).to(device)

    def _loss(
        self, network: nn.Module, objective: Objective, images: Tensor, texts: Tensor, size: int
    ) -> float:
        """Return the mean loss of the photos with their first captions, in batches of `size`."""
        first = np.unique(self.photo_of_text, return_index=True)[1]
        keys = torch.from_numpy(
            np.stack([np.arange(len(self)), self._wording[first], self._labels], axis=1)
        ).to(images.device)
        size = min(size, len(self))
        losses = []
        for start in range(0, len(self) - size + 1, size):
            rows = slice(start, start + size)
            loss = objective(network, images[rows], texts[first[rows]], keys[rows])
            losses.append(float(loss))
        return float(np.mean(losses))

    def _recalls(self, similarity: NDArray[np.floating]) -> dict[str, float]:
        has = np.zeros((len(self), int(self._wording.max()) + 1), np.bool_)
        has[self.photo_of_text, self._wording] = True
        is_right = has[:, self._wording]  # (photos, texts)
        ranks = {
            "text_to_image": text_ranks(similarity, is_right),
            "image_to_text": image_ranks(similarity, is_right),
        }
        recalls = {
            f"{way}_R@{k}": float((rank <= k).mean())
            for way, rank in ranks.items()
            for k in RECALLS
        }
        return {**recalls, MEAN_RECALL: float(np.mean(list(recalls.values())))}


def score(metrics: dict[str, float], name: str) -> float:
    """Return how good a model is by one of METRICS: the higher, the better."""
    return -metrics[LOSS] if name == LOSS else metrics[name]
