"""Opening a store: the one place that knows which kinds there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.index.store import Store

if TYPE_CHECKING:
    from clipsearch.index.interface import SearchableStore


def open_store(location: Path, *, create: bool = False, read_only: bool = False) -> SearchableStore:
    """Open the store at a location, or with `create` make one where there is none.

    Today each is a folder with a SQLite catalog; raises as `Store.open` does.
    """
    return Store.open(location, create=create, read_only=read_only)
