"""From the parameters of a request to what a warm searcher is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from clipsearch.asking.filter_keywords import folder_called, meant
from clipsearch.asking.grammar import parse
from clipsearch.asking.keywords import KEYWORDS
from clipsearch.errors import InvalidInput
from clipsearch.index.filters import EVERYTHING, Filter
from clipsearch.options import SearchOptions
from clipsearch.searching.combining import QuerySum, term, weighted, with_terms, without
from clipsearch.serving.protocol import MOST_HITS

_OPTIONS = {one.name for one in fields(SearchOptions)}


@dataclass(frozen=True)
class Wanted:
    """What a request asks for."""

    options: SearchOptions
    asked: QuerySum | None = None  # None: the photos that pass the filters
    words: str = ""
    minus: tuple[str, ...] = ()  # what the photo should not show
    understood: tuple[str, ...] = ()  # for a person: the filters in the words
    notes: tuple[str, ...] = ()
    facets: bool = False

    @property
    def is_list(self) -> bool:
        """Whether there is no question, only filters."""
        return self.asked is None

    def query(self) -> dict[str, Any]:
        """Return JSON-ready values: how the question was understood."""
        return {
            "words": self.words,
            "minus": list(self.minus),
            "understood": list(self.understood),
        }


def wanted(values: Mapping[str, Any], asked: QuerySum | None = None) -> Wanted:
    """Return what checked values of parameters ask for; words among them are added to `asked`.

    Raises InvalidInput for what can't be meant; what it looks up of a place's name may take a
    second.
    """
    options = options_of(values)
    meant = _of_words(values, options, asked)
    return replace(meant, facets=bool(values.get("facets")))


def options_of(values: Mapping[str, Any]) -> SearchOptions:
    """Return how to search, filters included; raises InvalidInput."""
    now = datetime.now()
    parts = [_filter(name, values[name], now) for name in KEYWORDS if name in values]
    filters = values.get("filters", EVERYTHING)
    for part in parts:
        filters = part if filters == EVERYTHING else filters & part
    given = {name: value for name, value in values.items() if name in _OPTIONS}
    return SearchOptions(**{**given, "filters": filters})


def _filter(keyword: str, value: Any, now: datetime) -> Filter:
    """Return a filter; where the server stands says nothing of folders that a client names."""
    found = (
        folder_called(value, from_here=False) if keyword == "in_" else meant(keyword, value, now)
    )
    return found.filter


def filters_of(values: Mapping[str, Any]) -> SearchOptions:
    """Return the options of filters alone, of those in `q`, too; its words change nothing."""
    found = parse(values.get("q", ""), from_here=False)
    return _filtered(options_of(values), found.filters)


def _filtered(options: SearchOptions, filters: Filter) -> SearchOptions:
    if filters == EVERYTHING:
        return options
    given = options.filters
    return replace(options, filters=filters if given == EVERYTHING else given & filters)


def _of_words(values: Mapping[str, Any], options: SearchOptions, asked: QuerySum | None) -> Wanted:
    given = values.get("q", "")
    if values.get("text") and given.strip():
        words = term(given)
        return Wanted(_bounded(options), words if asked is None else asked + words, given)
    found = parse(given, from_here=False)
    options = _filtered(options, found.filters)
    meant = Wanted(
        options,
        words=found.text.strip(),
        minus=found.minus,
        understood=found.understood,
    )
    if meant.words:
        weight, text = weighted(found.text) if found.minus else (1.0, found.text)
        words = term(text, weight)
        asked = words if asked is None else asked + words
    if asked is not None:
        asked = with_terms(asked, (), found.minus, str)
        notes = _hints(found.text, found.minus)
        return replace(meant, options=_bounded(options), asked=asked, notes=notes)
    if found.minus:
        raise InvalidInput(
            "the question says only what the photo should not show: say what it does show"
        )
    return replace(
        meant, options=replace(options, sort="path" if options.sort == "path" else "date")
    )


def _hints(words: str, minus: tuple[str, ...]) -> tuple[str, ...]:
    """Return how to ask for what should be missing: of "without people", models see the people."""
    found = None if minus else without(words)
    if found is None:
        return ()
    what, less = found
    less = f'-"{less}"' if " " in less else f"-{less}"
    return (f"a model takes this for photos with it: `{what} {less}` finds those without",)


def _bounded(options: SearchOptions) -> SearchOptions:
    if options.offset + options.k > MOST_HITS:
        raise InvalidInput(
            f"offset and k may be {MOST_HITS:,} together: a question has its answer among the first"
        )
    return options
