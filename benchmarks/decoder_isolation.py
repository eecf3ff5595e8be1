"""What decoding in processes of their own costs: `python -m benchmarks.decoder_isolation PHOTOS`.

PHOTOS is a folder or tar archive of photos. Decoding alone, through the pool and in threads of this
process, over the photos as they are and over 12-megapixel JPEGs made from them; and with --index,
through `Library.index` with the built-in model. Both ways take turns within one run.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from clipsearch.machine import cores
from clipsearch.photos.decoder_pool import DecoderPool, PreparedPhoto
from clipsearch.photos.formats import is_image_name
from clipsearch.photos.opening import DEFAULT_MAX_MEGAPIXELS, open_image
from clipsearch.photos.preprocessing import Preprocessing

IN_FLIGHT = 64
LARGE = (4000, 3000)


class Decoders(Protocol):
    def submit(self, data: bytes) -> Future[PreparedPhoto]: ...


class Threads:
    """What DecoderPool is compared with."""

    def __init__(self, preprocessing: Preprocessing, workers: int) -> None:
        self._preprocessing = preprocessing
        self._pool = ThreadPoolExecutor(workers)

    def submit(self, data: bytes) -> Future[PreparedPhoto]:
        return self._pool.submit(self._prepare, data)

    def close(self) -> None:
        self._pool.shutdown()

    def _prepare(self, data: bytes) -> PreparedPhoto:
        opened = open_image(
            data,
            shrink_to=self._preprocessing.image_size,
            max_megapixels=DEFAULT_MAX_MEGAPIXELS,
        )
        return PreparedPhoto(opened.metadata, np.asarray(self._preprocessing.pixels(opened.image)))


@dataclass(frozen=True)
class Round:
    """What some photos took."""

    seconds: float  # by the clock
    processor: float  # seconds of all cores, of this process and its children


def photos_in(place: Path, limit: int) -> list[bytes]:
    return [data for data, _ in zip(_photos_in(place), range(limit), strict=False)]


def _photos_in(place: Path) -> Iterator[bytes]:
    if place.is_dir():
        for path in sorted(p for p in place.rglob("*") if p.is_file() and is_image_name(p.name)):
            yield path.read_bytes()
        return
    with tarfile.open(place) as tar:
        for member in tar:
            if is_image_name(member.name) and (stream := tar.extractfile(member)) is not None:
                yield stream.read()


def enlarged(data: bytes) -> bytes:
    """Return a photo as a camera would make it: 12 megapixels with grain, some 3 MB."""
    with Image.open(io.BytesIO(data)) as image:
        large = np.asarray(image.convert("RGB").resize(LARGE, Image.Resampling.BICUBIC))
    grain = np.random.default_rng(0).normal(0, 3, large.shape[:2]).astype(np.float32)
    noisy = np.clip(large + grain[..., None], 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(noisy).save(out, "JPEG", quality=90)
    return out.getvalue()


def processor_seconds() -> float:
    """Return what this process and its children took so far; of the living ones, where /proc is."""
    times = os.times()
    total = times.user + times.system + times.children_user + times.children_system
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def one_round(decoders: Decoders, photos: Sequence[bytes]) -> Round:
    start, processor = time.perf_counter(), processor_seconds()
    in_flight: list[Future[PreparedPhoto]] = []
    for data in photos:
        in_flight.append(decoders.submit(data))
        if len(in_flight) >= IN_FLIGHT:
            in_flight.pop(0).result()
    for future in in_flight:
        future.result()
    return Round(time.perf_counter() - start, processor_seconds() - processor)


def compare(
    title: str, count: int, rounds: int, one_way: Callable[[], Round], other: Callable[[], Round]
) -> None:
    """Run both ways in turns and print a row: the pool's, the threads', and how they differ."""
    results: tuple[list[Round], list[Round]] = ([], [])
    for turn in range(rounds):
        for which in ((0, 1), (1, 0))[turn % 2]:
            results[which].append((one_way, other)[which]())
    pool, threads = results
    ratios = [t.seconds / p.seconds for p, t in zip(pool, threads, strict=True)]
    print(
        f"| {title} | {count / median(pool):.1f} | {count / median(threads):.1f} "
        f"| {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) "
        f"| {processor_ms(pool, count):.2f} | {processor_ms(threads, count):.2f} |",
        flush=True,
    )


def median(rounds: Sequence[Round]) -> float:
    return statistics.median(r.seconds for r in rounds)


def processor_ms(rounds: Sequence[Round], count: int) -> float:
    return statistics.median(r.processor for r in rounds) / count * 1000


def compare_decoding(title: str, photos: list[bytes], workers: int, rounds: int) -> None:
    preprocessing = Preprocessing(224, 224)
    threads = Threads(preprocessing, workers)
    with DecoderPool(preprocessing, max_megapixels=DEFAULT_MAX_MEGAPIXELS, workers=workers) as pool:
        for decoders in (pool, threads):
            one_round(decoders, photos[: 4 * workers])  # all are started and warm
        compare(
            title,
            len(photos),
            rounds,
            lambda: one_round(pool, photos),
            lambda: one_round(threads, photos),
        )
    threads.close()


def compare_indexing(title: str, photos: list[bytes], workers: int, rounds: int) -> None:
    """Index the photos into new libraries, with the pool and with threads in its place."""
    with tempfile.TemporaryDirectory() as place:
        first, rest = Path(place) / "first", Path(place) / "rest"
        for folder, some in ((first, photos[:1]), (rest, photos[1:])):
            folder.mkdir()
            for number, data in enumerate(some):
                (folder / f"{number:05}.jpg").write_bytes(data)
        compare(
            title,
            len(photos) - 1,
            rounds,
            lambda: index_once(first, rest, nullcontext()),
            lambda: index_once(first, rest, threads_for_pool(workers)),
        )


def index_once(first: Path, rest: Path, way: AbstractContextManager[object]) -> Round:
    """Index the rest into a new library, whose model is loaded and exported with the first."""
    from clipsearch import Library

    with (
        tempfile.TemporaryDirectory() as place,
        Library(Path(place) / "library") as library,
        way,
    ):
        library.index([first], model="builtin")
        start, processor = time.perf_counter(), processor_seconds()
        report = library.index([rest])
        taken = Round(time.perf_counter() - start, processor_seconds() - processor)
        assert report.added + report.copied == len(list(rest.iterdir())), report
        return taken


class threads_for_pool(AbstractContextManager[object]):
    """Let `clipsearch.indexing.run` find threads where it looks for its decoders."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def __enter__(self) -> object:
        from clipsearch.indexing import run

        workers = self._workers

        class InThreads(Threads):
            def __init__(self, preprocessing: Preprocessing, **_: object) -> None:
                super().__init__(preprocessing, workers)

            def start(self) -> None: ...

            def __enter__(self) -> InThreads:
                return self

            def __exit__(self, *_: object) -> None:
                self.close()

        self._kept = run.DecoderPool
        run.DecoderPool = InThreads  # type: ignore[misc, assignment]
        return self

    def __exit__(self, *_: object) -> None:
        from clipsearch.indexing import run

        run.DecoderPool = self._kept  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", type=Path, help="a folder or tar archive of photos")
    parser.add_argument("--count", type=int, default=1000, help="photos as they are")
    parser.add_argument("--large", type=int, default=60, help="photos of 12 megapixels")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--index", action="store_true", help="through the whole of Library.index")
    given = parser.parse_args()
    photos = photos_in(given.photos, given.count)
    large = [enlarged(data) for data in photos[: given.large]]
    run = compare_indexing if given.index else compare_decoding
    print(f"{given.workers} workers, {given.rounds} rounds; the ratio is pool to threads by rounds")
    print(
        "| photos | pool, a second | threads, a second | ratio | pool, cpu ms | threads, cpu ms |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for title, files in (("as they are", photos), ("12 megapixels", large)):
        if files:
            kilobytes = sum(map(len, files)) / len(files) / 1000
            run(f"{title}, {kilobytes:.0f} kB", files, given.workers, given.rounds)


if __name__ == "__main__":
    main()
