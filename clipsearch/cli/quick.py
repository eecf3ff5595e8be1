"""The usual searches, `info`, and `index` of what is known, read without Typer.

Typer and what it loads take longer than a search itself. What this can't read for certain, a
mistake or a call for help among them, it leaves to Typer: both say the same of what both read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipsearch.cli.filter_flags import ONCE
from clipsearch.cli.hits import FIELDS
from clipsearch.cli.search_flags import (
    LIST_SORTS,
    SEARCH_FLAGS,
    SEARCHES,
    Search,
    flags_of,
    two_shapes,
)

INDEX_FLAGS = {
    "--retry-failed": "retry_failed",
    "--include-hidden": "include_hidden",
    "--prune": "prune",
    "--thumbnails": "thumbnails",
    "--wait": "wait",
    "--strict": "strict",
    "--json": "json",
}
_DEVICES = ("auto", "cpu", "cuda", "mps")
_COUNT = re.compile("[1-9][0-9]{0,8}")
_NUMBER = re.compile(r"-?[01](\.[0-9]{1,15})?")


def quick_info(arguments: Sequence[str]) -> dict[str, Any] | None:
    """Return what `show_info` takes, if the arguments ask for it; None leaves them to Typer."""
    words, given = _read(arguments, {"--json": "json", "--failures": "failures"}, ("--library",))
    return {"library": None, **given} if words == ["info"] else None


def quick_index(arguments: Sequence[str]) -> dict[str, Any] | None:
    """Return what `index` takes, if it is asked for without a path; None leaves it to Typer."""
    words, given = _read(arguments, INDEX_FLAGS, ("--library", "--model"))
    return given if words == ["index"] else None


def quick_search(arguments: Sequence[str]) -> Search | None:
    """Return the search that the program's arguments ask for; None leaves them to Typer."""
    words, given = _read(arguments, _FLAGS, _VALUES)
    return _search(words, given)


def _read(
    arguments: Sequence[str], flags: Mapping[str, str], options: Collection[str]
) -> tuple[list[str], dict[str, Any]]:
    """Return the words and the values given; no words for what is not plain."""
    given: dict[str, Any] = {}
    words: list[str] = []
    left = list(reversed(arguments))
    while left:
        word = left.pop()
        name, equals, value = word.partition("=")
        if word in flags:
            given[flags[word]] = True
        elif name in options:
            if not equals and left and not left[-1].startswith("-"):
                value = left.pop()
            if not _take(given, name, value) or (equals and not name.startswith("--")):
                return [], {}
        elif "-k" in options and word.startswith("-k") and _COUNT.fullmatch(word[2:]):
            given["k"] = int(word[2:])
        elif word.startswith("-") and word != "-":
            return [], {}
        elif not words and set(given) - {"library"}:
            return [], {}  # before the command stands only --library
        else:
            words.append(word)
    return words, given


def _search(words: Sequence[str], given: dict[str, Any]) -> Search | None:
    if not words or words[0] not in SEARCHES or "batch" in given:
        return None
    command, *asked = words
    if not asked and command != "list":
        return None
    if len(asked) > 1 and not all(map(str.strip, asked)):
        return None  # of a variable that is not set, perhaps
    if (
        two_shapes(given)
        or given.keys() >= {"text", "image"}
        or not given.keys() <= {flag.field for flag in flags_of(command)}
        or (command == "list" and given.get("sort", LIST_SORTS[0]) not in LIST_SORTS)
    ):
        return None
    return Search.of(command, asked, given)


def _take(given: dict[str, Any], option: str, value: str) -> bool:
    name, convert = _VALUES[option]
    if option in ONCE and name in given:
        return False
    converted = convert(value) if value else None
    if option in _REPEATED:
        converted = converted and (*given.get(name, ()), converted)
    given[name] = converted
    return converted is not None


def _count(value: str) -> int | None:
    return int(value) if _COUNT.fullmatch(value) else None


def _offset(value: str) -> int | None:
    return 0 if value == "0" else _count(value)


def _score(value: str) -> float | None:
    return float(value) if _NUMBER.fullmatch(value) and -1 <= float(value) <= 1 else None


def _fields(value: str) -> tuple[str, ...] | None:
    names = tuple(value.split(","))
    return names if all(name in FIELDS for name in names) else None


def _choice(choices: Sequence[str]) -> Callable[[str], str | None]:
    return lambda value: value if value in choices else None


def _device(value: str) -> str | None:
    return value if value in _DEVICES else None


_CONVERTERS: dict[str, Callable[[str], Any]] = {
    "count": _count,
    "offset": _offset,
    "score": _score,
    "text": str,
    "terms": str,
    "fields": _fields,
    "library": Path,
    "device": _device,
}
_FLAGS = {name: flag.field for flag in SEARCH_FLAGS if flag.kind == "flag" for name in flag.names}
_VALUES = {
    name: (flag.field, _choice(flag.choices) if flag.choices else _CONVERTERS[flag.kind])
    for flag in SEARCH_FLAGS
    if flag.kind != "flag"
    for name in flag.names
}
_REPEATED = {name for flag in SEARCH_FLAGS if flag.kind == "terms" for name in flag.names}
