"""`clipsearch query` and `clipsearch similar`: search the library."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.asked import STANDARD_INPUT, given_picture, understand
from clipsearch.cli.ending import NOTHING_FOUND, say
from clipsearch.cli.options import (
    Device,
    DeviceOption,
    IncludeAwayOption,
    JsonOption,
    LibraryOption,
    MinScoreOption,
    PathsOption,
    Print0Option,
    SearchModelOption,
    Shape,
    TopOption,
    VerboseOption,
    shape_of,
)
from clipsearch.cli.printable import shown_count
from clipsearch.errors import InvalidInput, UnreadableImage

if TYPE_CHECKING:
    from clipsearch.library import Library
    from clipsearch.results import Hit


def query(
    asked: Annotated[
        str,
        typer.Argument(
            metavar="QUERY",
            show_default=False,
            help="Words that say what the photo shows; or a picture: its path, its http(s) "
            "address, or - for a picture on standard input.",
        ),
    ],
    text: Annotated[
        bool,
        typer.Option("--text", show_default=False, help="QUERY is words, whatever it looks like."),
    ] = False,
    image: Annotated[
        bool,
        typer.Option("--image", show_default=False, help="QUERY is a picture, not words."),
    ] = False,
    top: TopOption = 10,
    min_score: MinScoreOption = None,
    library: LibraryOption = None,
    model: SearchModelOption = None,
    include_away: IncludeAwayOption = False,
    device: DeviceOption = Device.auto,
    json: JsonOption = False,
    paths: PathsOption = False,
    print0: Print0Option = False,
    verbose: VerboseOption = False,
) -> None:
    """Find photos with words or with another picture, best first.

    Example: clipsearch query "a dog on a beach"
    """
    from clipsearch.library import Library

    shape = shape_of(json=json, paths=paths, print0=print0)
    if text and image:
        raise typer.BadParameter("--text and --image can't be used together")
    with Library(library, read_only=True, device=device.value) as lib, _naming(asked):
        meant = understand(asked, text=text, image=image)
        hits = lib.query(meant, k=top, model=model, min_score=min_score, include_away=include_away)
        _say_what_is_away(lib, include_away)
    _show(hits, shape)


def similar(
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE",
            show_default=False,
            help="A picture: its path, its http(s) address, or - for standard input.",
        ),
    ],
    top: TopOption = 10,
    min_score: MinScoreOption = None,
    library: LibraryOption = None,
    model: SearchModelOption = None,
    include_away: IncludeAwayOption = False,
    device: DeviceOption = Device.auto,
    json: JsonOption = False,
    paths: PathsOption = False,
    print0: Print0Option = False,
    verbose: VerboseOption = False,
) -> None:
    """Find the photos most like a picture, without the picture itself.

    Example: clipsearch similar beach.jpg
    """
    from clipsearch.library import Library

    shape = shape_of(json=json, paths=paths, print0=print0)
    with Library(library, read_only=True, device=device.value) as lib, _naming(image):
        picture = given_picture(image)
        hits = lib.similar(
            picture, k=top, model=model, min_score=min_score, include_away=include_away
        )
        _say_what_is_away(lib, include_away)
    _show(hits, shape)


@contextmanager
def _naming(asked: str) -> Iterator[None]:
    """Say which picture it is that can't be read."""
    try:
        yield
    except UnreadableImage as error:
        name = "the picture on standard input" if asked == STANDARD_INPUT else asked
        raise InvalidInput(f"can't search with {name}: {error}") from error


def _say_what_is_away(library: "Library", include_away: bool) -> None:
    for folder in () if include_away else library.away():
        photos = shown_count(folder.photos, "photo")
        say(f"{folder.path} {folder.reason}: {photos} left out (--include-away shows them)")


def _show(hits: Sequence["Hit"], shape: Shape) -> None:
    from clipsearch.cli.output import show_hits

    show_hits(hits, shape)
    if not hits:
        say("nothing found")
        raise typer.Exit(NOTHING_FOUND)
