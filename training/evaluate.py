"""Measure an open_clip model on a shard: `python -m clipsearch.training.evaluate --help`."""

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image

from clipsearch.training.data import Sample, read_shard
from clipsearch.training.retrieval_metrics import RetrievalMetrics, image_to_text, text_to_image

Item = TypeVar("Item")


@dataclass(frozen=True)
class Evaluation:
    """Retrieval both ways over all photos and captions of a shard."""

    photos: int
    captions: int
    text_to_image: RetrievalMetrics
    image_to_text: RetrievalMetrics


def evaluate(model_name: str, samples: Sequence[Sample]) -> Evaluation:
    """Measure the open_clip model of that name (`local-dir:FOLDER`, say) on the samples."""
    model, _, preprocess = open_clip.create_model_and_transforms(model_name)
    tokenizer = open_clip.get_tokenizer(model_name)
    model.eval()
    texts = [text for sample in samples for text in sample.captions]
    owner = list(chain.from_iterable([i] * len(s.captions) for i, s in enumerate(samples)))
    with torch.inference_mode():
        images = [
            model.encode_image(
                torch.stack([preprocess(Image.open(io.BytesIO(s.jpeg))) for s in batch]),
                normalize=True,
            ).numpy()
            for batch in _split(samples, 8)
        ]
        vectors = [
            model.encode_text(tokenizer(list(batch)), normalize=True).numpy()
            for batch in _split(texts, 64)
        ]
    similarity: NDArray[np.float32] = np.concatenate(images) @ np.concatenate(vectors).T
    return Evaluation(
        photos=len(samples),
        captions=len(texts),
        text_to_image=text_to_image(similarity, owner),
        image_to_text=image_to_text(similarity, owner),
    )


def _split(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def report_lines(evaluation: Evaluation) -> list[str]:
    """Return the figures as lines for people, recalls in percent."""
    lines = [f"{evaluation.photos} photos, {evaluation.captions} captions"]
    for way, metrics in (
        ("text to image", evaluation.text_to_image),
        ("image to text", evaluation.image_to_text),
    ):
        recalls = "  ".join(f"R@{k} {100 * r:5.1f}" for k, r in metrics.recall_at.items())
        lines.append(f"{way}:  {recalls}  median rank {metrics.median_rank:g}")
    return lines


def main() -> None:
    """Print the figures of one model on one shard."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", required=True, help="an open_clip folder or model name")
    parser.add_argument("--shard", required=True, type=Path, help="a .tar of captioned photos")
    options = parser.parse_args()
    folder = Path(options.model)
    name = f"local-dir:{folder}" if folder.is_dir() else options.model
    print("\n".join(report_lines(evaluate(name, list(read_shard(options.shard))))))


if __name__ == "__main__":
    main()
