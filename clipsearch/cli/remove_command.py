"""`clipsearch remove`: take photos out."""

from pathlib import Path
from typing import Annotated

import typer

from clipsearch.cli import completing
from clipsearch.cli.options import JsonOption, LibraryOption, VerboseOption
from clipsearch.cli.printable import shown_count


def remove(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH",
            autocompletion=completing.known_folders,
            show_default=False,
            help="Photos or folders to take out.",
        ),
    ],
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            show_default=False,
            help="Only forget them: the next index takes in again what it finds there.",
        ),
    ] = False,
    library: LibraryOption = None,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Take photos or folders out of the library; the files themselves are never touched.

    They stay out until `clipsearch index` names them; `clipsearch info` lists them.
    """
    from clipsearch.cli.output import write_json, write_text
    from clipsearch.library import Library

    with Library(library, create=False) as lib:
        forgotten = lib.remove(paths, forget=forget)
    if json:
        write_json({"removed": forgotten})
    else:
        after = "the next `clipsearch index` takes in again what it finds there"
        if not forget:
            after = f"`clipsearch index PATH` takes {'it' if len(paths) == 1 else 'them'} in again"
        write_text(f"{shown_count(forgotten, 'photo')} forgotten; {after}")
