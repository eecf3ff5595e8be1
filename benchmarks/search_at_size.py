"""How fast a large library is searched, by lists and exactly, and how much the lists find.

    python benchmarks/search_at_size.py [--photos 1000000] [--folder FOLDER] [--faiss [KIND ...]]
    python benchmarks/search_at_size.py --photos 10000000 --file FILE
    python benchmarks/search_at_size.py --file FILE --embeddings PHOTOS.npy --texts TEXTS.npy

Makes a library without photos (2.5 KB of disk a photo; one in FOLDER is used again), then prints
a table: making its files, searches one at a time (median and the slowest in twenty), searches many
at once, and a process from its start to the result. The exact search of bare FAISS over the same
vectors, in the same run, is what the others are to be compared with. With --faiss FAISS's own kinds
of index are made of the same vectors (minutes each; those beside a library in FOLDER are used
again) and searched in turn with clipsearch's lists, for queries like photos and like texts.

With --batches it also prints what questions cost that are asked together, of processor time, as a
multiple of the product of blocks of the vectors with numpy's BLAS: of float32 that lie in memory
(2 GB a million), and of the float16 that are stored, with a partial sort; and through the lists, as
a multiple of the same questions one by one. OMP_NUM_THREADS=1 makes that comparable: threads that
wait for each other use processor time.

With --file it makes an index file alone, without a catalog (1.3 KB a photo), and searches that in
a process of its own, whose memory it prints. With --embeddings the vectors are not drawn at random
but widen some real ones, and the texts are queries, too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
from clustered_library import WIDTH, like_texts, make_library, vectors, widened
from faiss_kinds import KINDS, Queries, build, measure_kind, named
from numpy.typing import NDArray

from clipsearch.index.store import Store
from clipsearch.index.vectors.list_building import TARGET, lists_for
from clipsearch.index.vectors.segments import segments_of
from clipsearch.index.vectors.vector_files import FileStamp, write_file
from clipsearch.index.vectors.vector_index import VectorIndex

BATCHES = (16, 256, 4096)
BLAS_ROWS = 16_384

COLD = """
import sys
import numpy as np
from pathlib import Path
from clipsearch.index.store import Store
query = np.load(sys.argv[2])[None]
with Store.open(Path(sys.argv[1]), read_only=True) as store, store.reading():
    scores, ids = store.search(1, query, 10)
    print(*[record.file.path for record in store.catalog.photos(ids[0].tolist()).values()])
for line in open("/proc/self/status") if sys.platform == "linux" else ():
    if line.startswith("VmHWM"):
        print(line.split()[1], file=sys.stderr)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where the library is, or is to be made")
    parser.add_argument(
        "--faiss",
        nargs="*",
        metavar="KIND",
        help="compare with FAISS's factory kinds, each with its metric: these, or three",
    )
    parser.add_argument("--batches", action="store_true", help="search for many at once, too")
    parser.add_argument("--file", type=Path, help="where an index file is, or is to be made")
    parser.add_argument("--embeddings", type=Path, help="of photos, float32 (n, width), to widen")
    parser.add_argument("--texts", type=Path, help="of texts by the same model, to search for")
    options = parser.parse_args()
    if options.file:
        measure_file(options)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place) / "library"
        measure(folder, options.photos, options.queries)
        if options.batches:
            measure_batches(folder, options.photos)
        if options.faiss is not None:
            compare_kinds(folder, options.photos, options.queries, options.faiss or KINDS)


def measure(folder: Path, photos: int, count: int) -> None:
    """Make the library if it is not there, and print the table."""
    print(f"{photos:,} photos, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if not (folder / "catalog.sqlite").exists():
        show("rows written to the catalog", timed(lambda: make_library(folder, photos)), "s")
    queries = next(vectors(count, 99, library=photos))
    with Store.open(folder) as store:
        with store.writing():
            show("index files made, or found", timed(lambda: store.refresh_vectors(1)), "s")
        info = store.index_info(1)
        print(f"  {info.kind}, {info.files} files, {info.bytes / 1e9:.2f} GB, recall {info.recall}")
        others = next(vectors(count, 98, library=photos))
        at_first, _ = one_by_one(lambda query: store.search(1, query, 10)[1], others)
        by_lists, found = one_by_one(lambda query: store.search(1, query, 10)[1], queries)
        some = queries[: max(20, count // 5)]
        exactly, best = one_by_one(lambda query: store.search(1, query, 10, exact=True)[1], some)
        bare = one_by_one(bare_faiss(store), some)[0]
        show_searches("by lists, the first searches", at_first, bare)
        show_searches("by lists, after these", by_lists, bare)
        one_by_one(lambda query: store.search(1, query, 10)[1], like_texts(others, 1))
        texts = like_texts(queries, 0)
        as_texts, found_as = one_by_one(lambda query: store.search(1, query, 10)[1], texts)
        best_as = store.search(1, texts[:50], 10, exact=True)[1]
        show_searches("by lists, queries like texts", as_texts, bare)
        show_searches("exactly", exactly, bare)
        show_searches("bare FAISS, exactly", bare, bare)
        shares = [np.isin(one, two).mean() for one, two in zip(best, found, strict=False)]
        print(f"  recall@10 of {len(shares)} other photos: {np.mean(shares):.4f}")
        shares = [np.isin(one, two).mean() for one, two in zip(best_as, found_as, strict=False)]
        print(f"  recall@10 of {len(shares)} queries like texts: {np.mean(shares):.4f}")
        seconds = timed(lambda: store.search(1, queries, 10))
        show(f"{count} searches at once", seconds * 1000 / count, "ms each")
    cold(folder, queries[0])


def measure_batches(folder: Path, photos: int) -> None:
    """Print what questions cost that are asked together."""
    with Store.open(folder) as store, store.reading():
        index = max(store._vectors_now(1, WIDTH).parts, key=len)
        stored = np.concatenate(
            [
                index.vectors(at, min(BLAS_ROWS, len(index) - at))
                for at in range(0, len(index), BLAS_ROWS)
            ]
        )
        whole = stored.astype(np.float32)
        store.search(1, next(vectors(16, 97, library=photos)), 10, exact=True)  # maps the file
        print("  questions  exactly, s   of BLAS, float32   of BLAS, float16, partial sort")
        for count in BATCHES:
            queries = next(vectors(count, 97, library=photos))
            ours = used(lambda q=queries: store.search(1, q, 10, exact=True))
            plain = used(lambda q=queries: multiply(q, whole, best=0))
            sorting = used(lambda q=queries: multiply(q, stored, best=10))
            ratios = f"{ours / plain:18.2f} {ours / sorting:32.2f}"
            print(f"  {count:9,} {ours:12.2f} {ratios}", flush=True)
        print("  questions  by lists, ms each   of one by one   of exactly")
        for kind in ("photos", "texts"):
            for count in BATCHES[:2]:
                queries = next(vectors(count, 97, library=photos))
                queries = queries if kind == "photos" else like_texts(queries, 0)
                store.search(1, queries, 10)
                ours = used(lambda q=queries: store.search(1, q, 10))
                alone = used(lambda q=queries: [store.search(1, one[None], 10) for one in q])
                exact = used(lambda q=queries: store.search(1, q, 10, exact=True))
                each = f"{ours / count * 1e3:18.2f}"
                print(f"  {count:9,} {each} {ours / alone:15.2f} {ours / exact:12.2f}   {kind}")


def multiply(queries: NDArray[np.float32], stored: NDArray[np.floating], *, best: int) -> None:
    """Multiply queries with all vectors in blocks, and let a partial sort find the best."""
    for at in range(0, len(stored), BLAS_ROWS):
        products = queries @ stored[at : at + BLAS_ROWS].astype(np.float32, copy=False).T
        if best:
            np.argpartition(products, -best, axis=1)[:, -best:]


def used(do: Callable[[], object]) -> float:
    """Return how many seconds of processor time it takes."""
    started = time.process_time()
    do()
    return time.process_time() - started


def compare_kinds(folder: Path, photos: int, count: int, kinds: Iterable[str]) -> None:
    """Make FAISS's indexes of the library's vectors, and print how they and it are searched."""
    place = folder / "faiss"
    place.mkdir(exist_ok=True)
    photo_like = next(vectors(count, 99, library=photos))
    with Store.open(folder) as store:
        segment = max(segments_of(store._db, 1), key=lambda segment: segment.stamp.vectors)
        lists = VectorIndex.open(
            store.folder / "vectors" / segment.file, segment.stamp, verify=False
        )

        def ours(query: NDArray[np.float32]) -> NDArray[np.int64]:
            return lists.search(query, 10, exact=False)[1]

        kinds_of_queries = {"like photos": photo_like, "like texts": like_texts(photo_like, 0)}
        all_queries = [
            Queries(kind, queries, store.search(1, queries, 10, exact=True)[1], ours)
            for kind, queries in kinds_of_queries.items()
        ]
        for name in named(kinds, lists_for(photos), WIDTH):
            path = place / f"{name.replace(' ', '_').replace(',', '_')}.faiss"
            if not path.exists():
                base = np.concatenate(
                    [some.astype(np.float16) for some in vectors(photos, 0, library=photos)]
                )
                show(f"{name} made", build(name, path, base), "s of processor time")
            measure_kind(name, path, all_queries, TARGET)


def measure_file(options: argparse.Namespace) -> None:
    """Make an index file if it is not there, and print how it is searched; each in a process."""
    print(f"{options.photos:,} photos, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for step in (make_file, search_file):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            process.submit(step, options).result()


def make_file(options: argparse.Namespace) -> None:
    """Make an index file, and beside it the record that the catalog would have."""
    record = options.file.with_suffix(".json")
    if record.exists():
        return
    count, batches = options.photos, photo_vectors(options)
    width = np.load(options.embeddings, mmap_mode="r").shape[1] if options.embeddings else 512

    def numbered() -> Iterator[tuple[NDArray[np.float16], NDArray[np.int64]]]:
        first = 1
        for some in batches:
            ids = np.arange(first, first + len(some))
            yield some.astype(np.float16), np.stack([ids, ids], axis=1)
            first += len(some)

    started = time.perf_counter()
    stamp, recall = write_file(options.file, width, count, numbered(), lists=True)
    show("drawn and written", time.perf_counter() - started, "s")
    show("of it processor time", time.process_time(), "s")
    show("memory at most", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "GiB")
    record.write_text(json.dumps({"stamp": asdict(stamp), "recall": recall}))


def photo_vectors(options: argparse.Namespace) -> Iterator[NDArray[np.float32]]:
    """Yield the vectors of the photos."""
    if options.embeddings:
        return widened(np.load(options.embeddings), options.photos, 0)
    return vectors(options.photos, 0, library=options.photos)


def search_file(options: argparse.Namespace) -> None:
    """Search an index file by lists and exactly."""
    record = json.loads(options.file.with_suffix(".json").read_text())
    stamp = FileStamp(**record["stamp"])
    index = VectorIndex.open(options.file, stamp, verify=False)
    print(f"  {stamp.kind}, {stamp.probes} looked into, {stamp.bytes / 1e9:.2f} GB, "
          f"recall {record['recall']:.4f}")  # fmt: skip
    kinds = queries_of(options)
    by_lists = {
        kind: one_by_one(lambda query: index.search(query, 10, exact=False)[1], queries)
        for kind, queries in kinds.items()
    }
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    for kind, queries in kinds.items():
        few = queries[: min(len(queries), max(20, 10**8 // stamp.vectors))]
        seconds, best = one_by_one(lambda query: index.search(query, 10)[1], few)
        show_searches(f"{kind}, by lists", by_lists[kind][0], seconds)
        show_searches(f"{kind}, exactly", seconds, seconds)
        found = by_lists[kind][1]
        shares = [np.isin(one, two).mean() for one, two in zip(best, found, strict=False)]
        print(f"  recall@10 of {len(shares)} {kind}: {np.mean(shares):.4f}", flush=True)
    show("memory at most, searched by lists", used, "GiB")


def queries_of(options: argparse.Namespace) -> dict[str, NDArray[np.float32]]:
    """Return queries of each kind: other photos, and texts."""
    if options.embeddings:
        photos = next(widened(np.load(options.embeddings), options.queries, 99))
        kinds = {"photos": photos}
    else:
        photos = next(vectors(options.queries, 99, library=options.photos))
        kinds = {"photos": photos, "like texts": like_texts(photos, 0)}
    if options.texts:
        kinds["texts"] = np.load(options.texts)[: options.queries].astype(np.float32)
    return kinds


def bare_faiss(store: Store) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:
    """Return FAISS's search of the largest file, as it is without anything around it."""
    import faiss

    segment = max(segments_of(store._db, 1), key=lambda segment: segment.stamp.vectors)
    path = store.folder / "vectors" / segment.file
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    return lambda query: np.asarray(index.search(query, 10)[1])


def one_by_one(
    search: Callable[[NDArray[np.float32]], NDArray[np.int64]], queries: NDArray[np.float32]
) -> tuple[list[float], list[NDArray[np.int64]]]:
    """Return the seconds of each search, and what it found; the first few are not counted."""
    for query in queries[:5]:
        search(query[None])
    seconds, found = [], []
    for query in queries:
        started = time.perf_counter()
        found.append(search(query[None])[0])
        seconds.append(time.perf_counter() - started)
    return seconds, found


def cold(folder: Path, query: NDArray[np.float32]) -> None:
    """Time whole processes, and say how much memory the largest one had."""
    with tempfile.TemporaryDirectory() as place:
        np.save(Path(place) / "query.npy", query)
        command = [sys.executable, "-c", COLD, str(folder), str(Path(place) / "query.npy")]
        empty = [sys.executable, "-c", "import numpy, faiss"]
        runs = [(timed(lambda: run(command)), timed(lambda: run(empty))) for _ in range(7)]
        said = subprocess.run(command, capture_output=True, check=True, text=True).stderr
    whole, importing = (statistics.median(times) for times in zip(*runs, strict=True))
    show("a process, start to result", whole, "s")
    print(f"  of these to import numpy and faiss: {importing:.2f} s; resident: {said.strip()} kB")


def run(command: list[str]) -> None:
    """Run a command to its end."""
    subprocess.run(command, check=True, capture_output=True)


def timed(do: Callable[[], object]) -> float:
    """Return how many seconds it takes."""
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def show_searches(what: str, seconds: list[float], baseline: list[float]) -> None:
    """Print a line about searches."""
    middle, slow = statistics.median(seconds), np.percentile(seconds, 95)
    ratio = statistics.median(baseline) / middle
    line = f"p50 {middle * 1e3:8.2f} ms   p95 {slow * 1e3:8.2f} ms   {ratio:6.1f} x"
    print(f"  {what:32} {line}", flush=True)


def show(what: str, value: float, unit: str) -> None:
    """Print a line."""
    print(f"  {what:32} {value:10.2f} {unit}", flush=True)


if __name__ == "__main__":
    main()
