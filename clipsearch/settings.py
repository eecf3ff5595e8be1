"""Where a library lies when nobody says, and what a path that somebody gives stands for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from clipsearch.arguments import as_list
from clipsearch.errors import InvalidInput

LIBRARY_VARIABLE = "CLIPSEARCH_LIBRARY"


def library_folder(folder: str | Path | None) -> Path:
    """Return the library's folder: as given, else CLIPSEARCH_LIBRARY, else the user data folder.

    A variable that is empty counts as not set; raises InvalidInput for an empty `folder`.
    """
    chosen = folder if folder is not None else os.environ.get(LIBRARY_VARIABLE) or None
    if chosen is None:
        import platformdirs

        return platformdirs.user_data_path("clipsearch", appauthor=False) / "library"
    return absolute(chosen)


def given_path(path: str | Path) -> Path:
    """Return the path that somebody gave, `~` replaced; InvalidInput for what can't be meant.

    An empty text most often comes of a variable that is not set, and never means the current
    folder; `Path("")` does, for it is equal to `Path(".")`.
    """
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise InvalidInput(f"a path is a str or a Path, not {type(path).__name__}")
    text = os.fspath(path)
    if not text or text.isspace():
        raise InvalidInput("a path is empty: is a variable not set? . is the current folder")
    place = Path(text)
    with contextlib.suppress(RuntimeError):  # ~name, and no user has this name
        place = place.expanduser()
    return place


def absolute(path: str | Path) -> Path:
    """Return the path made absolute and free of `..`, links kept as the user named them.

    Each file has one such path: two slashes at the start, of which POSIX says nothing, are one.
    Raises InvalidInput as `given_path`.
    """
    text = os.path.abspath(given_path(path))  # noqa: PTH100 - resolve() would follow links
    return Path(text[1:] if os.name == "posix" and text.startswith("//") else text)


def absolute_paths(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return `absolute` of each path, or of the one; raises InvalidInput if one can't be meant."""
    return [absolute(path) for path in as_list(paths)]
