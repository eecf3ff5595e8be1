"""A question that holds its own filters: `dog in:holidays after:2021 camera:Pixel -people`.

    question  = part, parts after blanks
    part      = [-] key:value       a filter; with - photos for which it does not hold
              | -word | -"words"    what the photo should not show
              | anything else       words of the question
    value     = without blanks | "in quotes"

The keys are KEYS; after any other name a colon stays a part of the words, and so does a key without
a value, a dash within a word and what stands in quotes. `docs/filters.md` has examples.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from clipsearch.arguments import shown
from clipsearch.asking.filter_keywords import Meant, folder_called, meant
from clipsearch.errors import InvalidInput
from clipsearch.index.filters import EVERYTHING, And, Filter, Not

# As they are written before a colon, in any case, and the keyword that each stands for.
KEYS = {
    **{"in": "in_", "after": "after", "before": "before", "camera": "camera", "lens": "lens"},
    **{"near": "near", "type": "type", "min-width": "min_width", "orientation": "orientation"},
    **{"tag": "tag", "missing": "missing"},
}

_QUOTED = r'["“”]([^"“”]*)["“”]'
_PART = re.compile(
    rf"(?P<words>{_QUOTED}(?!\S))"
    rf"|(?P<no>-?)(?P<key>{'|'.join(KEYS)}):(?:{_QUOTED}(?!\S)|(?P<value>[^\s\"“”]\S*))"
    rf"|-(?:{_QUOTED}(?!\S)|(?P<minus>[^\W\d_]\S*))"
    r"|\S+",
    re.IGNORECASE,
)
_BROKEN_QUOTES = re.compile(rf"-?(?:{'|'.join(KEYS)}):[\"“”]", re.IGNORECASE)
_FILTER_WITH_BLANKS = re.compile(rf"(-?(?:{'|'.join(KEYS)}):)([^\"“”]*\s[^\"“”]*)", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """A question apart from the filters that it held."""

    text: str  # the words that are left; as it was given if it held nothing else
    filters: Filter = EVERYTHING
    minus: tuple[str, ...] = ()  # what the photo should not show
    understood: tuple[str, ...] = ()  # for a person: each part that is not plain words


class _Parts(NamedTuple):
    words: list[str]
    filters: list[Filter]
    minus: list[str]
    understood: list[str]


def parse(text: str, now: datetime | None = None, *, from_here: bool = True) -> Asked:
    """Return a question apart from the filters in it; text without any comes back as it is.

    `now` is the clock that "last summer" is reckoned from, by default that of this machine. Of
    whoever is not `from_here`, the path of a folder must be whole. Raises InvalidInput for a filter
    that can't be meant, and MissingPackages for a place's name without a gazetteer.

    >>> parse("dog in:holidays -people").minus
    ('people',)
    """
    if not isinstance(text, str):
        raise InvalidInput(f"a question is a str, not {shown(text)}")
    now = now or datetime.now()
    parts = _Parts([], [], [], [])
    for found in _PART.finditer(text):
        _take(found, parts, now, from_here=from_here)
    if not (parts.filters or parts.minus):
        return Asked(text)
    words = " ".join(parts.words)
    filters = parts.filters[0] if len(parts.filters) == 1 else And(tuple(parts.filters))
    return Asked(words, filters, tuple(parts.minus), tuple(parts.understood))


def joined(arguments: Sequence[str]) -> str:
    """Return a question that a shell took apart, the quotes it took off put back.

    >>> joined(["dog", "in:summer 2021"])
    'dog in:"summer 2021"'
    """
    if len(arguments) == 1:
        return arguments[0]
    return " ".join(_FILTER_WITH_BLANKS.sub(r'\1"\2"', one) for one in arguments)


def _take(found: re.Match[str], parts: _Parts, now: datetime, *, from_here: bool) -> None:
    if found["key"]:
        value = found["value"] or found[5] or ""
        read = _filter(KEYS[found["key"].lower()], value, now, from_here=from_here)
        parts.filters.append(Not(read.filter) if found["no"] else read.filter)
        parts.understood.append(_negated(read.said) if found["no"] else read.said)
    elif minus := (found["minus"] or found[7] or "").strip():
        parts.minus.append(minus)
        parts.understood.append(f"minus {minus}")
    elif _BROKEN_QUOTES.match(found.group()):
        raise InvalidInput(f"the quotes of {found.group()} must end before a blank or at the end")
    else:
        parts.words.append(found.group())


def _negated(said: str) -> str:
    no = "naming no "
    return f"naming a {said.removeprefix(no)}" if said.startswith(no) else f"not {said}"


def _filter(keyword: str, value: str, now: datetime, *, from_here: bool) -> Meant:
    # A folder of this name anywhere: where the person stands says nothing here.
    if keyword == "in_":
        return folder_called(value, from_here=from_here)
    return meant(keyword, value, now)
