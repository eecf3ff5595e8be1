"""Filters as a condition in SQL on the table of photos, and what that needs of SQLite.

Every condition is 0 or 1, never NULL, so that NOT is plain negation. Values go as parameters.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from clipsearch.index.filters import (
    NUMBERS,
    TEXTS,
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
from clipsearch.index.photo_columns import NAMELESS

EARTH_RADIUS = 6371.0088  # km, the mean of the WGS 84 ellipsoid
_MOMENTS = 5  # the schema that brought moments, places and tags

# To the second, a day alone as its midnight; see filters.full_moment.
_MOMENT = "substr({0} || substr('0001-01-01T00:00:00', length({0}) + 1), 1, 19)"
_HAS_TAG = (
    "(photos.id IN (SELECT photo_id FROM photo_tags "
    "WHERE tag_id IN (SELECT id FROM tags WHERE {})))"
)


class Condition(NamedTuple):
    """SQL that is 0 or 1 for each row of `photos`, and its parameters."""

    sql: str
    parameters: tuple[Any, ...] = ()


_ALWAYS, _NEVER = Condition("1"), Condition("0")


def condition(tree: Filter, schema: int) -> Condition:
    """Return the condition that photos pass, in a catalog of this schema."""
    match tree:
        case And(parts):
            return _joined([condition(part, schema) for part in parts], "AND", _ALWAYS)
        case Or(parts):
            return _joined([condition(part, schema) for part in parts], "OR", _NEVER)
        case Not(part):
            inner = condition(part, schema)
            return Condition(f"NOT {inner.sql}", inner.parameters)
        case Compare(field, op, value):
            return _comparison(field, op, value, schema)
        case OneOf(field, values):
            return _one_of(field, values, schema)
        case Below(path):
            first = path.rstrip(os.sep) + os.sep
            end = first[: -len(os.sep)] + chr(ord(os.sep) + 1)
            sql = "(photos.path = ? OR (photos.path >= ? AND photos.path < ?))"
            return Condition(sql, (path, first, end))
        case Within(latitude, longitude, km):
            sql = "coalesce(clip_km(photos.latitude, photos.longitude, ?, ?) <= ?, 0)"
            return Condition(sql, (latitude, longitude, km))
        case Missing(field):
            return _missing(field, schema)


def _joined(parts: Sequence[Condition], word: str, none: Condition) -> Condition:
    """Join conditions by halves: SQLite's expressions may be nested a thousand deep."""
    if not parts:
        return none
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    left, right = _joined(parts[:middle], word, none), _joined(parts[middle:], word, none)
    return Condition(f"({left.sql} {word} {right.sql})", left.parameters + right.parameters)


def _comparison(field: Field, op: str, value: str | float, schema: int) -> Condition:
    if isinstance(value, str) and field != "moment":
        value = fold(value)
    if field == "folder":
        return Condition("clip_in_folder(photos.path, ?, ?)", (op, value))
    test = "instr({}, ?) > 0" if op == "has" else f"{{}} {op} ?"
    return _tested(field, test, (value,), schema)


def _one_of(field: Field, values: Sequence[str | float], schema: int) -> Condition:
    if field == "folder":
        return _joined([_comparison(field, "=", value, schema) for value in values], "OR", _NEVER)
    if field not in NUMBERS and field != "moment":
        values = [fold(str(value)) for value in values]
    return _tested(field, f"{{}} IN ({', '.join('?' * len(values))})", values, schema)


def _tested(field: Field, test: str, values: Sequence[str | float], schema: int) -> Condition:
    """Return whether what a photo says passes a test, in which it stands for the braces."""
    if field == "tag":
        return _tagged(test.format("clip_fold(tags.name)"), values, schema)
    return Condition(f"coalesce({test.format(_column(field, schema))}, 0)", tuple(values))


def has_tags(schema: int) -> bool:
    """Tell whether a catalog of this schema has tables of tags."""
    return schema >= _MOMENTS


def _tagged(test: str, values: Sequence[str | float], schema: int) -> Condition:
    return Condition(_HAS_TAG.format(test), tuple(values)) if has_tags(schema) else _NEVER


def _missing(field: Field, schema: int) -> Condition:
    if field in ("path", "folder"):
        return _NEVER
    if field == "tag":
        return Condition(f"NOT {_tagged('1', (), schema).sql}")
    return Condition(f"({_column(field, schema)} IS NULL)")


def _column(field: Field, schema: int) -> str:
    """Return what a photo says, NULL if nothing; text is folded."""
    match field:
        case "path":
            return "clip_name(photos.path)"
        case "aspect":
            return "(photos.width * 1.0 / nullif(photos.height, 0))"
    plain = stored(field, schema)
    return f"clip_fold({plain})" if field in TEXTS else plain


def stored(field: str, schema: int) -> str:
    """Return what a photo says, as it is stored; moments in full."""
    if field == "moment":
        return _MOMENT.format("photos.taken_at" if schema < _MOMENTS else "photos.moment")
    if field == "place" and schema < _MOMENTS:
        return "NULL"
    return f"nullif(photos.place, '{NAMELESS}')" if field == "place" else f"photos.{field}"


def add_functions(connection: sqlite3.Connection) -> None:
    """Give a connection the functions that conditions call."""
    for name, count, function in (
        ("clip_fold", 1, _folded),
        ("clip_name", 1, folded_name),
        ("clip_in_folder", 3, _in_folder),
        ("clip_km", 4, _km),
    ):
        connection.create_function(name, count, function, deterministic=True)


@lru_cache(maxsize=4096)
def _folded(text: str | None) -> str | None:
    return None if text is None else fold(text)


def folded_name(path: str) -> str:
    """Return the name of a file as `has` looks into it."""
    return fold(path.rpartition(os.sep)[2])


def _in_folder(path: str, op: str, value: str) -> bool:
    return any(matches_name(name, op, value) for name in folded_folders(path.rpartition(os.sep)[0]))


@lru_cache(maxsize=1 << 16)
def folded_folders(folder: str) -> tuple[str, ...]:
    """Return the names of a folder and those that it lies in, folded."""
    return tuple(fold(name) for name in folder.split(os.sep) if name)  # noqa: PTH206 (a text, not a path)


def matches_name(name: str, op: str, value: str) -> bool:
    """Tell whether a folded text is the value, or has it."""
    return value in name if op == "has" else name == value


def _km(
    latitude: float | None, longitude: float | None, from_latitude: float, from_longitude: float
) -> float | None:
    """Return the distance along the great circle, by the haversine formula (Sinnott 1984)."""
    if latitude is None or longitude is None:
        return None
    here, there = math.radians(latitude), math.radians(from_latitude)
    apart = math.radians(longitude - from_longitude)
    half = (
        math.sin((here - there) / 2) ** 2
        + math.cos(here) * math.cos(there) * math.sin(apart / 2) ** 2
    )
    return 2 * EARTH_RADIUS * math.asin(min(1.0, math.sqrt(half)))
