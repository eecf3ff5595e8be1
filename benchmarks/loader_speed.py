"""Claim: training's loader makes several times as many photos a second as a model here learns from.

python benchmarks/loader_speed.py [DATA]

DATA is anything that `clipsearch train --data` takes, by default ../shared/data/train. Rates are a
processor core's, by processor time, at 224 pixels. Then the built-in model's image tower learns
from the loader, once with the batches made when they are asked for and once in a thread beside it,
and the share of the time that it waits for them is measured.
"""

import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from clipsearch.models.loading import load_model
from clipsearch.models.names import resolve_model
from clipsearch.models.text.tokenizer import clip_tokenizer
from clipsearch.photos.opening import open_image
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.training.data.loader import Batch, Loader
from clipsearch.training.data.sources import Source, SubsetSource, open_source
from clipsearch.training.run_config import AugmentationConfig

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "train"
BATCH = 64
BATCHES = 12
STEPS = 4
ALL = AugmentationConfig(flip=0.5, color_jitter=0.4, grayscale=0.2, blur=0.5, erase=0.25)


def main(data: str) -> None:
    started = processor_seconds()
    source = open_source(data)
    print(f"{len(source)} photos, found in {processor_seconds() - started:.2f} s\n")
    print("| one core | photos/s |\n| --- | --- |")
    step = max(len(source) // (BATCH * BATCHES), 1)
    some = SubsetSource(source, range(0, len(source), step)[: BATCH * BATCHES])
    photos = [some[number].image for number in range(len(some))]
    row("decoding alone", len(photos), lambda: [open_image(photo) for photo in photos])
    for name, augmentation in (("random crop", AugmentationConfig()), ("everything", ALL)):
        for workers in (0, 1, 2):
            batches = loader(some, augmentation, workers).epoch(0)
            row(f"loader, {name}, {workers} workers", len(some), lambda b=batches: deque(b, 0))
    print("\n| the built-in tower learning | photos/s | waiting for photos |\n| --- | --- | --- |")
    for workers in (0, 1):
        rate, waiting = learn(loader(source, AugmentationConfig(), workers).epoch(0))
        print(f"| {workers} workers | {rate:.0f} | {waiting:.1%} |", flush=True)


def loader(source: Source, augmentation: AugmentationConfig, workers: int) -> Loader:
    return Loader(
        source,
        preprocessing=Preprocessing(224, 224),
        augmentation=augmentation,
        tokenize=clip_tokenizer(77, {}),
        batch_size=BATCH,
        seed=0,
        workers=workers,
    )


def row(name: str, photos: int, work: Callable[[], object]) -> None:
    started = processor_seconds()
    work()
    print(f"| {name} | {photos / (processor_seconds() - started):.0f} |", flush=True)


def processor_seconds() -> float:
    """Of this process and of the workers that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def learn(batches: Generator[Batch, None, None]) -> tuple[float, float]:
    """Return photos a second, and the share of the time spent waiting for them, after warm-up."""
    network: Any = load_model(resolve_model("builtin")).network
    tower = network.visual.train().requires_grad_(True)
    next(batches)
    started, waited = time.perf_counter(), 0.0
    for _ in range(STEPS):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        tower(batch.pixels).square().sum().backward()
    seconds = time.perf_counter() - started
    batches.close()
    return BATCH * STEPS / seconds, waited / seconds


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(DATA))
