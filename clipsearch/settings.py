"""Where a library lies when nobody says, and what a path that somebody gives stands for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from clipsearch.arguments import as_list, file_path, shown
from clipsearch.errors import InvalidInput

# A path has one slash where an address has two.
_AT_AN_ADDRESS = re.compile(r"https?://?[^/]", re.IGNORECASE)
LIBRARY_VARIABLE = "CLIPSEARCH_LIBRARY"
_left_behind = False  # whether `leave_a_deleted_folder` had to


def library_folder(folder: str | Path | None) -> Path:
    """Return the library's folder: as given, else CLIPSEARCH_LIBRARY, else the user data folder.

    A variable that is empty counts as not set. Raises InvalidInput for an empty `folder`, and for
    a user without a home.
    """
    chosen = folder if folder is not None else os.environ.get(LIBRARY_VARIABLE) or None
    if chosen is None:
        folder = _own("user_data_path")
        if folder is None:
            raise InvalidInput(
                f"this user has no home folder: say with --library or {LIBRARY_VARIABLE} where the "
                "library lies"
            )
        return folder / "library"
    if _AT_AN_ADDRESS.match(os.fspath(chosen) if isinstance(chosen, os.PathLike | str) else ""):
        raise InvalidInput(
            f"{shown(str(chosen))} is no folder: `Library.open` in Python opens a library at an "
            "address"
        )
    return absolute(chosen)


def cache_folder() -> Path | None:
    """Return the folder for what can be made anew; None for a user without a home."""
    return _own("user_cache_path")


def _own(kind: str) -> Path | None:
    import platformdirs

    try:
        folder: Path = getattr(platformdirs, kind)("clipsearch", appauthor=False)
    except RuntimeError:  # no home; older versions give a path with ~ in it
        return None
    return folder if folder.is_absolute() else None


def given_path(path: str | Path) -> Path:
    """Return the path that somebody gave, `~` replaced; InvalidInput for what can't be meant.

    An empty text most often comes of a variable that is not set, and never means the current
    folder; `Path("")` does, for it is equal to `Path(".")`.
    """
    given = file_path(path)
    if not os.fspath(path) or os.fspath(path).isspace():
        raise InvalidInput("a path is empty: is a variable not set? . is the current folder")
    return expanded(given)


def absolute(path: str | Path) -> Path:
    """Return the path made absolute and free of `..`, links kept as the user named them.

    Each file has one such path: two slashes at the start, of which POSIX says nothing, are one.
    Raises InvalidInput as `given_path`, and for a relative path where the current folder was
    deleted.
    """
    text = os.path.normpath(from_here(given_path(path)))  # resolve() would follow links
    return Path(text[1:] if os.name == "posix" and text.startswith("//") else text)


def absolute_paths(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return `absolute` of each path, or of the one; raises InvalidInput if one can't be meant."""
    return [absolute(path) for path in as_list(paths)]


def from_here(path: str | Path) -> Path:
    """Return the path made absolute, otherwise as it is; raises InvalidInput as `absolute` does."""
    path = expanded(path)
    if not path.is_absolute() and (_left_behind or current_folder_is_gone()):
        raise InvalidInput(
            f"can't tell where {path} is: the current folder was deleted; go to another one, or "
            "write paths that begin with /"
        )
    return path.absolute()


def current_folder_is_gone() -> bool:
    """Tell whether the folder that this process is in was deleted."""
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return True
    return False


def leave_a_deleted_folder() -> None:
    """Go elsewhere if the current folder was deleted: much of what is imported needs one.

    Relative paths mean nothing from then on. Below /proc nothing is found by what a person may
    have named, and nothing can be made.
    """
    global _left_behind
    if current_folder_is_gone():
        _left_behind = True
        os.chdir("/proc/self/task" if os.path.isdir("/proc/self/task") else "/")  # noqa: PTH112


def expanded(path: str | Path) -> Path:
    """Return the path with the home folder for ~; as it is where there is no such user or home."""
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:
        return path
