"""What changes about a library while it is served: how many photos there are, and who adds some."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from clipsearch.index.layout import Layout
from clipsearch.library import Library
from clipsearch.progress.published import RunUnderWay, run_under_way


class LibraryState(NamedTuple):
    """A look at a library that costs next to nothing while it is as it was."""

    photos: int
    revision: str  # another one when the catalog may have changed
    indexing: RunUnderWay | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "photos": self.photos,
            "revision": self.revision,
            "indexing": self.indexing and self.indexing._asdict(),
        }


def revision_of(folder: Path) -> str:
    """Return what changes with every commit to a library's catalog; "" where there is none."""
    catalog = Layout(folder).catalog
    parts = []
    for file in (str(catalog), f"{catalog}-wal"):
        try:
            state = os.stat(file)  # noqa: PTH116
        except OSError:
            continue
        parts.append(f"{state.st_ino:x}.{state.st_size:x}.{state.st_mtime_ns:x}")
    return "-".join(parts)


def state_before(folder: Path) -> LibraryState:
    """Return the state of a library that is not made yet."""
    return LibraryState(0, revision_of(folder), run_under_way(folder))


class StateWatch:
    """Looks at one library again and again; its photos are counted when they may have changed."""

    def __init__(self) -> None:
        self._counted: tuple[str, int] | None = None

    def look(self, library: Library) -> LibraryState:
        """Return the state of the library now; raises LibraryError."""
        revision = revision_of(library.folder)
        counted = self._counted
        if counted is None or counted[0] != revision:
            counted = self._counted = revision, library.count(include_away=True)
        return LibraryState(counted[1], revision, run_under_way(library.folder))
