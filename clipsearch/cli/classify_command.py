"""`clipsearch classify`: which of some labels pictures show."""

from pathlib import Path
from typing import Annotated

import typer

from clipsearch.cli.options import JsonOption, LibraryOption, VerboseOption


def classify(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            show_default=False,
            help="Pictures: paths or addresses; they need not be in the library.",
        ),
    ],
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            metavar="LABELS",
            show_default=False,
            help="What they may show: 'cat,dog,a bird', or a file with one a line.",
        ),
    ],
    library: LibraryOption = None,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Say which of some labels each picture shows, with probabilities that add up to 1.

    They are the model's own, if a picture shows one of the labels: where none may fit, add one that
    is left over, such as "something else". Ends with 2 if a picture can't be read.
    """
    from clipsearch.cli.ending import say
    from clipsearch.cli.output import write_json
    from clipsearch.cli.tables import show_table
    from clipsearch.library import Library

    with Library(library, create=False, read_only=True) as lib:
        found = lib.classify(images, _labels(labels))
    rows = []
    for one in found:
        if json:
            shares = dict(zip(one.labels, one.probabilities, strict=True))
            write_json({"picture": one.picture, "labels": shares, "error": one.error})
        elif one.error is None:
            pairs = zip(one.labels, one.probabilities, strict=True)
            rows += [(f"{share:.3f}", label, one.picture) for label, share in pairs]
    if not json and rows:
        show_table("", ("probability", "label", "picture"), rows)
    unread = [(one.picture, one.error) for one in found if one.error is not None]
    for picture, error in unread:
        say(error if picture in error else f"{picture}: {error}")
    if unread:
        raise typer.Exit(2)


def _labels(given: str) -> list[str]:
    """Return the labels of the option: those of a file, if there is one of this name."""
    from clipsearch.words.lists import read_words

    path = Path(given).expanduser()
    if "," not in given and (path.is_file() or path.suffix == ".txt"):
        return list(read_words(path).words)
    return given.split(",")
