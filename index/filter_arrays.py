"""Filters applied to columns that lie in memory: which rows pass, as one array."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.filter_sql import EARTH_RADIUS, folded_folders, matches_name
from clipsearch.index.filters import (
    NUMBERS,
    And,
    Below,
    Compare,
    Field,
    Filter,
    Missing,
    Not,
    OneOf,
    Or,
    Within,
    fold,
)

Rows = NDArray[np.bool_]  # (n,), of each photo whether it passes

_MOST_COMPARED = 4  # texts: of more, a table is looked up sooner than each is compared with
_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    **{"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge},
    "=": operator.eq,
}


class Columns(Protocol):
    """What n photos say; every array has a row for each of them, in one order."""

    def __len__(self) -> int:
        """The number of photos."""

    def numbers(self, field: Field) -> NDArray[Any]:
        """Return a field of numbers; NaN for a photo that doesn't say."""

    def moments(self) -> NDArray[np.int64]:
        """Return the moments as numbers (see `moment_number`); -1 for a photo without."""

    def coded(self, field: Field) -> tuple[NDArray[np.int32], Sequence[str]]:
        """Return a field of texts as places in the list that comes with it, -1 for none.

        Of `folder` it is the path of the one that the photo lies in.
        """

    def named(self, part: str) -> Rows:
        """Tell which photos have a text, folded, in their file's folded name."""

    def at(self, path: str) -> int | None:
        """Return the row of the photo at a path, None if there is none."""

    def tagged(self, matches: Callable[[str], bool]) -> Rows:
        """Tell which photos have a tag whose folded name matches."""


def passing(tree: Filter, columns: Columns) -> Rows:
    """Tell which of the photos pass."""
    match tree:
        case And(parts):
            rows = np.ones(len(columns), np.bool_)
            return reduce(np.logical_and, (passing(part, columns) for part in parts), rows)
        case Or(parts):
            rows = np.zeros(len(columns), np.bool_)
            return reduce(np.logical_or, (passing(part, columns) for part in parts), rows)
        case Not(part):
            return ~passing(part, columns)
        case Compare(field, op, value):
            return _compared(columns, field, op, value)
        case OneOf(field, values):
            return _one_of(columns, field, values)
        case Below(path):
            return _below(columns, path)
        case Within():
            return _within(columns, tree)
        case Missing(field):
            return _missing(columns, field)


def moment_number(text: str) -> int:
    """Return a full moment as a number of 14 digits, which keeps the order."""
    return int("".join(filter(str.isdigit, text)))


def _compared(columns: Columns, field: Field, op: str, value: str | float) -> Rows:
    if isinstance(value, str):
        if field == "moment":
            moments = columns.moments()
            rows: Rows = _ORDER[op](moments, moment_number(value))
            return rows & (moments >= 0) if op in ("<", "<=") else rows
        text = fold(value)
        if field == "path":
            return columns.named(text)
        return _where_text(columns, field, lambda name: matches_name(name, op, text))
    compared: Rows = _ORDER[op](columns.numbers(field), value)
    return compared


def _one_of(columns: Columns, field: Field, values: Sequence[str | float]) -> Rows:
    if field == "moment":
        return np.isin(columns.moments(), [moment_number(str(value)) for value in values])
    if field in NUMBERS:
        return np.isin(columns.numbers(field), np.array(values, np.float64))
    texts = {fold(str(value)) for value in values}
    return _where_text(columns, field, texts.__contains__)


def _where_text(columns: Columns, field: Field, matches: Callable[[str], bool]) -> Rows:
    """Tell which photos say something that, folded, matches."""
    if field == "tag":
        return columns.tagged(matches)
    codes, texts = columns.coded(field)
    if field == "folder":
        return _chosen(codes, (any(map(matches, folded_folders(text))) for text in texts))
    return _chosen(codes, (matches(fold(text)) for text in texts))


def _chosen(codes: NDArray[np.int32], choice: Iterable[bool]) -> Rows:
    """Tell for which rows the text that they have is chosen; -1 is none."""
    table = np.append(np.fromiter(choice, np.bool_), False)
    chosen = np.flatnonzero(table)
    if len(chosen) > _MOST_COMPARED:
        return table.take(codes, mode="wrap")
    return reduce(np.logical_or, (codes == one for one in chosen), np.zeros(len(codes), np.bool_))


def _below(columns: Columns, path: str) -> Rows:
    codes, folders = columns.coded("folder")
    below = path.rstrip(os.sep) + os.sep
    rows = _chosen(codes, ((folder + os.sep).startswith(below) for folder in folders))
    itself = columns.at(path)
    if itself is not None:
        rows[itself] = True
    return rows


def _within(columns: Columns, place: Within) -> Rows:
    """Compare distances along the great circle, by the haversine formula (Sinnott 1984)."""
    latitudes, longitudes = columns.numbers("latitude"), columns.numbers("longitude")
    # What is farther north or south than that is out; the margin is for rounding.
    degrees = np.degrees(place.km / EARTH_RADIUS) * (1 + 1e-9) + 1e-9
    near = np.flatnonzero(np.abs(latitudes - place.latitude) <= degrees)
    here, there = np.radians(latitudes[near]), np.radians(place.latitude)
    apart = np.radians(longitudes[near] - place.longitude)
    half = np.sin((here - there) / 2) ** 2 + np.cos(here) * np.cos(there) * np.sin(apart / 2) ** 2
    rows = np.zeros(len(columns), np.bool_)
    rows[near] = 2 * EARTH_RADIUS * np.arcsin(np.minimum(1, np.sqrt(half))) <= place.km
    return rows


def _missing(columns: Columns, field: Field) -> Rows:
    if field in ("path", "folder"):
        return np.zeros(len(columns), np.bool_)
    if field == "moment":
        return columns.moments() < 0
    if field == "tag":
        return ~columns.tagged(lambda name: True)
    if field in NUMBERS:
        rows: Rows = np.isnan(columns.numbers(field))
        return rows
    return columns.coded(field)[0] < 0
