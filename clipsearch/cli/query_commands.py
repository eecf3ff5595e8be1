"""`clipsearch query` and `clipsearch similar`: search the library."""

from typing import Annotated

import typer

from clipsearch.cli.options import (
    Device,
    DeviceOption,
    ExactOption,
    IncludeAwayOption,
    JsonOption,
    LibraryOption,
    MinScoreOption,
    PathsOption,
    Print0Option,
    SearchModelOption,
    TopOption,
    VerboseOption,
    refuse_two_shapes,
)
from clipsearch.cli.searching import Search, run


def query(
    asked: Annotated[
        str,
        typer.Argument(
            metavar="QUERY",
            show_default=False,
            help="Words that say what the photo shows; or a picture: its path, its "
            "address (http, https, file, data), or - for a picture on standard input.",
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
    exact: ExactOption = False,
    device: DeviceOption = Device.auto,
    json: JsonOption = False,
    paths: PathsOption = False,
    print0: Print0Option = False,
    verbose: VerboseOption = False,
) -> None:
    """Find photos with words or with another picture, best first.

    Example: clipsearch query "a dog on a beach"

    A `clipsearch serve` that runs for the library answers at once; --model, --device or
    CLIPSEARCH_NO_SERVER=1 in the environment go without it.
    """
    refuse_two_shapes(json=json, paths=paths, print0=print0)
    if text and image:
        raise typer.BadParameter("--text and --image can't be used together")
    run(
        Search(
            "query",
            asked,
            text=text,
            image=image,
            top=top,
            min_score=min_score,
            library=library,
            model=model,
            include_away=include_away,
            exact=exact,
            device=device.value,
            json=json,
            paths=paths,
            print0=print0,
        )
    )


def similar(
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE",
            show_default=False,
            help="A picture: its path, its address, or - for standard input.",
        ),
    ],
    top: TopOption = 10,
    min_score: MinScoreOption = None,
    library: LibraryOption = None,
    model: SearchModelOption = None,
    include_away: IncludeAwayOption = False,
    exact: ExactOption = False,
    device: DeviceOption = Device.auto,
    json: JsonOption = False,
    paths: PathsOption = False,
    print0: Print0Option = False,
    verbose: VerboseOption = False,
) -> None:
    """Find the photos most like a picture, without the picture itself.

    Example: clipsearch similar beach.jpg

    A `clipsearch serve` that runs for the library answers, as for `clipsearch query`.
    """
    refuse_two_shapes(json=json, paths=paths, print0=print0)
    run(
        Search(
            "similar",
            image,
            top=top,
            min_score=min_score,
            library=library,
            model=model,
            include_away=include_away,
            exact=exact,
            device=device.value,
            json=json,
            paths=paths,
            print0=print0,
        )
    )
