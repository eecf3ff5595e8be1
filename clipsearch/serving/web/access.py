"""Who may ask: this machine, or whoever has the token; and what a browser may do with the page.

Without a token only names of this machine are answered to (else a page from elsewhere could point
its own name here, and read: DNS rebinding). With one, whatever the name, each request needs it.
Nothing is for pages of other origins, which a browser tells us of.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipsearch.harmless import printable
from clipsearch.serving.addresses import is_this_machine
from clipsearch.serving.web.errors import error_response

LOG = logging.getLogger("clipsearch.serving")

_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        b"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_SECONDS_FOR_THE_NEXT_BYTES = 30.0
_COOKIE_SECONDS = 365 * 24 * 3600
_LONGEST_SHOWN = 200  # characters of a path in the log
_LONGEST_QUERY = 64 << 10  # bytes of an address
# What shows nothing of a library: that the server lives, and the page without photos.
_OPEN = ("/api/health", "/", "/favicon.ico")
_OPEN_BELOW = "/page/"


@dataclass(frozen=True)
class Access:
    """What is asked of who comes."""

    token: str | None = None  # None: whoever reaches the address may ask, by a name of this machine
    used: Callable[[], None] = lambda: None  # told of each request but those that only look after

    def has_token(self, given: str) -> bool:
        """Tell whether a token is the right one, in a time that says nothing of it."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def has_cookie(self, given: str) -> bool:
        """Tell whether a cookie is the one that the token is exchanged for."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.cookie.encode())

    @property
    def cookie(self) -> str:
        """What a browser keeps: not the token itself."""
        return hashlib.sha256(f"clipsearch {self.token}".encode()).hexdigest()


def guarded(access: Access) -> list[Middleware]:
    """Return what stands before all routes."""
    return [Middleware(_Guard, access=access)]


class _Guard:
    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        started, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        try:
            refused = _refusal(scope, self._access)
            if refused is not None:
                await refused(scope, receive, send_with_headers)
                return
            if scope["path"] not in ("/api/state", "/api/health", "/metrics"):
                self._access.used()
            await self._app(scope, _in_time(receive), send_with_headers)
        finally:
            seconds = time.perf_counter() - started
            level = logging.INFO if status >= 400 or not status else logging.DEBUG
            LOG.log(
                level,
                "door=http method=%s path=%s status=%d ms=%.1f",
                *(
                    scope["method"],
                    printable(scope["path"])[:_LONGEST_SHOWN],
                    status,
                    1000 * seconds,
                ),
            )


def _in_time(receive: Receive) -> Receive:
    """Give up on a client that sends nothing for long, until all that it has to say is there."""
    waits_for = True

    async def receive_in_time() -> Message:
        nonlocal waits_for
        try:
            seconds = _SECONDS_FOR_THE_NEXT_BYTES if waits_for else None
            message = await asyncio.wait_for(receive(), seconds)
        except TimeoutError:
            return {"type": "http.disconnect"}
        waits_for = bool(message.get("more_body"))
        return message

    return receive_in_time


def _refusal(scope: Scope, access: Access) -> Response | None:
    """Return what a request is answered that may not go on, or None."""
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    if len(scope["query_string"]) > _LONGEST_QUERY:
        return error_response(414, "TooLong", "the address is too long")
    if access.token is None and not is_this_machine(_name(host)):
        return error_response(
            403, "Forbidden", "this server answers to names of this machine alone (localhost)"
        )
    if _is_from_elsewhere(scope, headers, host):
        return error_response(403, "Forbidden", "this is not for pages of other servers")
    if access.token is None:
        return None
    return _without_token(scope, headers, access)


def _without_token(scope: Scope, headers: Headers, access: Access) -> Response | None:
    """Return what a request without the token is answered; None for one that has it."""
    cookie_name = f"clipsearch-{scope['server'][1] if scope.get('server') else 0}"
    path = scope["path"]
    given = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    if path == "/" and "token" in dict(given):
        return _entrance(given, access, cookie_name)
    kind, _, bearer = headers.get("authorization", "").partition(" ")
    cookies = headers.get("cookie", "").split(";")
    cookie = next((one for one in cookies if one.strip().startswith(f"{cookie_name}=")), "")
    if (kind.lower() == "bearer" and access.has_token(bearer.strip())) or access.has_cookie(
        cookie.partition("=")[2].strip()
    ):
        return None
    if path in _OPEN or path.startswith(_OPEN_BELOW):
        return None
    refused: JSONResponse = error_response(
        401,
        "TokenNeeded",
        "this server asks for its token: open the address that `clipsearch serve` printed, or send "
        "it as Authorization: Bearer TOKEN",
    )
    refused.headers["www-authenticate"] = "Bearer"
    return refused


def _entrance(given: list[tuple[str, str]], access: Access, cookie_name: str) -> Response:
    """Exchange the token in an address for a cookie, and take it out of the address."""
    if not access.has_token(dict(given)["token"]):
        return PlainTextResponse(
            "This token is not the server's: copy the whole address that `clipsearch serve` "
            "printed.\n",
            401,
        )
    rest = urlencode([(name, value) for name, value in given if name != "token"])
    entered = RedirectResponse(f"/?{rest}" if rest else "/", 303)
    entered.set_cookie(
        cookie_name, access.cookie, max_age=_COOKIE_SECONDS, httponly=True, samesite="strict"
    )
    entered.headers["cache-control"] = "no-store"
    return entered


def _is_from_elsewhere(scope: Scope, headers: Headers, host: str) -> bool:
    """Tell whether a browser asks for the page of another origin; to follow a link here is fine."""
    site = headers.get("sec-fetch-site", "none")
    follows = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
    if site not in ("none", "same-origin") and not (follows and scope["path"] == "/"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != host.lower()


def _name(host: str) -> str:
    """Return the name or address of a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host
