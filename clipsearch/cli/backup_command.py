"""`clipsearch backup` and `clipsearch restore`: a library in one file, and back."""

from pathlib import Path
from typing import Annotated

import typer

from clipsearch.cli.options import JsonOption, LibraryOption, VerboseOption
from clipsearch.cli.printable import shown_count, size_in_words


def backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", show_default=False, help="The file to write.")
    ],
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            show_default=False,
            help="Replace FILE if it is there; it stays whole if the copy fails.",
        ),
    ] = False,
    library: LibraryOption = None,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Copy the library into one file, also while it is in use; photos are not in it.

    FILE is a plain tar with the catalog, the text models and checksums.
    """
    from clipsearch.cli.output import write_json, write_text
    from clipsearch.upkeep import backup_library

    report = backup_library(library, file, replace=force)
    if json:
        write_json(report.to_dict())
        return
    photos = shown_count(report.photos, "photo")
    write_text(f"{report.file}: {photos}, {size_in_words(report.bytes)}")


def restore(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", show_default=False, help="What `clipsearch backup` wrote."),
    ],
    library: LibraryOption = None,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Make the library from a backup, in a folder that is empty or missing.

    Nothing is embedded again; `clipsearch index` then brings it up to date with the photos.
    """
    from clipsearch.cli.output import write_json, write_text
    from clipsearch.upkeep import restore_library

    report = restore_library(file, library)
    if json:
        write_json(report.to_dict())
        return
    photos = shown_count(report.photos, "photo")
    write_text(
        f"{report.folder}: {photos} as of {report.made_at}; "
        "`clipsearch index` brings it up to date with the files"
    )
