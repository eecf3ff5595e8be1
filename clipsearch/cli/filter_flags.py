"""The filters on the command line, and what was understood of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from clipsearch.asking.keywords import KEYWORDS
from clipsearch.errors import InvalidInput
from clipsearch.index.filters import EVERYTHING, And, Filter


class Filters(NamedTuple):
    """What photos must be like, and how that was understood."""

    tree: Filter = EVERYTHING
    said: tuple[str, ...] = ()  # for a person; of what is plain, nothing


# Of these, what they were taken for is not plain.
_INTERPRETED = ("in_", "after", "before", "near")


def option_name(keyword: str) -> str:
    """Return the option of a keyword: `--min-width`."""
    return "--" + keyword.rstrip("_").replace("_", "-")


def taken_out(values: dict[str, Any]) -> Filters:
    """Take the filters out of the values of options; raises InvalidInput, the option named."""
    given = {name: values.pop(name) for name in KEYWORDS if name in values}
    if not given:
        return Filters()
    from datetime import datetime

    from clipsearch.asking.filter_keywords import meant

    now = datetime.now()
    parts: list[Filter] = []
    said = []
    for name, value in given.items():
        try:
            read = meant(name, value, now)
        except InvalidInput as error:
            raise InvalidInput(f"{option_name(name)}: {error}") from error
        parts.append(read.filter)
        if name in _INTERPRETED and read.said.removeprefix("in ") != value:
            said.append(f"{option_name(name)[2:]} {value}: {read.said}")
    return Filters(parts[0] if len(parts) == 1 else And(tuple(parts)), tuple(said))
