"""Cache what the frozen teachers say: features of photos, vectors of sentences.

One pass of the classifier over the photos costs minutes, and of a head over its cached features
seconds, so every experiment on the heads and on the text tower starts here.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from clipsearch.photos.opening import open_image
from clipsearch.training.builtin.teachers import SentenceEncoder
from clipsearch.training.data.samples import Sample

_BATCH = 8  # small batches stay in the processor's cache; larger ones ran slower

Preprocess = Callable[[Image.Image], Tensor]  # an upright RGB picture -> (3, height, width)


def cached_image_features(
    samples: Sequence[Sample], classifier: nn.Module, preprocess: Preprocess, *, cache: Path
) -> NDArray[np.float16]:
    """Return pooled features, float16 (n, 1280); the cache file is named by the photos."""
    path = cache / f"features-{digest_of(sample.image for sample in samples)}.npy"
    if not path.exists():
        pixels = (preprocess(open_image(sample.image).image) for sample in samples)
        _save(path, image_features(pixels, classifier))
    loaded: NDArray[np.float16] = np.load(path)
    return loaded


@torch.inference_mode()
def image_features(pixels: Iterable[Tensor], classifier: nn.Module) -> NDArray[np.float16]:
    """Return the pooled features of preprocessed pictures, float16 (n, 1280)."""
    classifier = classifier.to(memory_format=torch.channels_last)
    pixels, rows = iter(pixels), []
    while batch := list(islice(pixels, _BATCH)):
        maps = classifier.forward_features(torch.stack(batch))  # type: ignore[operator]
        rows.append(classifier.global_pool(maps).to(torch.float16).numpy())  # type: ignore[operator]
    return np.concatenate(rows)


def cached_sentence_vectors(
    texts: Sequence[str], encoder: SentenceEncoder, cache: Path
) -> NDArray[np.float16]:
    """Return the teacher's unit vectors, float16 (n, 384); the cache file is named by the texts."""
    digest = digest_of(f"{text}\n".encode() for text in texts)
    path = cache / f"sentences-{digest}.npy"
    if not path.exists():
        _save(path, encoder.encode(list(texts)).astype(np.float16))
    loaded: NDArray[np.float16] = np.load(path)
    return loaded


def digest_of(parts: Iterable[bytes]) -> str:
    """Return a name for all of this content."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()[:16]


def _save(path: Path, array: NDArray[np.float16]) -> None:
    aside = path.with_suffix(".part.npy")
    np.save(aside, array)
    aside.replace(path)
