"""`clipsearch mcp`: let an agent look into the library, by the Model Context Protocol."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli import completing
from clipsearch.cli.ending import log_everything, say
from clipsearch.cli.listening import TOKEN_VARIABLE, HostOption, port_option, token_for
from clipsearch.cli.options import LibraryOption, VerboseOption
from clipsearch.errors import InvalidInput

if TYPE_CHECKING:
    from clipsearch.serving.agents.scope import Scope
    from clipsearch.serving.web.served import Served


def mcp(
    library: LibraryOption = None,
    in_: Annotated[
        Path | None,
        typer.Option(
            "--in",
            metavar="FOLDER",
            autocompletion=completing.known_folders,
            show_default=False,
            help="Let the agent see nothing but the photos in this folder and below.",
        ),
    ] = None,
    details: Annotated[
        bool,
        typer.Option(
            "--details",
            show_default=False,
            help="Tell the agent places, coordinates and full paths, too.",
        ),
    ] = False,
    http: Annotated[
        bool,
        typer.Option(
            "--http", show_default=False, help="Answer by HTTP, not on the standard streams."
        ),
    ] = False,
    host: HostOption = None,
    port: Annotated[int | None, port_option(8001)] = None,
    verbose: VerboseOption = False,
) -> None:
    """Let an agent look into the library: search, see photos, change nothing.

    An agent may live elsewhere: what it is shown leaves this machine. It is started by the agent's
    own program, whose settings name this command; with --http it stays and waits for agents. Needs
    the extra mcp.
    """
    if not http and (host is not None or port is not None):
        raise InvalidInput("--host and --port are for HTTP: give --http, too")
    from clipsearch.serving.agents.scope import Scope
    from clipsearch.serving.agents.server import check_installed, serve_streams, serving_agents
    from clipsearch.settings import absolute, library_folder
    from clipsearch.showing.kept_thumbnails import DEFAULT_BYTES

    check_installed()
    if verbose:
        log_everything()
    scope = Scope(None if in_ is None else absolute(in_), details)
    folder = library_folder(library)
    with serving_agents(folder, scope, thumbnails_bytes=DEFAULT_BYTES) as served:
        if http:
            _serve_http(served, scope, host or "127.0.0.1", 8001 if port is None else port)
            return
        if sys.stdin.isatty():
            say("answers an agent on the standard streams, and ends with them or by Ctrl-C")
        serve_streams(served, scope)


def _serve_http(served: "Served", scope: "Scope", host: str, port: int) -> None:
    import os
    import signal
    import threading

    from clipsearch.serving.agents.server import opened

    ended = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: ended.set())
    token = token_for(host)
    with opened(served, scope, host, port, token) as address:
        say(f"agents: {address}")
        if token is not None and not os.environ.get(TOKEN_VARIABLE):
            say(f"they send the header Authorization: Bearer {token}")
        say("ends by Ctrl-C")
        ended.wait()
