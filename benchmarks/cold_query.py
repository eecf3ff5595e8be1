"""Claim: a text query takes at most 0.45 s from nothing with builtin, 0.7 s with a ViT-B-32.

python -m benchmarks.cold_query

A process is started for each, over a library of 1,000 photos (made-up embeddings; the text towers
are real: the built-in one, and one of ViT-B-32-256's size with random weights). Wall and processor
time, beside what Python alone and the imports alone take in the same minute.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.clustered_library import vectors
from clipsearch import Library
from clipsearch.index.changes import Embedded
from clipsearch.index.records import FileState, PhotoMetadata

PHOTOS = 1_000
ROUNDS = 11
PROGRAM = [sys.executable, "-m", "clipsearch"]
WORDS = "a dog on a beach"
VIT_B_32_256: dict[str, Any] = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 256, "layers": 12, "width": 768, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}
Command = list[str]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="clipsearch-cold-") as name:
        place = Path(name)
        builtin = make_library(place / "builtin", "builtin")
        large = make_library(place / "large", str(make_vit_b_32(place / "vit-b-32")))
        commands: dict[str, tuple[Command, float | None]] = {
            "python -c pass": ([sys.executable, "-c", "pass"], None),
            "import numpy, onnxruntime": (
                [sys.executable, "-c", "import numpy, onnxruntime"],
                None,
            ),
            "clipsearch --help": ([*PROGRAM, "--help"], 0.15),
            "clipsearch info": ([*PROGRAM, "info", "--library", str(builtin)], 0.25),
            "query, builtin": ([*PROGRAM, "query", WORDS, "--library", str(builtin)], 0.45),
            "query, ViT-B-32-256": ([*PROGRAM, "query", WORDS, "--library", str(large)], 0.70),
        }
        times = measure({what: command for what, (command, _) in commands.items()})
    print(f"| median of {ROUNDS} | seconds | processor seconds | limit | of the limit |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for what, (_, limit) in commands.items():
        seconds, processor = (
            statistics.median(column) for column in zip(*times[what], strict=True)
        )
        share = f"{limit:.2f} | {seconds / limit:.2f}" if limit else " | "
        print(f"| {what} | {seconds:.2f} | {processor:.2f} | {share} |")


def make_vit_b_32(folder: Path) -> Path:
    """Save a model of ViT-B-32-256's shape with random weights, as open_clip lays one out."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    pixels = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"}
    content = {"model_cfg": VIT_B_32_256, "preprocess_cfg": {**pixels, "resize_mode": "shortest"}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    network = open_clip.model.CLIP(**VIT_B_32_256)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


def make_library(folder: Path, model: str, photos: int = PHOTOS) -> Path:
    """Make a library of photos that are nowhere, with made-up embeddings, a real text tower."""
    from clipsearch.models.names import resolve_model

    seen = PhotoMetadata(800, 600, "JPEG", taken_at="2020-01-01T12:00:00")
    (folder.parent / "photos").mkdir(exist_ok=True)
    (folder.parent / "photos" / "readme.txt").write_text("not away")
    with Library(folder, device="cpu") as library:
        encoder = library._models.load(resolve_model(model))
        store, width = library._store, encoder.identity.width
        with store.writing():
            store.catalog.add_folder(folder.parent / "photos", "folder")
            library._models.keep_text_encoder(encoder)
            model_id = store.catalog.add_model(encoder.identity)
            store.catalog.set_current_model(model_id)
            done = 0
            for some in vectors(photos, 0, library=photos, width=width):
                changes = []
                for number, vector in enumerate(some, done):
                    path = folder.parent / "photos" / f"IMG_{number:07}.jpg"
                    file = FileState(path, 1000, number)
                    changes.append(Embedded(file, f"{number:064x}", seen, vector))
                store.apply(changes, model_id)
                done += len(some)
            store.refresh_vectors(model_id)
    return folder


def measure(commands: dict[str, Command]) -> dict[str, list[tuple[float, float]]]:
    """Return seconds and processor seconds of each, in turns, after one round that warms up."""
    times: dict[str, list[tuple[float, float]]] = {what: [] for what in commands}
    environment = {**os.environ, "CLIPSEARCH_NO_SERVER": "1"}
    for number in range(ROUNDS + 1):
        for what, command in commands.items():
            taken = timed(command, environment)
            if number:
                times[what].append(taken)
    return times


def timed(command: Command, environment: dict[str, str] | None) -> tuple[float, float]:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, sum(after[:2]) - sum(before[:2])


if __name__ == "__main__":
    main()
