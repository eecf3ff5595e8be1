"""Query pictures from the web: fetched with limits, or refused with a reason."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from clipsearch.errors import InvalidInput

if TYPE_CHECKING:
    import http.client
    import urllib.request

MAX_BYTES = 50_000_000
SECONDS_WITHOUT_DATA = 15.0
SECONDS_IN_ALL = 120.0


def is_web_address(text: str) -> bool:
    """Return whether a query names a picture on the web."""
    return text.lower().startswith(("http://", "https://"))


def fetch_picture(
    address: str,
    *,
    max_bytes: int = MAX_BYTES,
    patience: float = SECONDS_WITHOUT_DATA,
    deadline: float = SECONDS_IN_ALL,
) -> bytes:
    """Return the bytes behind an http(s) address.

    Waits at most `patience` seconds for the next bytes and `deadline` seconds in all. Only the
    size and the kind that the server states are checked; whether the bytes are a picture shows
    when they are opened. Raises InvalidInput with a one-line reason.
    """
    import http.client
    import urllib.error

    started = time.monotonic()
    try:
        with _opener().open(_request(address), timeout=patience) as response:
            _check_headers(address, response, max_bytes)
            return _read(address, response, max_bytes, started + deadline)
    except urllib.error.HTTPError as error:
        raise InvalidInput(f"{address}: the server answered {error.code} {error.msg}") from error
    except urllib.error.URLError as error:
        raise _unreachable(address, error.reason) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _unreachable(address, error) from error


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener that knows http and https only, also after a redirect."""
    import urllib.request as web

    opener = web.OpenerDirector()
    for handler in (
        web.ProxyHandler,
        web.HTTPHandler,
        web.HTTPSHandler,
        web.HTTPRedirectHandler,
        web.HTTPDefaultErrorHandler,
        web.HTTPErrorProcessor,
        web.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _request(address: str) -> urllib.request.Request:
    """Return the request, with spaces and letters beyond ASCII in the address encoded."""
    import urllib.parse
    import urllib.request

    from clipsearch import __version__

    parts = urllib.parse.urlsplit(address)
    reserved = "/%:@!$&'()*+,;=~?"
    encoded = parts._replace(
        path=urllib.parse.quote(parts.path, safe=reserved),
        query=urllib.parse.quote(parts.query, safe=reserved),
        fragment="",
    )
    headers = {"User-Agent": f"clipsearch/{__version__}", "Accept": "image/*"}
    return urllib.request.Request(encoded.geturl(), headers=headers)


def _check_headers(address: str, response: http.client.HTTPResponse, max_bytes: int) -> None:
    kind = response.headers.get_content_type()
    if kind.startswith("text/"):
        raise InvalidInput(
            f"{address} is no picture but {kind}: give the address of the picture itself"
        )
    if response.length is not None and response.length > max_bytes:
        raise _too_large(address, max_bytes)


def _read(address: str, response: http.client.HTTPResponse, max_bytes: int, until: float) -> bytes:
    expected = response.length
    data = bytearray()
    while chunk := response.read1(1 << 16):
        data += chunk
        if len(data) > max_bytes:
            raise _too_large(address, max_bytes)
        if time.monotonic() > until:
            raise InvalidInput(f"{address}: took too long to arrive")
    if not data or (expected is not None and len(data) < expected):
        raise InvalidInput(f"{address}: only {len(data)} bytes arrived")
    return bytes(data)


def _too_large(address: str, max_bytes: int) -> InvalidInput:
    return InvalidInput(f"{address} is larger than {max_bytes / 1e6:g} MB")


def _unreachable(address: str, reason: object) -> InvalidInput:
    words = "the server did not answer in time" if isinstance(reason, TimeoutError) else reason
    return InvalidInput(f"can't fetch {address}: {words}")
