"""Claim: on a GPU, encoding runs near what the chip can do, and a search takes no time at all.

    python benchmarks/gpu.py [--out benchmarks/RESULTS.md] [--device cpu --quick]

Photos a second of the image towers (random weights, ready pixels; the share of the chip's own
rate of a large matrix product), how torch.compile would change that, and queries a second over one
and ten million vectors by batch size, with the share of the ten best that an exact search on the
CPU finds too, ties within 1e-3 aside. --out puts the tables in a file. `--device cpu --quick` runs
the same script small, on a machine without a GPU, to see that it works.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import faiss
import numpy as np
import torch
from clustered_library import WIDTH, vectors
from indexing_speed import random_model
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from clipsearch.index.vectors.vector_index import VectorIndex
from clipsearch.models.devices import fast_precisions
from clipsearch.models.encoder import Encoder, load_encoder
from clipsearch.models.names import resolve_model

TOWERS = {"builtin": None, "base": "ViT-B-32-256", "best": "ViT-H-14-quickgelu"}
BATCHES = (64, 256, 1024)
SIZES = (1_000_000, 10_000_000)
QUERY_BATCHES = (1, 16, 256, 2048)
TIE = 1e-3
K = 10


@dataclass
class Table:
    """Lines that are printed as they come, and kept."""

    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        print(line, flush=True)
        self.lines.append(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="small networks and few vectors")
    parser.add_argument("--out", type=Path, help="a file for the tables")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("there is no GPU here; `--device cpu --quick` tries the script without one")
    table = Table()
    table.add(f"# {chip(device)}\n")
    table.add(f"torch {torch.__version__}, FAISS {faiss.__version__}, {platform.machine()}\n")
    encoding(table, device, quick=options.quick)
    searching(table, device, quick=options.quick)
    if options.out:
        options.out.write_text("\n".join(table.lines) + "\n", encoding="utf-8")


def chip(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return str(torch.cpu.get_capabilities().get("cpu_name", "unknown processor"))


def encoding(table: Table, device: torch.device, *, quick: bool) -> None:
    halves = {"bf16": torch.bfloat16, "fp16": torch.float16}
    precision = next((p for p in fast_precisions(device) if p in halves), "float32")
    dtype = halves.get(precision, torch.float32)
    rate = product_rate(device, dtype, 1024 if quick else 8192)
    table.add(f"Matrix product in {precision}: {rate / 1e12:.2f} trillion operations a second\n")
    table.add("| tower | batch | photos/s | share of the product's rate | compiled, photos/s |")
    table.add("| --- | ---: | ---: | ---: | ---: |")
    for name, architecture in TOWERS.items():
        if quick and name == "best":
            continue
        with tempfile.TemporaryDirectory() as place:
            model = random_model(architecture, Path(place) / "m") if architecture else name
            encoder = load_encoder(resolve_model(model), device=device.type)
        operations = flops(encoder)
        for batch in (8,) if quick else BATCHES:
            plain = photos_a_second(encoder, batch)
            share = plain * operations / rate
            with_compile = "" if quick else f"{compiled_rate(encoder, batch):.0f}"
            table.add(f"| {name} | {batch} | {plain:.0f} | {100 * share:.0f} % | {with_compile} |")
        del encoder


def photos_a_second(encoder: Encoder, batch: int) -> float:
    """Pixels in memory to vectors in memory, transfers included."""
    size = encoder.preprocessing
    shape = (batch, size.height, size.width, 3)
    pixels = list(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    encoder.encode_pixels(pixels)
    return batch / statistics.median(seconds(lambda: encoder.encode_pixels(pixels), 5))


def compiled_rate(encoder: Encoder, batch: int) -> float:
    """The tower alone, compiled with CUDA graphs, on pixels that lie on the device."""
    network = torch.compile(encoder._network.visual, mode="max-autotune")
    size = encoder.preprocessing
    pixels = torch.randn(batch, 3, size.height, size.width, device=encoder.device)

    def run() -> None:
        with torch.inference_mode():
            network(pixels)
            synchronize(encoder.device)

    run()
    return batch / statistics.median(seconds(run, 5))


def flops(encoder: Encoder) -> float:
    """Operations of the image tower, a photo."""
    size = encoder.preprocessing
    pixels = torch.zeros(1, 3, size.height, size.width, device=encoder.device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        encoder._network.visual(pixels)
    return float(counter.get_total_flops())


def product_rate(device: torch.device, precision: torch.dtype, size: int) -> float:
    one = torch.randn(size, size, device=device, dtype=precision)

    def run() -> None:
        for _ in range(4):
            one @ one
        synchronize(device)

    run()
    return 4 * 2 * size**3 / min(seconds(run, 5))


def searching(table: Table, device: torch.device, *, quick: bool) -> None:
    table.add("\n| vectors | queries at once | queries/s | same ten as on the CPU |")
    table.add("| --- | ---: | ---: | ---: |")
    for count in (20_000,) if quick else SIZES:
        queries = next(vectors(max(QUERY_BATCHES), 99, library=count))
        index = filled(count)
        sample = queries[:32]
        exact = index.search(sample, K)
        if device.type == "cuda":
            index.move_to_gpu()
            if index.note:
                table.add(f"| {count:,} | | {index.note} | |")
                continue
        agree = agreement(exact, index.search(sample, K))
        for batch in QUERY_BATCHES:
            taken = search_seconds(index, queries[:batch])
            table.add(f"| {count:,} | {batch} | {batch / taken:,.0f} | {100 * agree:.1f} % |")


def search_seconds(index: VectorIndex, queries: NDArray[np.float32]) -> float:
    index.search(queries, K)
    return statistics.median(seconds(lambda: index.search(queries, K), 5))


def filled(count: int) -> VectorIndex:
    index = VectorIndex.empty(WIDTH)
    for ids, some in numbered(count):
        index.add(some.astype(np.float16), ids)
    return index


def numbered(count: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    first = 1
    for some in vectors(count, 0, library=count):
        numbers = np.arange(first, first + len(some))
        yield np.stack([numbers, numbers], axis=1), some
        first += len(some)


def agreement(
    one: tuple[NDArray[np.float32], NDArray[np.int64]],
    other: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> float:
    """The share of hits that both have, or that tie with the last of the first."""
    (scores, ids), (other_scores, other_ids) = one, other
    found = [
        np.isin(found_ids, best_ids) | (found_scores >= best_scores[-1] - TIE)
        for best_scores, best_ids, found_scores, found_ids in zip(
            scores, ids, other_scores, other_ids, strict=True
        )
    ]
    return float(np.mean(found))


def seconds(action: Callable[[], object], rounds: int) -> list[float]:
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return taken


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
