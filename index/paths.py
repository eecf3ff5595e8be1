"""Paths, and other text that may hold undecodable bytes, as text that SQLite can hold.

SQLite wants UTF-8; a file name is bytes. Each byte 0xNN that is not UTF-8 is written as the
private-use character U+EFNN. Text that really contains such a character has its UTF-8 bytes
written in the same way, so no two paths share a text.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from clipsearch.errors import LibraryDamaged

_TO_ESCAPE = re.compile("[\udc80-\udcff\uef80-\uefff]")  # surrogateescape, and our own range
_ESCAPED = re.compile("[\uef80-\uefff]+")
_FEW = 50  # roots; SQLite allows a thousand parameters


def to_text(path: Path) -> str:
    """Return the text under which `path` stands in the catalog."""
    return escape(str(path))


def to_path(text: str) -> Path:
    """Return the path that `to_text` wrote as `text`."""
    return Path(unescape(text))


def escape(text: str) -> str:
    """Return text that is valid UTF-8, from text in which Python marks bytes that were not."""
    return text if text.isascii() else _TO_ESCAPE.sub(_escape, text)


def unescape(text: object) -> str:
    """Return the text that `escape` was given; LibraryDamaged for what is none."""
    if not isinstance(text, str):  # a damaged catalog: SQLite checks values when they are written
        raise LibraryDamaged(
            "the catalog is damaged (a path, name or reason in it is no text); "
            "`clipsearch check --repair` mends what can be mended"
        )
    if text.isascii() or not _ESCAPED.search(text):
        return text
    raw = _ESCAPED.sub(_unescape, text)  # escaped bytes are marked as Python marks them now
    return raw.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def text_range_below(folder: Path) -> tuple[str, str]:
    """Return (first, end): the texts of all paths below `folder` are >= first and < end."""
    first = to_text(folder).rstrip(os.sep) + os.sep
    return first, first[:-1] + chr(ord(os.sep) + 1)


def at_or_below(table: str, roots: Iterable[Path]) -> tuple[str, list[str]]:
    """Return an SQL condition on the column `path` of a table, for any number of roots."""
    places = [(to_text(root), *text_range_below(root)) for root in roots]
    if 0 < len(places) <= _FEW:  # takes half the time of the other
        single = "path = ? OR (path >= ? AND path < ?)"
        return f"({' OR '.join([single] * len(places))})", [*chain.from_iterable(places)]
    texts = json.dumps(places)
    where = (
        "path IN (SELECT other.path FROM json_each(?) AS root "
        f"JOIN {table} AS other ON other.path = json_extract(root.value, '$[0]') "
        "UNION SELECT other.path FROM json_each(?) AS root "
        f"JOIN {table} AS other ON other.path >= json_extract(root.value, '$[1]') "
        "AND other.path < json_extract(root.value, '$[2]'))"
    )
    return where, [texts, texts]


def _escape(match: re.Match[str]) -> str:
    raw = match.group().encode("utf-8", "surrogateescape")
    return "".join(chr(0xEF00 + byte) for byte in raw)


def _unescape(match: re.Match[str]) -> str:
    return "".join(chr(ord(character) - 0xEF00 + 0xDC00) for character in match.group())
