"""The columns of a photo's row in the catalog, all taken from one list: `PhotoMetadata`'s fields.

A new column is a field there, at the end and with a default, and a step in migrations.
"""

from __future__ import annotations

from dataclasses import fields
from typing import NamedTuple

from clipsearch.index.records import PhotoMetadata

_KINDS: dict[str, type] = {"int": int, "str": str, "float": float}
_SQL = {int: "INTEGER", str: "TEXT", float: "REAL"}


class Column(NamedTuple):
    """A column, and what it may hold."""

    name: str
    kind: type  # int, str or float
    optional: bool  # a photo can be without it

    @property
    def sql(self) -> str:
        """The type as SQL writes it."""
        return _SQL[self.kind] + ("" if self.optional else " NOT NULL")


def _column(name: str, hint: str) -> Column:
    """Return the column of a field; typing would take longer to say what its type is."""
    kind = hint.removesuffix(" | None")
    return Column(name, _KINDS[kind], optional=kind != hint)


METADATA = tuple(_column(field.name, str(field.type)) for field in fields(PhotoMetadata))
FILE = ("path", "size", "mtime_ns")  # of the file, whatever it holds
CONTENT = ("content_hash", *(column.name for column in METADATA))  # same bytes have the same
ALL = ("id", *FILE, *CONTENT, "indexed_at")
# Text that a repair may take out of a row: what is left is still the photo.
DISPENSABLE = tuple(column.name for column in METADATA if column.optional and column.kind is str)
