"""The columns of a photo's row in the catalog, all taken from one list: `PhotoMetadata`'s fields.

A new column is a field there, at the end and with a default, and a step in migrations.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from types import NoneType
from typing import get_args, get_type_hints

from clipsearch.index.records import PhotoMetadata

_SQL = {int: "INTEGER", str: "TEXT", float: "REAL"}


@dataclass(frozen=True)
class Column:
    """A column, and what it may hold."""

    name: str
    kind: type  # int, str or float
    optional: bool  # a photo can be without it

    @property
    def sql(self) -> str:
        """The type as SQL writes it."""
        return _SQL[self.kind] + ("" if self.optional else " NOT NULL")


def _columns() -> tuple[Column, ...]:
    found = []
    for name, hint in get_type_hints(PhotoMetadata).items():
        kinds = get_args(hint) or (hint,)
        found.append(Column(name, kinds[0], NoneType in kinds))
    assert [column.name for column in found] == [field.name for field in fields(PhotoMetadata)]
    return tuple(found)


METADATA = _columns()
FILE = ("path", "size", "mtime_ns")  # of the file, whatever it holds
CONTENT = ("content_hash", *(column.name for column in METADATA))  # same bytes have the same
ALL = ("id", *FILE, *CONTENT, "indexed_at")
# Text that a repair may take out of a row: what is left is still the photo.
DISPENSABLE = tuple(column.name for column in METADATA if column.optional and column.kind is str)
