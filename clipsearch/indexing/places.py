"""The names of the places where photos were taken, by the gazetteer, if it is installed."""

from __future__ import annotations

from collections.abc import Callable

from clipsearch.asking import gazetteer
from clipsearch.index.changes import Named
from clipsearch.index.interface import WritableStore

_AT_ONCE = 1000  # positions that are named in one commit


def name_places(store: WritableStore, stop: Callable[[], bool]) -> None:
    """Name the place of each photo that has a position and no name yet; no file is opened.

    What is named already stays so if `stop()` becomes true; the next run goes on.
    """
    if not gazetteer.is_installed():
        return
    while (positions := store.unnamed_positions(_AT_ONCE)) and not stop():
        called = gazetteer.town_finder()
        store.apply([Named(*position, called(*position)) for position in positions])
