"""Where a library lies when nobody says."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from clipsearch.arguments import file_path

LIBRARY_VARIABLE = "CLIPSEARCH_LIBRARY"


def library_folder(folder: str | Path | None) -> Path:
    """Return the library's folder: as given, else CLIPSEARCH_LIBRARY, else the user data folder."""
    chosen = folder if folder is not None else os.environ.get(LIBRARY_VARIABLE) or None
    if chosen is None:
        import platformdirs

        return platformdirs.user_data_path("clipsearch", appauthor=False) / "library"
    return absolute(chosen)


def absolute(path: str | Path) -> Path:
    """Return the path made absolute and free of `..`, links kept as the user named them.

    Raises InvalidInput for what is no path.
    """
    path = file_path(path)
    with contextlib.suppress(RuntimeError):  # ~name, and no user has this name
        path = path.expanduser()
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
