"""What may be said of a search and of an index run, beside what is searched and indexed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from clipsearch.arguments import (
    above_zero,
    as_list,
    cosine,
    model_name,
    one_of,
    shown,
    whole,
    yes_or_no,
)
from clipsearch.asking.keywords import KEYWORDS, FilterKeywords
from clipsearch.errors import InvalidInput
from clipsearch.index import filters as tree
from clipsearch.index.filters import EVERYTHING, Filter

SORTS = ("relevance", "date", "path")
ONLY = ("visual", "words")


@dataclass(frozen=True)
class SearchOptions:
    """How to search; made only of values that can be meant, and passed on as it is.

    A new option stands here and in `SearchKeywords`, in the list of which the command line is made
    (cli/search_flags.py), and where it acts.
    """

    k: int = 10  # photos at most
    offset: int = 0  # photos to pass over first, for the next page
    sort: str = "relevance"  # or "date", the newest first, or "path"
    min_score: float | None = None  # the least cosine that counts as found
    include_away: bool = False  # photos too whose folder is not there now
    exact: bool = False  # look at every photo, also where the index is approximate
    model: str | Path | None = None  # None: the library's own
    only: str | None = None  # "visual": by what is seen alone; "words": by what is written
    relevant: bool = False  # leave out what matches too little to be an answer
    fold: bool = False  # show one photo of several copies, or of a burst
    filters: Filter = EVERYTHING
    where: str | None = None  # a condition in SQL on the photos of a local library

    def __post_init__(self) -> None:
        """Raise InvalidInput for what can't be meant; whether there is such a model shows later."""
        _set(
            self,
            k=whole(self.k, "k", least=1),
            offset=whole(self.offset, "offset", least=0),
            sort=one_of(self.sort, "sort", SORTS),
            only=None if self.only is None else one_of(self.only, "only", ONLY),
            relevant=yes_or_no(self.relevant, "relevant"),
            fold=yes_or_no(self.fold, "fold"),
            min_score=None if self.min_score is None else cosine(self.min_score, "min_score"),
            include_away=yes_or_no(self.include_away, "include_away"),
            exact=yes_or_no(self.exact, "exact"),
            model=model_name(self.model),
        )
        if self.where is not None and not (isinstance(self.where, str) and self.where.strip()):
            raise InvalidInput(f"where must be a condition in SQL, not {shown(self.where)}")
        if not tree.is_filter(self.filters):
            raise InvalidInput(f"filters must be made of And, Compare …, not {shown(self.filters)}")

    @classmethod
    def of(cls, options: SearchOptions | None, keywords: SearchKeywords) -> SearchOptions:
        """Return the options that a caller gives whole or as keywords, not both."""
        if options is None:
            return cls(**_with_filters(keywords))
        if not isinstance(options, cls):
            raise InvalidInput(f"options must be SearchOptions, not {shown(options)}")
        if keywords:
            raise InvalidInput(f"{next(iter(keywords))} must be given within the options")
        return options

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values by name, of what is not as by default."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        given = {name: value for name, value in given.items() if value != getattr(_USUAL, name)}
        if isinstance(self.model, Path):
            given["model"] = str(self.model)
        if "filters" in given:
            given["filters"] = tree.to_json(self.filters)
        return given

    @classmethod
    def from_json(cls, given: object) -> SearchOptions:
        """Return the options that `to_json` wrote; InvalidInput for anything else."""
        names = {one.name for one in fields(cls)}
        if not isinstance(given, Mapping) or (unknown := sorted(given.keys() - names, key=str)):
            what = f"no option {shown(unknown[0])}" if isinstance(given, Mapping) else "no options"
            raise InvalidInput(f"a search has {what}")
        values = dict(given)
        if "filters" in values:
            values["filters"] = tree.from_json(values["filters"])
        return cls(**values)


class SearchKeywords(FilterKeywords, total=False):
    """The fields of SearchOptions, and filters, as keywords of the methods that search."""

    k: int
    offset: int
    sort: str
    min_score: float | None
    include_away: bool
    exact: bool
    model: str | Path | None
    only: str | None
    relevant: bool
    fold: bool
    filters: Filter
    where: str | None


@dataclass(frozen=True)
class IndexOptions:
    """How to index."""

    retry_failed: bool = False  # open again what failed before and has not changed since
    include_hidden: bool = False  # hidden, trash and thumbnail folders too
    prune: bool = False  # forget the photos of folders that are away
    max_megapixels: float | None = None  # refuse larger pictures; None: by this machine's memory
    batch_size: int | None = None  # photos an encoder pass; None: by device
    postpone: Callable[[Path], bool] | None = None  # leave this new or changed file for later
    # Patterns in gitignore's form, or one: what the library leaves out from now on, in later runs
    # too, until a run takes the pattern back.
    exclude: Sequence[str] = ()
    no_exclude: Sequence[str] = ()  # patterns to take back
    thumbnails: bool = False  # make small pictures ahead, as far as there is room for them

    def __post_init__(self) -> None:
        """Raise InvalidInput for what can't be meant."""
        for name in ("retry_failed", "include_hidden", "prune", "thumbnails"):
            _set(self, **{name: yes_or_no(getattr(self, name), name)})
        if self.max_megapixels is not None:
            _set(self, max_megapixels=above_zero(self.max_megapixels, "max_megapixels"))
        if self.batch_size is not None:
            _set(self, batch_size=whole(self.batch_size, "batch_size", least=1))
        for name in ("exclude", "no_exclude"):
            given = as_list(getattr(self, name))
            _set(self, **{name: tuple(map(_pattern, given))})


@dataclass(frozen=True)
class IndexProgress:
    """How far an index run is."""

    # "waiting", "scanning", "loading model", "fetching model", "encoding", "saving", "completing",
    # "making thumbnails"
    phase: str
    done: int  # files
    total: int  # files; 0 while unknown
    message: str = ""


def _pattern(given: object) -> str:
    from clipsearch.photos.exclusions import pattern_given  # what it needs takes long to load

    return pattern_given(given)


def _with_filters(keywords: SearchKeywords) -> dict[str, Any]:
    """Return the fields of SearchOptions, in place of filters by their names one tree."""
    values: dict[str, Any] = dict(keywords)
    named = {name: values.pop(name) for name in KEYWORDS if name in values}
    if named:
        from datetime import datetime

        from clipsearch.asking.filter_keywords import all_of

        filters = all_of(named, datetime.now())
        given = values.get("filters", EVERYTHING)
        values["filters"] = given & filters if tree.is_filter(given) else given
    return values


def _set(frozen: object, **values: object) -> None:
    """Give a frozen value its checked fields, while it is made."""
    for name, value in values.items():
        object.__setattr__(frozen, name, value)


_USUAL = SearchOptions()
