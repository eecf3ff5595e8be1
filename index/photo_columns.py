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
MOMENT = ("moment", "moment_from")  # of what the photo says, or the name of its file
ALL = ("id", *FILE, *CONTENT, "indexed_at", *MOMENT)
NAMELESS = ""  # in the column `place`, for one that was looked for in vain
# What a catalog of an older schema lacks, and what stands for it there.
SINCE_5 = {"perceptual_hash": "NULL", "place": "NULL", "facts": "0"} | dict.fromkeys(MOMENT, "NULL")


def selected(schema: int) -> str:
    """Return ALL for a SELECT from a catalog of this schema."""
    return ", ".join(SINCE_5[name] if _is_newer(name, schema) else name for name in ALL)


def dispensable(schema: int) -> tuple[str, ...]:
    """Return the columns of text that a repair may empty: what is left is still the photo."""
    texts = (column.name for column in METADATA if column.optional and column.kind is str)
    return tuple(name for name in (*texts, *MOMENT) if not _is_newer(name, schema))


def _is_newer(name: str, schema: int) -> bool:
    return schema < 5 and name in SINCE_5
