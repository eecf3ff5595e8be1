"""The photos found on standard output: a table for people, the rest for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from clipsearch.cli.output import json_line, write_out, write_rows
from clipsearch.cli.printable import dimensions

if TYPE_CHECKING:
    from clipsearch.results import Hit


class Shape(Enum):
    """How results are written."""

    TABLE = "a table for people, tab-separated lines when piped"
    JSON = "one JSON object a line"
    PATHS = "paths, one a line"
    PRINT0 = "paths, each ended by a NUL byte"


# What --fields may name: of a hit in JSON.
FIELDS = (
    *("rank", "score", "path", "id", "width", "height", "format", "size"),
    *("taken_at", "camera", "lens", "latitude", "longitude", "content_hash"),
)


def show_hits(hits: Sequence[Hit], shape: Shape, fields: Sequence[str] = ()) -> None:
    """Write the photos found; if fields are named, those alone."""
    if shape is Shape.JSON:
        write_out(b"".join(json_line(named(hit, fields)) for hit in hits))
    elif fields:
        write_rows(_cells(hit, fields) for hit in hits)
    elif shape is Shape.PATHS:
        write_out(b"".join(os.fsencode(hit.path) + b"\n" for hit in hits))
    elif shape is Shape.PRINT0:
        write_out(b"".join(os.fsencode(hit.path) + b"\0" for hit in hits))
    elif sys.stdout.isatty():
        from clipsearch.cli.tables import print_hits

        print_hits(hits)
    else:
        write_rows(
            (hit.rank, _score(hit), hit.path, dimensions(hit), hit.taken_text or "") for hit in hits
        )


def _score(hit: Hit) -> str:
    """Return the cosine; nothing for a photo that no question found."""
    return f"{hit.score:.4f}" if hit.why else ""


def named(hit: Hit, fields: Sequence[str]) -> dict[str, Any]:
    """Return a hit as JSON has it; if fields are named, those alone."""
    found = hit.to_dict()
    if not fields:
        return found
    bytes_too = {"path_bytes"} & found.keys() if "path" in fields else ()
    return {name: found[name] for name in (*fields, *bytes_too)}


def _cells(hit: Hit, fields: Sequence[str]) -> list[object]:
    found = {**hit.to_dict(), "score": _score(hit), "path": hit.path}
    return ["" if found[name] is None else found[name] for name in fields]
