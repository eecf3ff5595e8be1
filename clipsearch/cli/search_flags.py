"""The options of `clipsearch query`, `similar` and `list`: one list, from which all derive.

`quick` reads them without Typer, `query_commands` hands them to Typer, which checks them and makes
`--help` of them. A new option of a search stands in `SearchOptions` and here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clipsearch.cli.filter_flags import FILTER_FLAGS, taken_out
from clipsearch.cli.flags import SearchFlag
from clipsearch.cli.hits import FIELDS, Shape
from clipsearch.options import ONLY, SORTS, SearchOptions

SEARCHES = ("query", "similar", "list")
LIST_SORTS = ("date", "path")

SEARCH_FLAGS = (
    SearchFlag(
        "text", "flag", ("--text",), "QUERY is words, whatever it looks like.", only_query=True
    ),
    SearchFlag("image", "flag", ("--image",), "QUERY is a picture, not words.", only_query=True),
    SearchFlag(
        "batch",
        "text",
        ("--batch",),
        "Ask what stands in FILE (- for standard input), a QUERY a line; write a JSON object for "
        "each, with the number of its line.",
        "FILE",
        only_query=True,
    ),
    SearchFlag(
        "plus",
        "terms",
        ("--plus",),
        "More of this, words or a picture, perhaps with a weight: `2:golden retriever`.",
        "TERM",
    ),
    SearchFlag("minus", "terms", ("--minus",), "Less of this.", "TERM"),
    SearchFlag("k", "count", ("--top", "-k"), "How many photos to show at most.", "N"),
    SearchFlag("offset", "offset", ("--offset",), "Pass over the first N: the next page.", "N"),
    SearchFlag(
        "sort",
        "choice",
        ("--sort",),
        "The order of the photos: relevance, or of the relevant ones date (newest first) or path.",
        "ORDER",
        choices=SORTS,
    ),
    *FILTER_FLAGS,
    SearchFlag(
        "only",
        "choice",
        ("--only",),
        "Find by what is seen (visual), or by names, captions and people (words), alone.",
        "WHICH",
        choices=ONLY,
        only_query=True,
    ),
    SearchFlag(
        "all",
        "flag",
        ("--all",),
        "Show photos too that match weakly, and each of several copies and of a burst.",
    ),
    SearchFlag(
        "min_score",
        "score",
        ("--min-score",),
        "Leave out photos that score less: a cosine, -1 to 1.",
        "SCORE",
    ),
    SearchFlag("library", "library", ("--library",)),
    SearchFlag(
        "model",
        "text",
        ("--model",),
        "Another model that the library was indexed with.  [default: the library's own]",
        "NAME",
    ),
    SearchFlag(
        "include_away",
        "flag",
        ("--include-away",),
        "Show photos too whose folder is not there now (disk not mounted).",
    ),
    SearchFlag(
        "where",
        "text",
        ("--where",),
        'Only photos for which this condition in SQL is true, such as "width > 4000 AND camera '
        "LIKE 'Pixel%'\" (see docs/filters.md).",
        "SQL",
    ),
    SearchFlag(
        "exact",
        "flag",
        ("--exact",),
        "Miss nothing: look at every photo, where a large library's index is approximate "
        "(`clipsearch info`).",
    ),
    SearchFlag("device", "device", ("--device",)),
    SearchFlag("json", "flag", ("--json",), "Write JSON, one object a line."),
    SearchFlag(
        "fields",
        "fields",
        ("--fields",),
        f"Write only these, tab-separated (with --json as JSON): {', '.join(FIELDS)}.",
        "NAME,NAME",
    ),
    SearchFlag("paths", "flag", ("--paths",), "Write only the paths, one a line."),
    SearchFlag(
        "print0",
        "flag",
        ("--print0", "-0"),
        "Write only the paths, each ended by a NUL byte, for xargs -0.",
    ),
    SearchFlag("csv", "flag", ("--csv",), "Write CSV with a line of headings, for spreadsheets."),
    SearchFlag(
        "thumbnails",
        "flag",
        ("--thumbnails",),
        "Show small pictures in the terminal.  [default: where it is known to draw pictures; "
        "docs/seeing.md]",
    ),
    SearchFlag("no_thumbnails", "flag", ("--no-thumbnails",), "Show none."),
    SearchFlag("open", "flag", ("--open",), "Open what was found: a photo, or a page of several."),
    SearchFlag(
        "html",
        "text",
        ("--html",),
        "Write a page with the photos found, small, into FILE, which needs nothing else.",
        "FILE",
    ),
    SearchFlag(
        "copy_to",
        "text",
        ("--copy-to",),
        "Copy the photos found into DIR, their rank before their name; nothing is overwritten.",
        "DIR",
    ),
    SearchFlag("link_to", "text", ("--link-to",), "The same with links to them.", "DIR"),
)

# What makes no sense without a question.
_OF_A_QUESTION = ("plus", "minus", "all", "min_score", "model", "exact", "device", "only")


def flags_of(command: str) -> tuple[SearchFlag, ...]:
    """Return the options of one of SEARCHES."""
    flags = (flag for flag in SEARCH_FLAGS if command == "query" or not flag.only_query)
    if command != "list":
        return tuple(flags)
    return tuple(
        flag._replace(help="The order: date (newest first) or path.", choices=LIST_SORTS)
        if flag.field == "sort"
        else flag
        for flag in flags
        if flag.field not in _OF_A_QUESTION
    )


class Search(NamedTuple):
    """What was asked for on the command line."""

    command: str  # one of SEARCHES
    asked: str
    options: SearchOptions = SearchOptions()
    text: bool = False
    image: bool = False
    library: Path | None = None
    device: str = "auto"
    shape: Shape = Shape.TABLE  # of the results
    plus: tuple[str, ...] = ()  # terms to be added
    minus: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()  # of each result, where not all are wanted
    unquoted: tuple[str, ...] = ()  # what `asked` was joined of, where it is several arguments
    said: tuple[str, ...] = ()  # how filters were understood, for a person
    thumbnails: bool | None = None  # in the terminal; None where nobody says
    open: bool = False  # in the viewer
    html: str | None = None  # the file of a page
    copy_to: str | None = None  # a folder
    link_to: str | None = None

    @classmethod
    def of(cls, command: str, words: Sequence[str], given: Mapping[str, Any]) -> Search:
        """Return the search for some words, as if quoted together, with the values of flags."""
        values = dict(given)
        # What is asked in one go is read by programs: they get all, in rank order.
        everything = values.pop("all", False) or not words
        if command == "list":
            values.setdefault("sort", LIST_SORTS[0])
        else:
            values |= {"relevant": not everything, "fold": not everything}
        values["filters"], values["said"] = taken_out(values)
        names = values.keys() & SearchOptions.__dataclass_fields__.keys()
        options = SearchOptions(**{name: values.pop(name) for name in names})
        shapes = {shape for field, shape in _SHAPES.items() if values.pop(field, False)}
        shape = next((shape for shape in _SHAPES.values() if shape in shapes), Shape.TABLE)
        shown, hidden = (values.pop(name, False) for name in ("thumbnails", "no_thumbnails"))
        values["thumbnails"] = True if shown else False if hidden else None
        unquoted = tuple(words) if len(words) > 1 else ()
        return cls(command, " ".join(words), options, shape=shape, unquoted=unquoted, **values)

    @property
    def acts(self) -> bool:
        """Whether something is to be done with the photos found, beside listing them."""
        return any(getattr(self, field) for field in _ACTS)


def two_shapes(given: Mapping[str, Any]) -> str | None:
    """Return what is wrong with how results are asked for, in two ways at once; None if nothing is.

    Fields may be written as JSON or CSV, and a batch is JSON and nothing beside; paths are alone.
    """
    for field in _FILES:
        if given.get(field) == "-":
            return f"{_option(field)} takes a name, and - stands for no file here (./- is one)"
    asked = {field for field, value in given.items() if value not in (None, False)}
    for first, others in _NOT_TOGETHER.items():
        if first in asked and (with_it := next((one for one in others if one in asked), None)):
            return f"{_option(with_it)} can't be used together with {_option(first)}"
    return None


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")


# The first that is asked for is the one that counts.
_SHAPES = {
    "print0": Shape.PRINT0,
    "json": Shape.JSON,
    "csv": Shape.CSV,
    "paths": Shape.PATHS,
}
_FILES = ("html", "copy_to", "link_to")
_ACTS = ("open", *_FILES)
_NOT_TOGETHER = {
    "paths": ("json", "fields", "batch", "csv"),
    "print0": ("json", "fields", "batch", "csv"),
    "csv": ("json", "batch"),
    "batch": (*_ACTS, "thumbnails"),
    "no_thumbnails": ("thumbnails",),
}
