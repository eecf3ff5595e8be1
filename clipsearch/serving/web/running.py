"""The web door opened: an HTTP server in a thread of its own, beside the socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipsearch.errors import LibraryError
from clipsearch.showing.kept_thumbnails import DEFAULT_BYTES, KeptThumbnails
from clipsearch.showing.picture_maker import PictureMaker

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.routing import BaseRoute

    from clipsearch.serving.searcher import WarmSearcher
    from clipsearch.serving.web.served import Served

_WAITING = 256  # connections that wait to be taken
_MOST_CONNECTIONS = 1024
_SECONDS_TO_DRAIN = 5


@dataclass(frozen=True)
class WebDoor:
    """Where the web door opens, and what is asked of who comes."""

    host: str
    port: int  # 0: any that is free
    token: str | None = None
    thumbnails_bytes: int = DEFAULT_BYTES  # that may be kept beside the library
    fetch: bool = False  # pictures from public addresses, for clients
    # More routes behind the same door, of what is served there.
    more: Callable[[Served], Sequence[BaseRoute]] = lambda served: ()


@contextmanager
def opened(searcher: WarmSearcher, door: WebDoor, used: Callable[[], None]) -> Iterator[str]:
    """Open the web door of a searcher for the block; gives its address.

    `used` is told of each request but those that only look after the server.
    Raises LibraryError where it can't listen.
    """
    from clipsearch.serving.web.access import Access
    from clipsearch.serving.web.app import app
    from clipsearch.serving.web.fetching import Fetcher
    from clipsearch.serving.web.served import Served

    searcher.prepare_for_browsing()
    access = Access(door.token, used)
    kept = KeptThumbnails(searcher.folder, door.thumbnails_bytes)
    with closing(PictureMaker(kept)) as pictures, closing(Fetcher()) as fetcher:
        served = Served(searcher, pictures, fetcher if door.fetch else None)
        with listening(app(served, access, door.more(served)), door.host, door.port) as address:
            pictures.start()
            yield address


@contextmanager
def listening(app: Starlette, host: str, port: int) -> Iterator[str]:
    """Answer by HTTP for the block, in a thread of its own; gives the address.

    Raises LibraryError where it can't listen.
    """
    import uvicorn

    with _bound(host, port) as listener:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_SECONDS_TO_DRAIN,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="clipsearch-web", daemon=True
        )
        thread.start()
        try:
            yield _address(*listener.getsockname()[:2])
        finally:
            server.should_exit = True
            thread.join(_SECONDS_TO_DRAIN + 2)


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(where[:2], family=family, backlog=_WAITING)
    except OSError as error:
        raise LibraryError(
            f"can't listen on {host}, port {port}: {error.strerror or error}"
        ) from error
    # An answer goes out as head and body: the second would wait 40 ms for the first's receipt.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _address(host: str, port: int) -> str:
    """Return where a browser finds the server; one on all addresses by this machine's name."""
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
