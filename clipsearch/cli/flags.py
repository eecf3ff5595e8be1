"""An option of a search, as both parsers read it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal[
    "flag", "count", "offset", "choice", "score", "text", "terms", "fields", "library", "device"
]


class SearchFlag(NamedTuple):
    """An option as both parsers read it."""

    field: str  # of SearchOptions or Search; or a filter
    kind: Kind  # what it takes
    names: tuple[str, ...]
    help: str = ""  # none where options.py has the option of several commands
    metavar: str | None = None
    only_query: bool = False
    choices: tuple[str, ...] = ()  # of terms, what the tab key offers
