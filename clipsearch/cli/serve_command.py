"""`clipsearch serve`: keep models and vectors loaded, so that searches are answered at once."""

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.ending import say
from clipsearch.cli.given_values import number
from clipsearch.cli.options import LibraryOption, VerboseOption

_LONGEST = 1e6  # minutes: two years

if TYPE_CHECKING:
    from types import FrameType

    from clipsearch.serving.server import SocketServer


def serve(
    library: LibraryOption = None,
    idle: Annotated[
        float,
        typer.Option(
            "--idle",
            metavar="MINUTES",
            parser=number("--idle", least=0),
            help="End when nothing was asked for so long; 0 never ends.",
        ),
    ] = 60.0,
    verbose: VerboseOption = False,
) -> None:
    """Keep the library loaded, so that query and similar answer at once.

    They ask this process by themselves, on a socket that only you can open, and get the same
    results. It sees new photos as soon as they are indexed. Ctrl-C or SIGTERM ends it with 0.
    """
    from clipsearch.serving.server import serve
    from clipsearch.settings import library_folder

    folder = library_folder(library)

    def ready(server: "SocketServer") -> None:
        def stop(number: int, frame: "FrameType | None") -> None:
            signal.signal(number, signal.SIG_DFL)  # the second ends it at once
            server.stop()

        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, stop)
        say(f"serving {folder}")

    serve(folder, idle_seconds=60 * min(idle, _LONGEST) or None, ready=ready)
