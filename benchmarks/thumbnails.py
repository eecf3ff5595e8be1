"""What thumbnails cost: `python -m benchmarks.thumbnails [PHOTOS] [--kept 100000]`.

PHOTOS is a folder of photos, by default examples/photos. As the server makes them, in decoding
processes, of the photos as they are and of 12-megapixel JPEGs made from them: how many a second,
how much processor time and how many bytes each. Then, of many that are kept (files of 20 kB): to
read one, to sum them up for `info`, and to look through all of them after a removal.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from PIL import Image, ImageOps

from clipsearch.index.layout import Layout
from clipsearch.index.records import FileState, PhotoMetadata, PhotoRecord
from clipsearch.machine import cores
from clipsearch.photos.formats import is_image_name
from clipsearch.showing.kept_thumbnails import KeptThumbnails
from clipsearch.showing.picture_maker import LARGE, SMALL, PictureMaker

LARGE_PHOTO = (4000, 3000)
KEPT_BYTES = 20_000


def processor_seconds() -> float:
    """Return what this process and those it started, and that have ended, took."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def record(number: int, path: Path) -> PhotoRecord:
    """Return a photo as the catalog would have it."""
    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        metadata = PhotoMetadata(*image.size, str(image.format))
    file = FileState(path, len(data), path.stat().st_mtime_ns)
    return PhotoRecord(number, file, hashlib.sha256(data).hexdigest(), metadata, "")


def enlarged(photos: Sequence[Path], folder: Path) -> list[Path]:
    """Return JPEGs of 12 megapixels made from photos."""
    made = []
    for number, path in enumerate(photos):
        with Image.open(path) as image:
            whole = ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), LARGE_PHOTO)
        whole.save(folder / f"{number}.jpg", quality=92)
        made.append(folder / f"{number}.jpg")
    return made


def make(what: str, photos: Sequence[PhotoRecord], side: int, place: Path) -> None:
    """Make the thumbnails of photos and say what that took."""
    place.mkdir()
    kept = KeptThumbnails(place)
    before, started = processor_seconds(), time.perf_counter()
    with closing(PictureMaker(kept)) as maker:
        warm = time.perf_counter()
        pictures = [one.result() for one in [maker.thumbnail(photo, side) for photo in photos]]
        seconds = time.perf_counter() - warm
    used = processor_seconds() - before  # once the processes have ended
    size = statistics.mean(map(len, pictures))
    print(
        f"{what:28} {side:5} px  {len(photos) / seconds:6.1f}/s  "
        f"{1000 * used / len(photos):6.1f} ms of processor  {size / 1000:6.1f} kB each"
        f"  ({seconds + warm - started:.1f} s in all)"
    )


def timed(what: str, do: Callable[[], object]) -> None:
    """Run something and say how long it took."""
    started = time.perf_counter()
    do()
    print(f"{what:60} {1000 * (time.perf_counter() - started):8.1f} ms")


def many_kept(place: Path, count: int) -> None:
    """Keep many files, and say what goes through all of them."""
    place.mkdir()
    kept = KeptThumbnails(place, 10**12)
    data = b"RIFF" + (KEPT_BYTES - 8).to_bytes(4, "little") + bytes(KEPT_BYTES - 8)
    names = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]
    timed(f"keep {count:,} files of {KEPT_BYTES:,} bytes", lambda: [*map(put(kept, data), names)])
    timed("read 1,000 of them", lambda: [kept.get(name, SMALL) for name in names[::-1][:1000]])
    timed("sum them up, as info does", Layout(place).bytes_of_parts)
    timed("look through them, as a removal does", lambda: kept.forget_all_but(set))
    timed("see whether there is room for more", kept.has_room)


def put(kept: KeptThumbnails, data: bytes) -> Callable[[str], bool]:
    return lambda name: kept.put(name, SMALL, data)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="?", default=Path("examples/photos"))
    parser.add_argument("--kept", type=int, default=100_000)
    asked = parser.parse_args()
    paths = sorted(path for path in asked.photos.rglob("*") if is_image_name(path.name))
    print(f"{len(paths)} photos, {cores()} cores")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "large").mkdir()
        kinds = {"as they are": paths, "12 megapixels": enlarged(paths, place / "large")}
        for kind, files in kinds.items():
            photos = [record(number, path) for number, path in enumerate(files)]
            for side in (SMALL, LARGE):
                make(kind, photos, side, place / f"{kind} {side}")
        many_kept(place / "many", asked.kept)


if __name__ == "__main__":
    main()
