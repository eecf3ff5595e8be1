"""Standard output: lines, JSON and raw bytes, safe for terminals and closed pipes."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clipsearch.cli.ending import BROKEN_PIPE
from clipsearch.cli.printable import printable
from clipsearch.errors import ClipsearchError

# json.dumps escapes the lower control characters only; some terminals obey these as well. And half
# a character, as Python reads a byte of a file's name that is no UTF-8, can't be written as it is.
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def write_rows(rows: Iterable[Iterable[object]]) -> None:
    """Write tab-separated lines; tabs and newlines in a cell become escapes."""
    lines = ("\t".join(printable(str(cell)) for cell in row) for row in rows)
    write_text("\n".join(lines))


def write_csv(headings: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write comma-separated values as RFC 4180 has them, a line of headings first.

    A spreadsheet computes what begins like a formula: text that does gets an apostrophe before it.
    Control characters become escapes, as of `write_rows`.
    """
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(headings)
    writer.writerows([_csv_cell(cell) for cell in row] for row in rows)
    write_out(text.getvalue().encode())


def _csv_cell(cell: object) -> object:
    if isinstance(cell, (int, float)):
        return cell
    text = printable(str(cell))
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def write_text(text: str) -> None:
    """Write lines of text that is safe for a terminal; no text writes nothing."""
    if text:
        write_out(f"{text}\n".encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


def write_names(parts: Iterable[bytes], end: bytes) -> None:
    """Write what programs are to read byte by byte, each part followed by `end`.

    On a terminal, which would obey the control characters in a name, they become escapes.
    """
    if sys.stdout.isatty():
        parts = (printable(os.fsdecode(part)).encode() for part in parts)
    write_out(b"".join(part + end for part in parts))


def write_json(fields: Mapping[str, Any]) -> None:
    """Write one JSON object on one line."""
    write_out(json_line(fields))


def json_line(fields: Mapping[str, Any]) -> bytes:
    """Return one JSON object as a line of UTF-8 without control characters."""
    text = json.dumps(fields, ensure_ascii=False, allow_nan=False)
    safe = _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
    return safe.encode() + b"\n"


def write_out(data: bytes) -> None:
    """Write bytes to standard output; end quietly when the reader has gone (`| head`)."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # What is left in the buffer must not raise again when Python closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except OSError as error:
        raise ClipsearchError(f"can't write the results: {error.strerror or error}") from error
