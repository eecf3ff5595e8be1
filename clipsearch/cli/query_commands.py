"""`clipsearch query`, `clipsearch similar` and `clipsearch list`: search the library."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from clipsearch.cli import completing
from clipsearch.cli.flags import SearchFlag
from clipsearch.cli.given_values import number, one_of_names, some_of, whole_number
from clipsearch.cli.hits import FIELDS
from clipsearch.cli.options import (
    DeviceOption,
    LibraryOption,
    VerboseOption,
)
from clipsearch.cli.search_flags import SEARCH_FLAGS, Search, flags_of, two_shapes
from clipsearch.errors import InvalidInput
from clipsearch.options import SearchOptions

_ASKED = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="QUERY",
        show_default=False,
        help="Words that say what the photo shows; or a picture: its path, its "
        "address (http, https, file, data), or - for a picture on standard input.",
    ),
]
_IMAGE = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE",
        show_default=False,
        help="A picture: its path, its address, or - for standard input.",
    ),
]


_READ: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "offset": (int, whole_number("--offset", least=0)),
    "score": (float, number("--min-score", least=-1, most=1, why="scores are cosines")),
    "text": (str, str),
    "fields": (tuple, some_of("--fields", FIELDS, {"file": "path", "date": "taken_at"})),
}


_FILTERS = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILTER",
        show_default=False,
        help="Filters as they stand in a question: in:holidays, after:2021.",
    ),
]

_TERMS = [flag.field for flag in SEARCH_FLAGS if flag.kind == "terms"]
_OFFERED: dict[str, Callable[..., Any]] = {
    "model": completing.models,
    "type": completing.types,
    "tag": completing.tags,
    "fields": completing.listed(FIELDS),
}


def _with_flags(argument: object) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let Typer see a command's argument and all flags of a search in its signature."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        name = command.__name__.rstrip("_")
        asked = _parameter("asked", argument)
        parameters = [
            # Nothing may stand beside --batch, and nothing need be said to `list`.
            asked if name == "similar" else asked.replace(default=None),
            *(flag_parameter(flag) for flag in flags_of(name)),
            _parameter("verbose", VerboseOption, default=False),
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def _parameter(name: str, annotation: object, default: Any = inspect.Parameter.empty) -> Any:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def flag_parameter(flag: SearchFlag) -> Any:
    """Return the parameter of a command by which Typer reads a flag."""
    default = getattr(SearchOptions(), flag.field, None)
    if flag.kind == "choice" and default is not None and default not in flag.choices:
        default = flag.choices[0]
    if flag.kind == "library":
        return _parameter(flag.field, LibraryOption, default=None)
    if flag.kind == "device":
        return _parameter(flag.field, DeviceOption, default="auto")
    if flag.kind == "flag":
        option = typer.Option(*flag.names, show_default=False, help=flag.help)
        return _parameter(flag.field, Annotated[bool, option], default=False)
    if flag.kind == "terms":
        terms = typer.Option(
            *flag.names,
            metavar=flag.metavar,
            help=flag.help,
            show_default=False,
            autocompletion=_OFFERED.get(flag.field) or _offered(flag.choices),
        )
        return _parameter(flag.field, Annotated[list[str] | None, terms], default=None)
    taken, parser = _reading(flag)
    option = typer.Option(
        *flag.names,
        metavar=flag.metavar,
        help=flag.help,
        parser=parser,
        autocompletion=_OFFERED.get(flag.field) or _offered(flag.choices),
    )
    return _parameter(flag.field, Annotated[taken | None, option], default)


def _reading(flag: SearchFlag) -> tuple[Any, Callable[[Any], Any]]:
    """Return the type of an option's value, and what reads it."""
    if flag.kind == "count":
        return int, whole_number(flag.names[0], least=1)
    return _READ.get(flag.kind) or (str, one_of_names(flag.names[0], flag.choices))


def _offered(choices: tuple[str, ...]) -> Callable[..., Any] | None:
    return completing.listed(choices) if choices else None


@_with_flags(_ASKED)
def query(**given: Any) -> None:
    """Find photos with words or with another picture, best first.

    QUERY may hold filters, as in `"dog in:holidays after:2021 -people"`; docs/filters.md has them.

    A `clipsearch serve` that runs for the library answers at once; --model, --device or
    CLIPSEARCH_NO_SERVER=1 in the environment go without it.

    With --batch many are asked in one go, without a server; blank lines are passed over, and one
    that can't be asked gets an object that says why.
    """
    if given["text"] and given["image"]:
        raise InvalidInput("--text and --image can't be used together")
    if given["batch"] is not None and given["asked"]:
        raise InvalidInput("--batch takes its questions from the file: leave QUERY away")
    if given["batch"] is None and not given["asked"]:
        from clipsearch.cli.examples import EXAMPLES

        raise InvalidInput(
            f"query needs QUERY: for example `clipsearch {EXAMPLES['query'][0].line}`"
        )
    _search("query", given)


@_with_flags(_IMAGE)
def similar(**given: Any) -> None:
    """Find the photos most like a picture, without the picture itself.

    A `clipsearch serve` that runs for the library answers, as for `clipsearch query`.
    """
    _search("similar", given)


@_with_flags(_FILTERS)
def list_(**given: Any) -> None:
    """List the photos that pass filters, without a question: the newest first, or by path.

    No model is loaded. A line at the end says if there are more.
    """
    given["device"] = "auto"
    given["asked"] = given["asked"] or []
    _search("list", given)


def _search(command: str, given: dict[str, Any]) -> None:
    del given["verbose"]  # its callback has done what it asks for
    given = {name: value for name, value in given.items() if value is not None}
    given |= {name: tuple(given.pop(name)) for name in _TERMS if given.get(name)}
    if wrong := two_shapes(given):
        raise InvalidInput(wrong)
    given["device"] = str(given["device"])
    # With what a search loads, which help does not need.
    if (source := given.pop("batch", None)) is not None:
        from clipsearch.cli.batch import run_batch

        run_batch(Search.of(command, [], given), source)
        return
    from clipsearch.cli.searching import run

    run(Search.of(command, given.pop("asked"), given))
