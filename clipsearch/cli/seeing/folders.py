"""The photos found as files in a folder: copies or links, named so that their order is kept."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.errors import InvalidInput

if TYPE_CHECKING:
    from clipsearch.results import Hit

_LONGEST_NAME = 255  # bytes, as most systems have it


class NotPut(Exception):
    """A photo was not put where it was to go; the message says why."""


def put(
    hits: Sequence[Hit], folder: Path, place: Callable[[Path, Path], None]
) -> tuple[int, list[str]]:
    """Copy or link photos into a folder, made if missing; what is there already stays as it is.

    Returns how many were put there, and a line for each that could not be. Raises InvalidInput
    where there can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"can't make the folder {folder}: {_why(error)}") from error
    digits = max(2, *(len(str(hit.rank)) for hit in hits)) if hits else 2
    done, failed = 0, []
    for hit in hits:
        try:
            place(hit.path, folder / ranked_name(hit, digits))
        except (OSError, NotPut) as error:
            why = "there is one of that name already" if _is_there(error) else _why(error)
            failed.append(f"{hit.path}: {why}")
        else:
            done += 1
    return done, failed


def ranked_name(hit: Hit, digits: int) -> str:
    """Return a photo's name behind its rank, shortened before the suffix where it is too long."""
    path = hit.path
    rank = f"{hit.rank:0{digits}}-"
    stem, suffix = os.fsencode(path.stem), os.fsencode(path.suffix)
    room = _LONGEST_NAME - len(rank) - len(suffix)
    if len(stem) > room:
        stem = os.fsencode(stem[:room].decode("utf-8", "ignore"))
    return rank + os.fsdecode(stem + suffix)


def copy(source: Path, target: Path) -> None:
    """Copy a file with its times, whole or not at all, to where none is."""
    if not stat.S_ISREG(source.stat().st_mode):
        raise NotPut("no file")
    with source.open("rb") as reader, target.open("xb") as writer:
        try:
            shutil.copyfileobj(reader, writer, 1 << 20)
        except BaseException:
            with suppress(OSError):
                target.unlink()
            raise
    with suppress(OSError):  # not every file system keeps times
        shutil.copystat(source, target)


def link(source: Path, target: Path) -> None:
    """Make a symbolic link to a file where nothing is."""
    if not source.exists():
        raise NotPut("no such file: it may have been moved or deleted")
    target.symlink_to(source)


def _is_there(error: Exception) -> bool:
    return isinstance(error, FileExistsError)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
