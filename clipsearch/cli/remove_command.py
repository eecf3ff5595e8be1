"""`clipsearch remove`: forget photos."""

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
            help="Photos or folders to forget.",
        ),
    ],
    library: LibraryOption = None,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Forget photos or folders; the files themselves are never touched."""
    from clipsearch.cli.output import write_json, write_text
    from clipsearch.library import Library

    with Library(library, create=False) as lib:
        forgotten = lib.remove(paths)
    if json:
        write_json({"removed": forgotten})
    else:
        write_text(f"{shown_count(forgotten, 'photo')} forgotten; the files are untouched")
