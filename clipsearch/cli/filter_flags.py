"""The options that say what photos must be like, and what was understood of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from clipsearch.asking.keywords import KEYWORDS, MISSING, ORIENTATIONS
from clipsearch.cli.flags import SearchFlag
from clipsearch.errors import InvalidInput
from clipsearch.index.filters import EVERYTHING, And, Compare, Filter

FILTER_FLAGS = (
    SearchFlag(
        "in_",
        "text",
        ("--in",),
        "Only photos in this folder or below it; or in any folder of this name.",
        "PATH",
    ),
    SearchFlag(
        "after",
        "text",
        ("--after",),
        "Only those taken from then on: 2023, 2023-07-14, 'last summer', 'two weeks ago'; or in a "
        "time: 2021..2022.",
        "DATE",
    ),
    SearchFlag("before", "text", ("--before",), "Only those taken before.", "DATE"),
    SearchFlag(
        "camera", "text", ("--camera",), "Only those of a camera with this in its name.", "NAME"
    ),
    SearchFlag("lens", "text", ("--lens",), "The same of the lens.", "NAME"),
    SearchFlag(
        "near",
        "text",
        ("--near",),
        "Only those taken near a place: LAT,LON or LAT,LON,KM (10 km if not said); or its name, "
        "which needs the extra `places` (docs/filters.md).",
        "PLACE",
    ),
    SearchFlag(
        "type",
        "text",
        ("--type",),
        "Only those of a type: jpeg, heic, raw, png,…; or several.",
        "TYPE",
    ),
    SearchFlag(
        "min_width", "count", ("--min-width",), "Only those at least so many pixels wide.", "N"
    ),
    SearchFlag(
        "orientation",
        "choice",
        ("--orientation",),
        f"Only those of a shape: {', '.join(ORIENTATIONS)}.",
        "SHAPE",
        choices=ORIENTATIONS,
    ),
    SearchFlag(
        "tag", "terms", ("--tag",), "Only those with this tag; several times: with all.", "TAG"
    ),
    SearchFlag(
        "missing",
        "terms",
        ("--missing",),
        f"Only those that don't say something: {', '.join(MISSING)}.",
        "WHAT",
        choices=MISSING,
    ),
)


# The others may be given several times: all must hold. Of these, a second would hide the first.
ONCE = {"--where", *(name for flag in FILTER_FLAGS if flag.kind != "terms" for name in flag.names)}


def refuse_twice(arguments: Sequence[str]) -> None:
    """Raise InvalidInput for arguments that give one of `ONCE` a second time."""
    given = set()
    for argument in takewhile(lambda one: one != "--", arguments):
        name = argument.partition("=")[0]
        if name in ONCE and name in given:
            raise InvalidInput(
                f"{name} can be given once: all filters must hold (docs/filters.md has the others)"
            )
        given.add(name)


class Filters(NamedTuple):
    """What photos must be like, and how that was understood."""

    tree: Filter = EVERYTHING
    said: tuple[str, ...] = ()  # for a person; of what is plain, nothing


# Of these, what they were taken for is not plain.
_INTERPRETED = ("after", "before", "near")


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
        by_name = name == "in_" and isinstance(read.filter, Compare)
        if name in _INTERPRETED or by_name:
            said.append(f"{option_name(name)[2:]} {value}: {read.said}")
    return Filters(parts[0] if len(parts) == 1 else And(tuple(parts)), tuple(said))
