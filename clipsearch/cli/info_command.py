"""`clipsearch info`: what the library holds and where."""

from typing import Annotated

import typer

from clipsearch.cli.options import JsonOption, LibraryOption, VerboseOption


def info(
    failures: Annotated[
        bool,
        typer.Option(
            "--failures",
            show_default=False,
            help="List the files that could not be indexed, with reasons.",
        ),
    ] = False,
    library: LibraryOption = None,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show where the library is and what it holds.

    Its folders, photos, failures, models with the hash of their weights, index and disk use.
    """
    from clipsearch.cli.library_info import show_info

    show_info(library, failures=failures, json=json, verbose=verbose)
