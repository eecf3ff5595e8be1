"""`clipsearch serve`: keep models and vectors loaded, so that searches are answered at once."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.ending import NOTHING_FOUND, log_everything, say
from clipsearch.cli.given_values import number, one_of_names, whole_number
from clipsearch.cli.listening import TOKEN_VARIABLE, HostOption, port_option, token_for
from clipsearch.cli.options import LibraryOption, VerboseOption
from clipsearch.cli.printable import printable
from clipsearch.errors import InvalidInput

_LONGEST = 1e6  # minutes: two years
_USUAL_IDLE = 60.0  # minutes
_LOG_LEVELS = ("error", "info", "debug")

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from clipsearch.serving.server import Serving
    from clipsearch.serving.web.running import WebDoor


def serve(
    library: LibraryOption = None,
    web: Annotated[
        bool,
        typer.Option(
            "--web", show_default=False, help="Show the photos in a browser, and answer by HTTP."
        ),
    ] = False,
    host: HostOption = None,
    port: Annotated[int | None, port_option(8000)] = None,
    open_page: Annotated[
        bool, typer.Option("--open", show_default=False, help="Open the page in the browser.")
    ] = False,
    agents: Annotated[
        bool,
        typer.Option(
            "--mcp",
            show_default=False,
            help="Let agents look into the library at /mcp, as `clipsearch mcp` does.",
        ),
    ] = False,
    fetch: Annotated[
        bool,
        typer.Option(
            "--fetch",
            show_default=False,
            help="Fetch pictures for who asks with their addresses, from the public web alone.",
        ),
    ] = False,
    thumbnails: Annotated[
        int,
        typer.Option(
            "--thumbnails-mb",
            metavar="N",
            parser=whole_number("--thumbnails-mb", least=0),
            help="Keep small pictures of so many MB beside the library; 0 keeps none.",
        ),
    ] = 2000,
    idle: Annotated[
        float | None,
        typer.Option(
            "--idle",
            metavar="MINUTES",
            parser=number("--idle", least=0),
            help="End when nothing was asked for so long; 0 never ends.  [default: 60; with --web "
            "0]",
        ),
    ] = None,
    background: Annotated[
        bool,
        typer.Option(
            "--background",
            show_default=False,
            help="Return once it serves, and let it go on alone.",
        ),
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", show_default=False, help="Say whether one runs, and where.")
    ] = False,
    stop: Annotated[
        bool,
        typer.Option("--stop", show_default=False, help="End the server that runs."),
    ] = False,
    log: Annotated[
        str,
        typer.Option(
            "--log",
            metavar="LEVEL",
            parser=one_of_names("--log", _LOG_LEVELS),
            help="What to log: error, info (a line a request, without its words), debug.",
        ),
    ] = "error",
    log_file: Annotated[
        Path | None,
        typer.Option(
            "--log-file", metavar="FILE", help="Add the log to this file, not to standard error."
        ),
    ] = None,
    verbose: VerboseOption = False,
) -> None:
    """Keep the library loaded, so that query and similar answer at once.

    They ask this process by themselves, on a socket that only you can open, and get the same
    results. It sees new photos as soon as they are indexed. Ctrl-C or SIGTERM ends it with 0. With
    --stop and --status, 1 means that none ran.

    With --web it shows the photos in a browser, too, and answers programs by HTTP.
    """
    from clipsearch.settings import library_folder

    folder = library_folder(library)
    if sum((status, stop, background)) > 1:
        raise InvalidInput("--stop, --status and --background can't be used together")
    if not web and (host is not None or port is not None or open_page or agents or fetch):
        raise InvalidInput(
            "--host, --port, --open, --mcp and --fetch are for the page: give --web, too"
        )
    if stop:
        _stop(folder)
        return
    if status:
        _show_status(folder)
        return
    door = None
    if web:
        door = _door(host or "127.0.0.1", 8000 if port is None else port, 1_000_000 * thumbnails)
        door = replace(_for_agents(door, wanted=agents), fetch=fetch)
    minutes = min((0.0 if web else _USUAL_IDLE) if idle is None else idle, _LONGEST)
    _begin_log(log, log_file, verbose=verbose)

    def serves(where: str, address: str | None, *also: str) -> None:
        _say_that_it_serves(where, minutes, _page(address, door), *also)
        if open_page and address and door:
            _open(address, door)

    if not background:
        _serve(
            *(folder, minutes, door),
            lambda serving: serves(str(folder), serving.address, "by Ctrl-C"),
        )
        return
    from clipsearch.serving.background import start_alone
    from clipsearch.serving.client import server_status

    process = start_alone(lambda ready: _serve(folder, minutes, door, lambda _: ready()))
    if process is not None:
        address = (server_status(folder) or {}).get("web") if web else None
        serves(f"{folder} in the background (process {process})", address)


def _door(host: str, port: int, thumbnails_bytes: int) -> "WebDoor":
    """Return where the page is, with a token unless only this machine can reach it."""
    from clipsearch.serving.web.running import WebDoor

    return WebDoor(host, port, token_for(host), thumbnails_bytes)


def _for_agents(door: "WebDoor", *, wanted: bool) -> "WebDoor":
    """Return the same door, with what agents ask at if they are wanted."""
    if not wanted:
        return door
    from clipsearch.serving.agents.scope import Scope
    from clipsearch.serving.agents.server import check_installed, route

    check_installed()
    any_host = door.token is not None
    return replace(door, more=lambda served: [route(served, Scope(), any_host=any_host)])


def _serve(
    folder: Path, minutes: float, door: "WebDoor | None", ready: "Callable[[Serving], None]"
) -> None:
    from clipsearch.serving.server import serve

    def listen(serving: "Serving") -> None:
        def stop(number: int, frame: "FrameType | None") -> None:
            signal.signal(number, signal.SIG_DFL)  # the second ends it at once
            serving.stop()

        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, stop)
        ready(serving)

    serve(folder, idle_seconds=60 * minutes or None, ready=listen, web=door)


def _begin_log(level: str, file: Path | None, *, verbose: bool) -> None:
    """Log to a file, or to standard error; it is opened before the server lets go of that."""
    import logging

    if verbose:
        log_everything()
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if file is not None:
        try:
            handler = logging.FileHandler(file.absolute(), encoding="utf-8", errors="replace")
        except OSError as error:
            raise InvalidInput(f"can't write {file}: {error.strerror or error}") from error
    elif verbose:
        return
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("clipsearch")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else level.upper())


def _page(address: str | None, door: "WebDoor | None") -> str | None:
    """Return the line that says where the page is, with the token for who may see it."""
    if address is None or door is None:
        return None
    if door.token is None:
        return f"the page: {address}"
    if os.environ.get(TOKEN_VARIABLE):
        return f"the page: {address} (asks for the token in {TOKEN_VARIABLE})"
    return f"the page: {address}/?token={door.token} (whoever has this sees the photos)"


def _open(address: str, door: "WebDoor") -> None:
    import webbrowser

    from clipsearch.errors import ClipsearchError
    from clipsearch.showing.viewer import check_display

    try:
        check_display()
        webbrowser.open(f"{address}/?token={door.token}" if door.token else address)
    except (ClipsearchError, webbrowser.Error) as error:
        say(f"the browser can't be opened: {error}")


def _say_that_it_serves(what: str, minutes: float, page: str | None, *also: str) -> None:
    say(f"serving {what}")
    if page:
        say(page)
    say("`query` and `similar` ask it by themselves, and have their answers at once")
    idle = [f"{minutes:g} min after the last search"] if minutes else []
    ends = ", ".join([*idle, *also])
    say(f"ends {ends + ' or ' if ends else ''}by `clipsearch serve --stop`")


def _show_status(folder: Path) -> None:
    from clipsearch.cli.output import write_text
    from clipsearch.serving.client import server_process, server_status

    said = server_status(folder)
    process = said["process"] if said else server_process(folder)
    if process is None:
        say(f"no server runs for {folder}")
        sys.exit(NOTHING_FOUND)
    lines = [f"process {process} serves {folder}" + ("" if said else ", or will in a moment")]
    if said:
        lines.append(f"since {said.get('since')}")
        lines.append(f"the page: {said['web']}" if said.get("web") else "no page: --web shows one")
    write_text("\n".join(map(printable, lines)))


def _stop(folder: Path) -> None:
    from clipsearch.serving.background import stop_server

    process = stop_server(folder)
    if process is None:
        say(f"no server runs for {folder}")
        sys.exit(NOTHING_FOUND)
    say(f"the server for {folder} (process {process}) has ended")
