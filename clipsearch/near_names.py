"""What somebody most likely meant who wrote a name that there is not."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

_LOOKED_AT = 5000  # names in a folder: more would take longer than an answer may
_MUCH_ALIKE = 0.7  # of 1, as difflib measures; for files, whose names often differ in a digit


def near_name(name: str, known: Iterable[str]) -> str | None:
    """Return the one of the known names that is most like this one, if any is."""
    from difflib import get_close_matches

    by_lower = {one.lower(): one for one in known}
    close = get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[close[0]] if close else None


def near_path(path: Path) -> Path | None:
    """Return the file or folder whose name is most like that of a path that is not there.

    It lies in the same folder; if that is not there either, in the one whose name is most like it.
    """
    folder = path.parent
    if not folder.is_dir():
        near_folder = near_path(folder) if folder != path else None
        if near_folder is None or not near_folder.is_dir():
            return None
        folder = near_folder
        if (folder / path.name).exists():
            return folder / path.name
    near = _near_file(path.name, folder)
    return folder / near if near else None


def _near_file(name: str, folder: Path) -> str | None:
    from difflib import get_close_matches

    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, _LOOKED_AT)]
    except OSError:  # it may not be looked into
        return None
    by_lower = {one.lower(): one for one in sorted(names)}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=_MUCH_ALIKE)
    return by_lower[close[0]] if close else None


def did_you_mean(near: object) -> str:
    """Return the hint at the end of a message; nothing where nothing is near."""
    return "" if near is None else f"; did you mean {near}?"
