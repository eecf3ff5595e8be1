"""FAISS's own kinds of index beside clipsearch's lists: the same vectors, the same run.

A kind is a metric (IP or L2) and what `faiss.index_factory` takes. Vectors are of unit length, so
both metrics rank them alike; but they choose lists differently. Each is trained, filled and saved
with FAISS's defaults, then opened again and tried with several settings of `nprobe` (lists that are
looked into) and `k_factor` (times k candidates that are ranked by their full vectors).
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

Search = Callable[[NDArray[np.float32]], NDArray[np.int64]]  # a query (1, width) to ids (1, k)

K = 10
# {lists} stands for as many lists as clipsearch makes, {codes} for one code of two dimensions,
# {half} for one of four.
KINDS = (
    "IP IVF{lists},PQ{codes}x4fs,Refine(SQfp16)",  # takes as much of the disk as clipsearch's file
    "L2 IVF{lists},PQ{codes}x4fs,Refine(SQfp16)",
    "IP IVF{lists},PQ{half}x4fs,RFlat",
)
METRICS = {"IP": faiss.METRIC_INNER_PRODUCT, "L2": faiss.METRIC_L2}
PROBES = (8, 16, 32, 64, 128, 256, 384, 512)
FACTORS = (4, 16, 64, 160)
TRIED = 50  # queries, to choose the settings with
TRAINED = 100_000  # vectors


@dataclass(frozen=True)
class Setting:
    """How a kind is asked."""

    probes: int
    factor: int

    def __str__(self) -> str:
        return f"nprobe {self.probes}, k_factor {self.factor}"


@dataclass(frozen=True)
class Queries:
    """Queries of one kind (n, width), the ids of their true neighbours (n, k), our search."""

    kind: str
    vectors: NDArray[np.float32]
    nearest: NDArray[np.int64]
    ours: Search


def named(kinds: Iterable[str], lists: int, width: int) -> list[str]:
    """Return the kinds for vectors of this width."""
    return [kind.format(lists=lists, codes=width // 2, half=width // 4) for kind in kinds]


def build(name: str, path: Path, vectors: NDArray[np.float16]) -> float:
    """Write an index of vectors (n, width); return the seconds of processor time it took."""
    started = time.process_time()
    metric, _, kind = name.partition(" ")
    index = faiss.index_factory(vectors.shape[1], kind, METRICS[metric])
    chosen = np.random.default_rng(0).choice(
        len(vectors), min(len(vectors), TRAINED), replace=False
    )
    index.train(vectors[np.sort(chosen)].astype(np.float32))
    for start in range(0, len(vectors), 1 << 15):
        index.add(vectors[start : start + (1 << 15)].astype(np.float32))
    faiss.write_index(index, str(path))
    return time.process_time() - started


def measure_kind(name: str, path: Path, all_queries: Iterable[Queries], least: float) -> None:
    """Print how a saved index is searched, in turn with our search, for each kind of queries.

    With the setting of least processor time that finds at least so much of the true neighbours,
    else with the one that finds most.
    """
    started = time.perf_counter()
    index = faiss.read_index(str(path))
    seconds = time.perf_counter() - started
    print(f"  {name}: {path.stat().st_size / 1e9:.2f} GB, opened in {seconds:.2f} s", flush=True)
    for queries in all_queries:
        setting = chosen_setting(index, queries, least)
        both = in_turn({"ours": queries.ours, "its": search_with(index, setting)}, queries.vectors)
        found = {name: recall(runs.found, queries.nearest) for name, runs in both.items()}
        print(f"    {queries.kind}, {setting}: recall@{K} {found['its']:.4f}, {both['its']}")
        print(f"      in turn with clipsearch: {found['ours']:.4f}, {both['ours']}", flush=True)


def chosen_setting(index: Any, queries: Queries, least: float) -> Setting:
    """Return the setting that finds enough with the least work, else the one that finds most."""
    tried = []
    few, nearest = queries.vectors[:TRIED], queries.nearest[:TRIED]
    for probes, factor in itertools.product(PROBES, FACTORS):
        setting = Setting(probes, factor)
        runs = in_turn({"its": search_with(index, setting)}, few)["its"]
        tried.append((recall(runs.found, nearest), statistics.median(runs.processor), setting))
    enough = [one for one in tried if one[0] >= least]
    if enough:
        return min(enough, key=lambda one: one[1])[2]
    return max(tried, key=lambda one: (one[0], -one[1]))[2]


def search_with(index: Any, setting: Setting) -> Search:
    """Return the search of an index with these settings; ids count from 1, as photos' do."""
    lists = faiss.extract_index_ivf(index)

    def search(query: NDArray[np.float32]) -> NDArray[np.int64]:
        lists.nprobe, index.k_factor = setting.probes, setting.factor
        return np.asarray(index.search(query, K)[1]) + 1

    return search


@dataclass(frozen=True)
class Runs:
    """The seconds of each search, those of processor time, and what it found."""

    seconds: list[float]
    processor: list[float]
    found: list[NDArray[np.int64]]

    def __str__(self) -> str:
        p50, processor = statistics.median(self.seconds), statistics.median(self.processor)
        return f"p50 {p50 * 1e3:.2f} ms, processor {processor * 1e3:.2f} ms"


def in_turn(searches: dict[str, Search], queries: NDArray[np.float32]) -> dict[str, Runs]:
    """Search for each query with each search in turn; the first few are not counted."""
    runs = {name: Runs([], [], []) for name in searches}
    for number, query in enumerate(np.concatenate([queries[:5], queries])):
        for name, search in searches.items():
            started, used = time.perf_counter(), time.process_time()
            (found,) = search(query[None])
            used, seconds = time.process_time() - used, time.perf_counter() - started
            if number >= 5:
                runs[name].seconds.append(seconds)
                runs[name].processor.append(used)
                runs[name].found.append(found)
    return runs


def recall(found: list[NDArray[np.int64]], nearest: NDArray[np.int64]) -> float:
    """Return which share of the true neighbours was found."""
    shares = [np.isin(one, two).mean() for one, two in zip(nearest, found, strict=True)]
    return float(np.mean(shares))
