"""`clipsearch serve`: keep models and vectors loaded, so that searches are answered at once."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.ending import NOTHING_FOUND, say
from clipsearch.cli.given_values import number
from clipsearch.cli.options import LibraryOption, VerboseOption
from clipsearch.errors import InvalidInput

_LONGEST = 1e6  # minutes: two years

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from clipsearch.serving.server import Serving, WebDoor


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
    web: Annotated[
        bool,
        typer.Option("--web", show_default=False, help="Show the photos in the browser, too."),
    ] = False,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where the page is served.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="N", parser=number("--port", least=0), help="At which port."
        ),
    ] = 8000,
    background: Annotated[
        bool,
        typer.Option(
            "--background",
            show_default=False,
            help="Return once it serves, and let it go on alone.",
        ),
    ] = False,
    stop: Annotated[
        bool,
        typer.Option("--stop", show_default=False, help="End the server that runs."),
    ] = False,
    verbose: VerboseOption = False,
) -> None:
    """Keep the library loaded, so that query and similar answer at once.

    They ask this process by themselves, on a socket that only you can open, and get the same
    results. It sees new photos as soon as they are indexed. Ctrl-C or SIGTERM ends it with 0. With
    --stop, 1 means that none ran.
    """
    from clipsearch.settings import library_folder

    folder = library_folder(library)
    if stop and background:
        raise InvalidInput("--stop can't be used together with --background")
    if stop:
        _stop(folder)
        return
    minutes = min(idle, _LONGEST)
    if not background:
        from clipsearch.serving.server import WebDoor

        door = WebDoor(host, int(port)) if web else None
        _serve(folder, minutes, lambda: _say_that_it_serves(folder, minutes, "by Ctrl-C"), door)
        return
    from clipsearch.serving.background import start_alone

    process = start_alone(lambda ready: _serve(folder, minutes, ready))
    if process is not None:
        _say_that_it_serves(f"{folder} in the background (process {process})", minutes)


def _serve(
    folder: Path, minutes: float, ready: "Callable[[], None]", web: "WebDoor | None" = None
) -> None:
    from clipsearch.serving.server import serve

    def listen(server: "Serving") -> None:
        def stop(number: int, frame: "FrameType | None") -> None:
            signal.signal(number, signal.SIG_DFL)  # the second ends it at once
            server.stop()

        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, stop)
        if server.address:
            say(f"the page: {server.address}")
        ready()

    serve(folder, idle_seconds=60 * minutes or None, ready=listen, web=web)


def _say_that_it_serves(what: Path | str, minutes: float, *also: str) -> None:
    say(f"serving {what}")
    say("`query` and `similar` ask it by themselves, and have their answers at once")
    idle = [f"{minutes:g} min after the last search"] if minutes else []
    ends = ", ".join([*idle, *also])
    say(f"ends {ends + ' or ' if ends else ''}by `clipsearch serve --stop`")


def _stop(folder: Path) -> None:
    from clipsearch.serving.background import stop_server

    process = stop_server(folder)
    if process is None:
        say(f"no server runs for {folder}")
        sys.exit(NOTHING_FOUND)
    say(f"the server for {folder} (process {process}) has ended")
