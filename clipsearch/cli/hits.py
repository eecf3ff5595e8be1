"""The photos found on standard output: a table for people, the rest for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING

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


def show_hits(hits: Sequence[Hit], shape: Shape) -> None:
    """Write the photos found."""
    if shape is Shape.JSON:
        write_out(b"".join(json_line(hit.to_dict()) for hit in hits))
    elif shape is Shape.PATHS:
        write_out(b"".join(os.fsencode(hit.path) + b"\n" for hit in hits))
    elif shape is Shape.PRINT0:
        write_out(b"".join(os.fsencode(hit.path) + b"\0" for hit in hits))
    elif sys.stdout.isatty():
        from clipsearch.cli.tables import print_hits

        print_hits(hits)
    else:
        write_rows(
            (hit.rank, f"{hit.score:.4f}", hit.path, dimensions(hit), hit.taken_at or "")
            for hit in hits
        )
