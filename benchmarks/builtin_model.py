"""Claim: the built-in model finds photos, fits in 40 MB, and is quick on two cores.

python benchmarks/builtin_model.py [SHARD]

Everything goes through the shipped program: the photos of a shard are written to a folder and
indexed, and every caption is a query. SHARD defaults to ../shared/data/val/val.tar.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch import Library
from clipsearch.machine import cores
from clipsearch.models.encoder import load_encoder
from clipsearch.models.names import local_weights, resolve_model
from clipsearch.models.text.encoder import TextEncoder
from clipsearch.photos.opening import open_image
from clipsearch.training.data.sources import Sample, read_shard
from clipsearch.training.retrieval_metrics import RetrievalMetrics, image_to_text, text_to_image

SHARD = Path(__file__).resolve().parents[2] / "shared" / "data" / "val" / "val.tar"
MODEL = "builtin"
BATCH = 8


def main(shard: Path) -> None:
    samples = list(read_shard(shard))
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_photos(samples, place / "photos")
        with Library(place / "library", device="cpu") as library:
            report = library.index([place / "photos"], model=MODEL)
            similarity = all_scores(library, samples)
    owner = [row for row, sample in enumerate(samples) for _ in sample.captions]
    print(f"| {len(samples)} photos, {len(owner)} captions | |\n| --- | --- |")
    row("text to image", recalls(text_to_image(similarity, owner)))
    row("image to text", recalls(image_to_text(similarity, owner)))
    weights = local_weights(resolve_model(MODEL)).stat().st_size
    row("weights", f"{weights:,} bytes")
    row("text tower, one core", f"{query_milliseconds(samples):.1f} ms a query")
    row(f"image tower, {cores()} cores", f"{tower_rate(samples):.0f} photos/s")
    row("indexing, reading and decoding included", f"{report.photos_per_second:.0f} photos/s")


def write_photos(samples: list[Sample], folder: Path) -> None:
    folder.mkdir()
    for sample in samples:
        (folder / f"{sample.key}.jpg").write_bytes(sample.image)


def all_scores(library: Library, samples: list[Sample]) -> NDArray[np.float32]:
    """The score of each photo for each caption, [photos, captions], as search gives them."""
    captions = [caption for sample in samples for caption in sample.captions]
    hits = library.query_batch(captions, text=True, k=len(samples))
    row_of = {sample.key: row for row, sample in enumerate(samples)}
    similarity = np.full((len(samples), len(captions)), -np.inf, np.float32)
    for column, found in enumerate(hits):
        for hit in found:
            similarity[row_of[hit.path.stem], column] = hit.score
    return similarity


def query_milliseconds(samples: list[Sample]) -> float:
    """The median time of one caption through the exported text tower, on one core."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "tower"
        load_encoder(resolve_model(MODEL), device="cpu").export_text_encoder(folder)
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(allowed)})
        try:
            encoder = TextEncoder.open(folder)
            return 1000 * statistics.median(
                seconds(lambda text=sample.captions[0]: encoder.encode_text([text]))
                for sample in samples[:200]
            )
        finally:
            os.sched_setaffinity(0, allowed)


def tower_rate(samples: list[Sample]) -> float:
    """Photos a second through the image tower, in the best of five rounds over ready pixels."""
    encoder = load_encoder(resolve_model(MODEL), device="cpu")
    photos = [open_image(s.image).image for s in samples[: 16 * BATCH]]
    pixels = [np.asarray(encoder.preprocessing.pixels(photo)) for photo in photos]
    batches = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
    best = min(seconds(lambda: [encoder.encode_pixels(b) for b in batches]) for _ in range(5))
    return len(pixels) / best


def seconds(action) -> float:  # noqa: ANN001
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def recalls(metrics: RetrievalMetrics) -> str:
    parts = [f"R@{k} {100 * recall:.1f}" for k, recall in metrics.recall_at.items()]
    return ", ".join([*parts, f"median rank {metrics.median_rank:g}"])


def row(what: str, figure: str) -> None:
    print(f"| {what} | {figure} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SHARD)
