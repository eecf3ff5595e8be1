"""Counting what photos say by columns that lie in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.facets import Facets
from clipsearch.index.filter_arrays import Columns, Rows
from clipsearch.index.filters import Field

_TEXTS: dict[str, Field] = {
    **{"cameras": "camera", "lenses": "lens", "places": "place", "types": "format"},
}
_PER_MONTH = 10**8  # of a moment as a number of 14 digits


class TaggedColumns(Columns, Protocol):
    """Columns that know the tags of photos."""

    def tag_counts(self, rows: Rows | None) -> Iterable[tuple[str, int]]:
        """Return each tag with how many of some photos (None: all) have it."""


def counted(columns: TaggedColumns, rows: Rows | None, roots: Sequence[str]) -> Facets:
    """Return the facets of the photos (n,) that pass (None: all).

    `roots` are the paths of the folders that were indexed.
    """
    codes, folders = columns.coded("folder")
    direct = _numbers_of(codes, rows, len(folders))
    moments = columns.moments() if rows is None else columns.moments()[rows]
    months, of_month = _months(moments)
    counts: dict[str, Iterable[tuple[str, int]]] = {
        kind: _texts(columns, field, rows) for kind, field in _TEXTS.items()
    }
    counts["dates"] = zip(months, of_month, strict=True)
    lying_in = {folder or os.sep: count for folder, count in zip(folders, direct, strict=True)}
    counts["folders"] = _below(lying_in, roots)
    counts["tags"] = columns.tag_counts(rows)
    counts["orientations"] = _orientations(columns, rows)
    total = len(moments)
    return Facets.of(total, total - sum(of_month), counts)


def _texts(columns: Columns, field: Field, rows: Rows | None) -> Iterator[tuple[str, int]]:
    codes, texts = columns.coded(field)
    return zip(texts, _numbers_of(codes, rows, len(texts)), strict=True)


def _numbers_of(codes: NDArray[np.int32], rows: Rows | None, texts: int) -> list[int]:
    """Return of how many photos each text is; -1 is none."""
    some = codes if rows is None else codes[rows]
    numbers: list[int] = np.bincount(some + 1, minlength=texts + 1)[1:].tolist()
    return numbers


def _months(moments: NDArray[np.int64]) -> tuple[list[str], list[int]]:
    """Return the months of moments (n,), as text, and how many there are of each."""
    months = moments[moments >= 0] // _PER_MONTH
    if not len(months):
        return [], []
    # As months since the year nought, so that they lie closely together.
    since = months // 100 * 12 + months % 100 - 1
    first = int(since.min())
    numbers = np.bincount(since - first)
    held = np.flatnonzero(numbers)
    names = (divmod(first + int(month), 12) for month in held)
    return [f"{year:04}-{month + 1:02}" for year, month in names], numbers[held].tolist()


def _below(direct: Mapping[str, int], roots: Iterable[str]) -> list[tuple[str, int]]:
    """Return how many photos lie at or below roots, and folders that photos lie in, by path.

    `direct` says of each folder how many lie in it, without those below.
    """
    counts = dict.fromkeys([*roots, *(folder for folder, count in direct.items() if count)], 0)
    for folder, count in direct.items():
        if not count:
            continue
        at = folder
        while True:
            if at in counts:
                counts[at] += count
            if at == os.sep or os.sep not in at:
                break
            at = at.rpartition(os.sep)[0] or os.sep
    return list(counts.items())


def _orientations(columns: Columns, rows: Rows | None) -> Iterator[tuple[str, int]]:
    widths, heights = columns.numbers("width"), columns.numbers("height")
    if rows is not None:
        widths, heights = widths[rows], heights[rows]
    for name, found in (
        ("landscape", widths > heights),
        ("portrait", widths < heights),
        ("square", widths == heights),
    ):
        yield name, int(np.count_nonzero(found & (heights > 0)))
