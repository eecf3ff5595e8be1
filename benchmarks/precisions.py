"""Claim: in the precision that is taken, a model embeds photos faster and finds the same.

python benchmarks/precisions.py [--model NAME | --random ARCHITECTURE] [--data SHARD] [--photos N]

Embeds the photos of a shard (default: ../shared/data/val/val.tar) in float32 and in each precision
that CLIPSEARCH_PRECISION takes, emulated where the processor lacks it, and prints how near the
vectors come to those of float32, the recall@10 of the captions, and the processor time a photo.
What the judge does not let pass is float32 again. --random takes an open_clip architecture with
random weights: the time is that of the real one, the vectors are not.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from indexing_speed import processor_name, random_model
from numpy.typing import NDArray

from clipsearch.models.devices import PRECISION_VARIABLE, PRECISIONS, fast_precisions
from clipsearch.models.encoder import Encoder, load_encoder
from clipsearch.models.names import ModelSource, resolve_model
from clipsearch.photos.opening import open_image
from clipsearch.training.data.sources import Sample, read_shard
from clipsearch.training.retrieval_metrics import text_to_image

SHARD = Path(__file__).resolve().parents[2] / "shared" / "data" / "val" / "val.tar"
TIMED = 64  # photos
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--random", help="an open_clip architecture, with random weights")
    parser.add_argument("--data", type=Path, default=SHARD, help="a shard of captioned photos")
    parser.add_argument("--photos", type=int, default=1000)
    options = parser.parse_args()
    samples = list(read_shard(options.data))[: options.photos]
    torch.set_num_threads(1)  # processor time is then that of the work alone
    with tempfile.TemporaryDirectory() as place:
        model = random_model(options.random, Path(place) / "m") if options.random else options.model
        print(f"{options.random or model}, {processor_name()}, one thread; by itself it takes:")
        print(f"{' or '.join((*fast_precisions(torch.device('cpu')), 'float32'))}\n")
        measure(resolve_model(model), samples)


def measure(source: ModelSource, samples: list[Sample]) -> None:
    exact = load_encoder(source, device="cpu", exact=True)
    size = exact.preprocessing
    pixels = [np.asarray(size.pixels(open_image(sample.image).image)) for sample in samples]
    captions = [caption for sample in samples for caption in sample.captions]
    owner = [row for row, sample in enumerate(samples) for _ in sample.captions]
    texts, expected = exact.encode_text(captions), exact.encode_pixels(pixels)
    print("| asked for | taken | least cosine | mean | R@10 | ms a photo | of float32's |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for precision in PRECISIONS:
        os.environ[PRECISION_VARIABLE] = precision
        encoder = load_encoder(source, device="cpu")
        found = encoder.encode_pixels(pixels)
        cosines = (found * expected).sum(axis=1)
        recall = text_to_image(found @ texts.T, owner).recall_at[10]
        mine, plain = side_by_side(encoder, exact, pixels[:TIMED])
        print(
            f"| {precision} | {taken(encoder)} | {cosines.min():.4f} | {cosines.mean():.5f} "
            f"| {100 * recall:.2f} | {mine:.1f} | {100 * mine / plain:.0f} % |",
            flush=True,
        )


def taken(encoder: Encoder) -> str:
    spared = f", first {encoder.spared} layers in float32" if encoder.spared else ""
    return f"{encoder.precision}{spared}"


def side_by_side(
    one: Encoder, other: Encoder, pixels: list[NDArray[np.uint8]]
) -> tuple[float, float]:
    """Milliseconds of processor time a photo: the best of rounds in turn, since neighbours vary."""
    rounds = [(spent(one, pixels), spent(other, pixels)) for _ in range(ROUNDS)]
    return min(mine for mine, _ in rounds), min(theirs for _, theirs in rounds)


def spent(encoder: Encoder, pixels: list[NDArray[np.uint8]]) -> float:
    started = time.process_time()
    encoder.encode_pixels(pixels)
    return 1000 * (time.process_time() - started) / len(pixels)


if __name__ == "__main__":
    main()
