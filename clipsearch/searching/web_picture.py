"""Query pictures that an address stands for: found or fetched with limits, or refused."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.errors import InvalidInput

if TYPE_CHECKING:
    import http.client
    import urllib.request

MAX_BYTES = 50_000_000
SECONDS_WITHOUT_DATA = 15.0
SECONDS_IN_ALL = 120.0

_SCHEME = r"[a-z][a-z0-9+.-]*:"
_ADDRESS = re.compile(
    rf"{_SCHEME}(?:{_SCHEME})?//|file:/|data:(?:[\w.+-]+/[\w.+-]|[;,])", re.IGNORECASE
)
_FILE = re.compile(r"file:(?://(?P<host>[^/]*)|(?!//))(?P<path>/.*)", re.IGNORECASE | re.DOTALL)
_PASSWORD = re.compile(r"(?<=://)[^/?#\s]*@")
_LONGEST_SHOWN = 200  # characters


def is_address(text: str) -> bool:
    """Return whether a query is an address, not words: `scheme://...`, `data:...`, `file:/...`."""
    return _ADDRESS.match(text.strip()) is not None


def is_web_address(text: str) -> bool:
    """Return whether a query names a picture on the web."""
    return text.lower().startswith(("http://", "https://"))


def shown_address(address: str) -> str:
    """Return an address for a message: without a password, and not as long as a picture."""
    shown = _PASSWORD.sub("", address)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:60]}…"


def picture_at(address: str) -> Path | bytes:
    """Return the file that an address stands for, or the bytes in or behind it.

    Raises InvalidInput with a one-line reason.
    """
    address = address.strip()
    scheme = address.partition(":")[0].lower()
    try:
        if scheme == "data":
            return _data_in(address)
        if scheme == "file":
            return _file_at(address)
    except UnicodeError as error:
        raise InvalidInput("an address with half a character in it is none") from error
    if is_web_address(address):
        return fetch_picture(address)
    raise InvalidInput(f"{shown_address(address)}: only http and https addresses can be fetched")


def _data_in(address: str) -> bytes:
    """Return what a `data:` address holds, as base64 or with percent signs."""
    import base64

    shown = shown_address(address)
    head, comma, body = address.partition(",")
    if not comma:
        raise InvalidInput(f"{shown} holds no picture: it ends before the comma")
    if len(body) > 3 * MAX_BYTES:
        raise _too_large(shown, MAX_BYTES)
    data = _unquoted(body)
    if head.lower().replace(" ", "").endswith(";base64"):
        letters = b"".join(data.split()).rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        try:
            data = base64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)
        except ValueError as error:
            raise InvalidInput(f"{shown} is cut short or no base64") from error
    if not data or len(data) > MAX_BYTES:
        raise _too_large(shown, MAX_BYTES) if data else InvalidInput(f"{shown} holds no picture")
    return data


def _unquoted(text: str) -> bytes:
    """Return the bytes of text with percent signs; those that were no UTF-8 stay what they are."""
    import urllib.parse

    return urllib.parse.unquote_to_bytes(text.encode("utf-8", "surrogateescape"))


def _file_at(address: str) -> Path:
    found = _FILE.fullmatch(address)
    if found is None or (found["host"] or "localhost").lower() not in ("localhost", "127.0.0.1"):
        raise InvalidInput(
            f"{shown_address(address)}: a file on this machine is file:///folder/name"
        )
    path = os.fsdecode(_unquoted(found["path"]))
    if "\0" in path:
        raise InvalidInput(f"{shown_address(address)}: no file can have this name")
    return Path(path.lstrip("/") if os.name == "nt" else path)


def fetch_picture(
    address: str,
    *,
    max_bytes: int = MAX_BYTES,
    patience: float = SECONDS_WITHOUT_DATA,
    deadline: float = SECONDS_IN_ALL,
) -> bytes:
    """Return the bytes behind an http(s) address.

    Waits at most `patience` seconds for the next bytes and `deadline` seconds in all. The bytes
    tell whether they are a picture, not the kind that the server states; text is refused here,
    all else when it is opened. Raises InvalidInput with a one-line reason.
    """
    import http.client
    import urllib.error

    started = time.monotonic()
    shown = shown_address(address)
    try:
        with _opener().open(request_for(address), timeout=patience) as response:
            return picture_in(shown, response, max_bytes, started + deadline)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise InvalidInput(f"{shown}: the server answered {error.code} {error.msg}") from error
    except urllib.error.URLError as error:
        raise unreachable(shown, error.reason) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise unreachable(shown, error) from error


def picture_in(
    address: str, response: http.client.HTTPResponse, max_bytes: int, until: float
) -> bytes:
    """Return the bytes of an answer; raises InvalidInput, for what is too large, too."""
    if response.length is not None and response.length > max_bytes:
        raise _too_large(address, max_bytes)
    data = _read(address, response, max_bytes, until)
    _refuse_text(address, response, data)
    return data


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


def request_for(address: str) -> urllib.request.Request:
    """Return the request, with spaces and letters beyond ASCII in the address encoded.

    A name and password in the address go to its own server only, not on with a redirect.
    """
    import base64
    import urllib.parse
    import urllib.request

    from clipsearch import __version__

    parts = urllib.parse.urlsplit(address)
    user, _, host = parts.netloc.rpartition("@")
    reserved = "/%:@!$&'()*+,;=~?"
    encoded = parts._replace(
        netloc=host,
        path=urllib.parse.quote(parts.path, safe=reserved),
        query=urllib.parse.quote(parts.query, safe=reserved),
        fragment="",
    )
    headers = {"User-Agent": f"clipsearch/{__version__}", "Accept": "image/*"}
    request = urllib.request.Request(encoded.geturl(), headers=headers)
    if user:
        token = base64.b64encode(urllib.parse.unquote_to_bytes(user)).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _refuse_text(address: str, response: http.client.HTTPResponse, data: bytes) -> None:
    from clipsearch.photos.formats import what_else

    found = re.search("looks like (text|a web page)", what_else(data) or "")
    if found is not None:
        stated = response.headers.get_content_type() if "Content-Type" in response.headers else ""
        kind = stated if stated.startswith("text/") else found[1]
        raise InvalidInput(
            f"{address} is no picture but {kind}: give the address of the picture itself"
        )


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


def unreachable(address: str, reason: object) -> InvalidInput:
    """Return what says why nothing came from an address."""
    words = reason.strerror or reason if isinstance(reason, OSError) else reason
    if isinstance(reason, TimeoutError):
        words = "the server did not answer in time"
    return InvalidInput(f"can't fetch {address}: {words}")
