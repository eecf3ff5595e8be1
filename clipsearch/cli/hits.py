"""The photos found on standard output: a table for people, the rest for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from clipsearch.cli.output import json_line, write_csv, write_names, write_out, write_rows
from clipsearch.cli.printable import dimensions

if TYPE_CHECKING:
    from clipsearch.results import Hit


class Shape(Enum):
    """How results are written."""

    TABLE = "a table for people, tab-separated lines when piped"
    JSON = "one JSON object a line"
    PATHS = "paths, one a line"
    CSV = "comma-separated values, for spreadsheets"
    PRINT0 = "paths, each ended by a NUL byte"


# What --fields may name: of a hit in JSON.
FIELDS = (
    *("rank", "score", "path", "id", "width", "height", "format", "size"),
    *("taken_at", "camera", "lens", "latitude", "longitude", "content_hash"),
    *(
        "relevance",
        "strength",
        "why",
        "matched",
        "alike",
        "behind",
        "place",
        "tags",
        "moment",
        "moment_from",
    ),
)


def show_hits(
    hits: Sequence[Hit],
    shape: Shape,
    fields: Sequence[str] = (),
    *,
    thumbnails: bool | None = None,
) -> None:
    """Write the photos found; if fields are named, those alone.

    Thumbnails (None: where the terminal draws pictures) come only with the table for people.
    """
    if shape is Shape.JSON:
        write_out(b"".join(json_line(named(hit, fields)) for hit in hits))
    elif shape is Shape.CSV:
        named_fields = fields or FIELDS
        write_csv(named_fields, (_cells(hit, named_fields) for hit in hits))
    elif fields:
        write_rows(_cells(hit, fields) for hit in hits)
    elif shape is Shape.PATHS:
        write_names((os.fsencode(hit.path) for hit in hits), b"\n")
    elif shape is Shape.PRINT0:
        write_names((os.fsencode(hit.path) for hit in hits), b"\0")
    elif sys.stdout.isatty():
        _show_people(hits, thumbnails)
    else:
        write_rows(
            (hit.rank, _score(hit), hit.path, dimensions(hit), hit.taken_text or "") for hit in hits
        )


def _score(hit: Hit) -> str:
    """Return the cosine; nothing for a photo that no question found."""
    return f"{hit.score:.4f}" if hit.why else ""


def _show_people(hits: Sequence[Hit], thumbnails: bool | None) -> None:
    from clipsearch.cli.seeing.terminals import has_room, way_here

    way = way_here(thumbnails)
    if way is not None and has_room():
        from clipsearch.cli.seeing.cards import show_cards

        show_cards(hits, way)
    else:
        from clipsearch.cli.seeing.table import show_table_of

        show_table_of(hits)


def named(hit: Hit, fields: Sequence[str]) -> dict[str, Any]:
    """Return a hit as JSON has it; if fields are named, those alone."""
    found = hit.to_dict()
    if not fields:
        return found
    bytes_too = {"path_bytes"} & found.keys() if "path" in fields else ()
    return {name: found[name] for name in (*fields, *bytes_too)}


def _cells(hit: Hit, fields: Sequence[str]) -> list[object]:
    found = {**hit.to_dict(), "score": _score(hit), "path": hit.path}
    return [_cell(found[name]) for name in fields]


def _cell(value: object) -> object:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else value
