"""Requests to the server of a library over HTTP, and its errors as ours."""

from __future__ import annotations

import json
import os
import re
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clipsearch import errors
from clipsearch.arguments import shown
from clipsearch.errors import ClipsearchError, InvalidInput, LibraryClosed, LibraryError, one_line

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

SECONDS_TO_CONNECT = 10.0
SECONDS_TO_ANSWER = 300.0  # a server may have to load its model first
_LARGEST_ANSWER = 256 << 20  # bytes
_MOST_IDLE = 16  # connections that are kept
_TOKEN = re.compile(r"[\x21-\x7e]+")


class Connection:
    """Asks one server; for any thread. Connections are kept open from one request to the next.

    No redirect is followed: the token is for this server alone.
    """

    def __init__(self, address: str, token: str | None) -> None:
        """Take an address such as http://host:8000; raises InvalidInput."""
        self.address, self._secure, self._host, self._port, self._below = _parts(address)
        if token is not None and not (isinstance(token, str) and _TOKEN.fullmatch(token)):
            raise InvalidInput("a token is letters and digits, as `clipsearch serve` prints them")
        self._token = token
        self._idle: list[HTTPConnection] = []
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._closed = False

    def close(self) -> None:
        """Let go of the connections; those that are being used, as soon as they are answered."""
        if os.getpid() != self._process:
            return
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    def check_open(self) -> None:
        """Raise LibraryClosed after `close`, and in a fork of the process that opened it."""
        if self._closed:
            raise LibraryClosed(f"{self.address}: the library was closed; open it again")
        if os.getpid() != self._process:
            raise LibraryClosed(f"{self.address}: the library is of another process; open it here")

    def get(self, path: str) -> dict[str, Any]:
        """Return the JSON object at a path; raises what the server says, or LibraryError."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return what is answered to a JSON object, likewise."""
        return self._ask("POST", path, json.dumps(body).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        status, said, data = self._exchange(method, path, body)
        try:
            found = json.loads(data)
            if not isinstance(found, dict):
                raise ValueError
        except (ValueError, RecursionError) as error:
            if status // 100 == 3:
                where = f" to {shown(said)}" if said else ""
                raise LibraryError(
                    f"{self.address}: leads elsewhere{where}, which is not followed: open the "
                    "library at the address that it leads to"
                ) from error
            raise self.not_ours() from error
        if status != 200:
            raise self._told(status, found)
        return found

    def not_ours(self) -> LibraryError:
        """Return what says that no server of ours is there."""
        return LibraryError(
            f"{self.address}: there is no `clipsearch serve --web`, or one of another version"
        )

    def _told(self, status: int, found: dict[str, Any]) -> ClipsearchError:
        """Return the error that a server tells, as the library itself would raise it."""
        said = found.get("error")
        if not isinstance(said, dict) or not isinstance(said.get("message"), str):
            return self.not_ours()
        message = " ".join(said["message"].split())
        kind = getattr(errors, str(said.get("kind")), None)
        if isinstance(kind, type) and issubclass(kind, ClipsearchError):
            return kind(message)
        kind = InvalidInput if status in (400, 404, 413, 414, 422) else LibraryError
        return kind(f"{self.address}: {message}")

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, str, bytes]:
        """Return the status of an answer, where it leads to, and its body."""
        from http.client import HTTPException

        kept = self._kept()
        try:
            if kept is not None:
                with suppress(ConnectionError, HTTPException):  # closed while nobody asked
                    return self._over(kept, method, path, body)
                kept.close()
            return self._over(self._new(), method, path, body)
        except TimeoutError as error:
            raise LibraryError(f"{self.address}: the server does not answer in time") from error
        except (OSError, HTTPException, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            line = one_line(why) if isinstance(why, BaseException) else why
            raise LibraryError(f"can't reach {self.address}: {line}") from error

    def _over(
        self, connection: HTTPConnection, method: str, path: str, body: bytes | None
    ) -> tuple[int, str, bytes]:
        try:
            connection.request(method, self._below + path, body, self._headers(body))
            response = connection.getresponse()
            data = self._body_of(response)
        except BaseException:
            connection.close()
            raise
        self._put_back(connection, response)
        return response.status, response.getheader("Location", ""), data

    def _body_of(self, response: HTTPResponse) -> bytes:
        data = response.read(_LARGEST_ANSWER + 1)
        if len(data) > _LARGEST_ANSWER:
            raise LibraryError(f"{self.address}: the answer is too large")
        if response.length:
            raise ConnectionError("the answer broke off")
        return data

    def _headers(self, body: bytes | None) -> dict[str, str]:
        from clipsearch import __version__

        headers = {"User-Agent": f"clipsearch/{__version__}", "Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        return headers

    def _new(self) -> HTTPConnection:
        import http.client
        import socket

        self.check_open()
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=SECONDS_TO_CONNECT)
        connection.connect()
        connection.sock.settimeout(SECONDS_TO_ANSWER)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _kept(self) -> HTTPConnection | None:
        self.check_open()
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _put_back(self, connection: HTTPConnection, response: HTTPResponse) -> None:
        with self._lock:
            if not (response.will_close or self._closed or len(self._idle) >= _MOST_IDLE):
                self._idle.append(connection)
                return
        connection.close()


def _parts(address: str) -> tuple[str, bool, str, int | None, str]:
    """Return an address without what may be secret, and its parts; raises InvalidInput."""
    try:
        parts = urlsplit(address.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidInput(f"{shown(address)} is no address of a server") from None
    if parts.username is not None or parts.password is not None:
        raise InvalidInput("an address holds no name and password: say the token with token=")
    below = parts.path.rstrip("/")
    if not host or parts.query or parts.fragment or not below.isascii() or re.search(r"\s", below):
        raise InvalidInput(f"{shown(address)} is no address of a server, such as http://host:8000")
    scheme = parts.scheme.lower()
    return f"{scheme}://{parts.netloc}{below}", scheme == "https", host, port, below
