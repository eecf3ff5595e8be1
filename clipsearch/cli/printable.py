"""Text that a terminal shows and does not obey, and paths as short as they can be said."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.harmless import printable as printable

if TYPE_CHECKING:
    from datetime import datetime

    from clipsearch.results import Hit


def short_path(path: Path) -> str:
    """Return the path as seen from here or from home where that is shorter."""
    said = [str(path)]
    for folder, prefix in ((_found(Path.cwd), ""), (_found(Path.home), f"~{os.sep}")):
        if folder and path.is_relative_to(folder):
            said.append(prefix + str(path.relative_to(folder)))
    return min(said, key=len)


def _found(folder: Callable[[], Path]) -> Path | None:
    try:
        return folder()
    except (OSError, RuntimeError):  # the working folder was removed; a user without a home
        return None


def size_in_words(count: int) -> str:
    """Return a number of bytes for people: 512 B, 1.5 kB, 38 MB."""
    units = ("B", "kB", "MB", "GB", "TB")
    thousands = min((len(str(max(count, 1))) - 1) // 3, len(units) - 1)
    size = count / 1000**thousands
    digits = 1 if thousands and size < 10 else 0
    return f"{size:.{digits}f} {units[thousands]}"


def ago(since: datetime, now: datetime) -> str:
    """Return how long ago something was, for people; the day for what is two weeks past."""
    seconds = int((now - since).total_seconds())
    for length, unit in ((86400, "day"), (3600, "h"), (60, "min"), (1, "s")):
        count = seconds // length
        if count >= 14 and unit == "day":
            return f"on {since.date()}"
        if count >= 1:
            return f"{shown_count(count, unit) if unit == 'day' else f'{count} {unit}'} ago"
    return "just now"


def shown_count(count: int, thing: str) -> str:
    """Return `1 photo`, `2 photos`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def dimensions(hit: Hit) -> str:
    """Return width and height in pixels, as `800x600`."""
    return f"{hit.width}x{hit.height}"
