"""What becomes of the odd pictures: `python -m benchmarks.odd_pictures FOLDER-OR-ARCHIVE...`."""

from __future__ import annotations

import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from clipsearch.errors import UnreadableImage
from clipsearch.image_opening import open_image


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


def main(places: list[str]) -> None:
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
    print("| kind | files | indexed | failed |\n| --- | ---: | ---: | ---: |")
    for kind in sorted(indexed | failed):
        print(f"| {kind} | {indexed[kind] + failed[kind]} | {indexed[kind]} | {failed[kind]} |")
    total = indexed.total(), failed.total()
    print(f"| all | {sum(total)} | {total[0]} | {total[1]} |")
    print("\n| reason | files |\n| --- | ---: |")
    for reason, count in reasons.most_common():
        print(f"| {reason} | {count} |")
    print(f"\nslowest: {slowest[1]}, {slowest[0]:.1f} s")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
