"""Claim: what Pillow and pillow-heif show of their own test files is shown, and nothing else.

python -m benchmarks.odd_pictures FOLDER-OR-ARCHIVE...

Says what becomes of each file, and where plain RGB has other pixels than those libraries give; the
exit code is then 1. The same is tested with pictures made for it in
tests/photos/test_odd_pictures.py.
"""

from __future__ import annotations

import io
import sys
import tarfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageOps

from clipsearch.errors import UnreadableImage
from clipsearch.photos.opening import open_image


def contents(place: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and bytes of each file in a folder or tar archive."""
    if place.is_dir():
        for path in sorted(path for path in place.rglob("*") if path.is_file()):
            yield str(path.relative_to(place)), path.read_bytes()
        return
    with tarfile.open(place) as tar:
        for member in tar:
            if (stream := tar.extractfile(member)) is not None:
                yield member.name, stream.read()


def kind_of(name: str) -> str:
    return Path(name).suffix.lower().lstrip(".") or "none"


STRICTER = {"truncated.heic"}  # libheif shows it, and green where parts are missing
# One byte of the last marker is missing; a colour profile is damaged. Every pixel is there.
MORE_TOLERANT = {"truncated_jpeg.jpg", "unknown_compression_method.png"}


def plain(data: bytes) -> Image.Image | None:
    """Return what Pillow or pillow-heif alone make of the bytes."""
    try:
        if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1"):
            try:
                return pillow_heif.open_heif(data).to_pillow()
            except (ValueError, OSError, RuntimeError, SyntaxError):
                pass  # perhaps an AVIF
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def disagreement(name: str, data: bytes) -> str | None:
    """Say in what the program and the libraries alone differ over a file."""
    theirs = plain(data)
    try:
        ours = open_image(data)
    except UnreadableImage as error:
        stricter = Path(name).name in STRICTER or "see --max-megapixels" in str(error)
        return None if theirs is None or stricter else f"not shown: {error}"
    if theirs is None:
        return None if Path(name).name in MORE_TOLERANT else "shown by this program alone"
    if theirs.mode != "RGB" or theirs.info.keys() & {"transparency", "icc_profile"}:
        return None
    if ours.metadata.format != "HEIF":  # libheif has turned it already
        theirs = ImageOps.exif_transpose(theirs)
    return None if np.array_equal(np.asarray(ours.image), np.asarray(theirs)) else "other pixels"


def main(places: list[str]) -> int:
    """Print what becomes of the files; return the exit code."""
    warnings.simplefilter("ignore")
    differing: list[str] = []
    indexed: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    slowest = (0.0, "")
    for place in places:
        for name, data in contents(Path(place)):
            start = time.perf_counter()
            try:
                open_image(data, shrink_to=224)
                indexed[kind_of(name)] += 1
            except UnreadableImage as error:
                failed[kind_of(name)] += 1
                reasons[str(error)] += 1
            slowest = max(slowest, (time.perf_counter() - start, name))
            if difference := disagreement(name, data):
                differing.append(f"{name}: {difference}")
    print("| kind | files | indexed | failed |\n| --- | ---: | ---: | ---: |")
    for kind in sorted(indexed | failed):
        print(f"| {kind} | {indexed[kind] + failed[kind]} | {indexed[kind]} | {failed[kind]} |")
    total = indexed.total(), failed.total()
    print(f"| all | {sum(total)} | {total[0]} | {total[1]} |")
    print("\n| reason | files |\n| --- | ---: |")
    for reason, count in reasons.most_common():
        print(f"| {reason} | {count} |")
    print(f"\nslowest: {slowest[1]}, {slowest[0]:.1f} s")
    print("\n".join(["", f"other than plain Pillow: {len(differing)}", *differing]))
    return 1 if differing else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
