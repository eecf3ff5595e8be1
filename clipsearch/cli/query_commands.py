"""`clipsearch query` and `clipsearch similar`: search the library."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from clipsearch.cli import completing
from clipsearch.cli.given_values import number, some_of, whole_number
from clipsearch.cli.hits import FIELDS
from clipsearch.cli.options import (
    DeviceOption,
    LibraryOption,
    VerboseOption,
)
from clipsearch.cli.search_flags import SEARCH_FLAGS, Search, SearchFlag, two_shapes
from clipsearch.errors import InvalidInput
from clipsearch.options import SearchOptions

_ASKED = Annotated[
    list[str],
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
    "count": (int, whole_number("--top", least=1)),
    "score": (float, number("--min-score", least=-1, most=1, why="scores are cosines")),
    "text": (str, str),
    "fields": (tuple, some_of("--fields", FIELDS, {"file": "path", "date": "taken_at"})),
}


_OFFERED: dict[str, Callable[..., Any]] = {
    "model": completing.models,
    "fields": completing.listed(FIELDS),
}


def _with_flags(argument: object) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let Typer see a command's argument and all flags of a search in its signature."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        only_similar = command.__name__ != "query"
        flags = [flag for flag in SEARCH_FLAGS if not (only_similar and flag.only_query)]
        parameters = [
            _parameter("asked", argument),
            *(_flag_parameter(flag) for flag in flags),
            _parameter("verbose", VerboseOption, default=False),
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def _parameter(name: str, annotation: object, default: Any = inspect.Parameter.empty) -> Any:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _flag_parameter(flag: SearchFlag) -> Any:
    default = getattr(SearchOptions(), flag.field, None)
    if flag.kind == "library":
        return _parameter(flag.field, LibraryOption, default=None)
    if flag.kind == "device":
        return _parameter(flag.field, DeviceOption, default="auto")
    if flag.kind == "flag":
        option = typer.Option(*flag.names, show_default=False, help=flag.help)
        return _parameter(flag.field, Annotated[bool, option], default=False)
    taken, parser = _READ[flag.kind]
    option = typer.Option(
        *flag.names,
        metavar=flag.metavar,
        help=flag.help,
        parser=parser,
        autocompletion=_OFFERED.get(flag.field),
    )
    return _parameter(flag.field, Annotated[taken | None, option], default)


@_with_flags(_ASKED)
def query(**given: Any) -> None:
    """Find photos with words or with another picture, best first.

    A `clipsearch serve` that runs for the library answers at once; --model, --device or
    CLIPSEARCH_NO_SERVER=1 in the environment go without it.
    """
    if given["text"] and given["image"]:
        raise InvalidInput("--text and --image can't be used together")
    _search("query", given)


@_with_flags(_IMAGE)
def similar(**given: Any) -> None:
    """Find the photos most like a picture, without the picture itself.

    A `clipsearch serve` that runs for the library answers, as for `clipsearch query`.
    """
    _search("similar", given)


def _search(command: str, given: dict[str, Any]) -> None:
    del given["verbose"]  # its callback has done what it asks for
    given = {name: value for name, value in given.items() if value is not None}
    if wrong := two_shapes(given):
        raise InvalidInput(wrong)
    given["device"] = str(given["device"])
    from clipsearch.cli.searching import run  # with what a search loads, which help does not need

    run(Search.of(command, given.pop("asked"), given))
