"""`clipsearch duplicates`: which photos are the same, or much alike."""

import inspect
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from clipsearch.cli import completing
from clipsearch.cli.filter_flags import FILTER_FLAGS
from clipsearch.cli.given_values import one_of
from clipsearch.cli.options import JsonOption, LibraryOption, VerboseOption
from clipsearch.cli.query_commands import flag_parameter


class Only(StrEnum):
    """Which groups are shown."""

    same = "same"
    burst = "burst"
    look_alike = "look-alike"


_MEANT = {
    **dict.fromkeys(("copies", "copy", "identical", "duplicate", "duplicates"), "same"),
    **dict.fromkeys(("bursts", "series"), "burst"),
    **dict.fromkeys(("lookalike", "look_alike", "look-alikes", "alike", "similar"), "look-alike"),
}


def duplicates(
    *,
    only: Annotated[
        Only | None,
        typer.Option(
            "--only",
            metavar="KIND",
            parser=one_of("--only", Only, _MEANT),
            autocompletion=completing.words(Only),
            show_default=False,
            help="Show the groups of one kind: same, burst or look-alike.",
        ),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(
            "--script",
            metavar="FOLDER",
            show_default=False,
            help="Write a shell script that moves the others of each group into FOLDER: of the "
            "same photos, or of what --only says.",
        ),
    ] = None,
    include_away: Annotated[
        bool,
        typer.Option(
            "--include-away",
            show_default=False,
            help="Compare photos too whose folder is not there now (disk not mounted).",
        ),
    ] = False,
    library: LibraryOption = None,
    json: JsonOption = False,
    verbose: VerboseOption = False,
    **filters: Any,
) -> None:
    """Find photos that are there twice, and say which of them to keep. Nothing is changed.

    The same photo is found again compressed, scaled, cropped, turned, mirrored, brighter, grey or
    with a border. Apart from these stand bursts, and photos that are much alike. With --script, a
    shell script moves what need not be kept; it deletes nothing.
    """
    from clipsearch.cli.duplicates import show_duplicates

    given = {name: value for name, value in filters.items() if value is not None}
    for flag in FILTER_FLAGS:
        if flag.kind == "terms" and flag.field in given:
            given[flag.field] = tuple(given[flag.field])
    show_duplicates(
        library,
        filters=given,
        only=only.value if only else None,
        script=script,
        include_away=include_away,
        json=json,
    )


def _with_filters(command: Any) -> None:
    """Let Typer see the options that say which photos in the command's signature."""
    own = [one for one in inspect.signature(command).parameters.values() if one.name != "filters"]
    own[2:2] = [flag_parameter(flag) for flag in FILTER_FLAGS]
    command.__signature__ = inspect.Signature(own)


_with_filters(duplicates)
