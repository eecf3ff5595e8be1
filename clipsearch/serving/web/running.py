"""The web door opened: an HTTP server in a thread of its own, beside the socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clipsearch.errors import LibraryError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from clipsearch.serving.searcher import WarmSearcher

_WAITING = 256  # connections that wait to be taken
_SECONDS_TO_DRAIN = 5


@contextmanager
def opened(searcher: WarmSearcher, host: str, port: int, token: str | None) -> Iterator[str]:
    """Open the web door of a searcher for the block; gives its address.

    Raises LibraryError where it can't listen.
    """
    from clipsearch.serving.web.access import Access
    from clipsearch.serving.web.app import app
    from clipsearch.serving.web.served import Served

    with _serving(app(Served(searcher), Access(token)), host, port) as address:
        yield address


@contextmanager
def _serving(app: Starlette, host: str, port: int) -> Iterator[str]:
    import uvicorn

    with _bound(host, port) as listener:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_SECONDS_TO_DRAIN,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="clipsearch-web", daemon=True
        )
        thread.start()
        try:
            at = listener.getsockname()
            shown = f"[{at[0]}]" if ":" in at[0] else at[0]
            yield f"http://{shown}:{at[1]}"
        finally:
            server.should_exit = True
            thread.join(_SECONDS_TO_DRAIN + 2)


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(where[:2], family=family, backlog=_WAITING)
    except OSError as error:
        raise LibraryError(
            f"can't listen on {host}, port {port}: {error.strerror or error}"
        ) from error
