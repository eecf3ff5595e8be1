"""Find photos for many captions at once, and write what was found as a table.

    python examples/batch_retrieval.py LIBRARY CAPTIONS.txt [TABLE.csv]

CAPTIONS.txt has one caption a line. The captions go through the text tower in one pass and are
searched for together; each row of the table is one photo for one caption.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from clipsearch import Library, SearchOptions


def retrieve(library: Library, captions: Sequence[str], file: Path, *, k: int = 5) -> None:
    """Write the k best photos of each caption as rows of a CSV file."""
    found = library.query_batch(captions, SearchOptions(k=k), text=True)  # none is a path
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["caption", "rank", "score", "photo"])
        for caption, hits in zip(captions, found, strict=True):
            table.writerows([caption, hit.rank, f"{hit.score:.4f}", hit.source] for hit in hits)


def main() -> None:
    """Read the command line."""
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    captions = [line.strip() for line in Path(sys.argv[2]).read_text("utf-8").splitlines()]
    table = Path(sys.argv[3] if len(sys.argv) == 4 else "found.csv")
    with Library(sys.argv[1], create=False, read_only=True) as library:
        retrieve(library, [caption for caption in captions if caption], table)
    print(f"written: {table}")


if __name__ == "__main__":
    main()
