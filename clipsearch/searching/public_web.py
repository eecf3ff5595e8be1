"""Query pictures from the web for whoever may not see what this machine can reach.

A server that fetches for strangers could be led to what stands beside it: this machine, its
network, a cloud's own addresses. So a name is resolved once, all that it stands for must be
public, and it is this address that is connected to; each redirect is a new address, looked at in
the same way.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from clipsearch.errors import InvalidInput
from clipsearch.searching.web_picture import (
    MAX_BYTES,
    SECONDS_IN_ALL,
    SECONDS_WITHOUT_DATA,
    is_web_address,
    picture_in,
    request_for,
    shown_address,
    unreachable,
)

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

    Resolve = Callable[..., Sequence[tuple[Any, ...]]]

MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
# IPv6 addresses that lead to an IPv4 address in their last 32 bits: where a gateway translates.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
# What Python's own tables say of addresses differs with its version.
_NOT_OF_THE_WEB = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16"),
    )
)
_LAST_32_BITS = 2**32 - 1


def fetch_public_picture(
    address: str,
    *,
    resolve: Resolve = socket.getaddrinfo,
    max_bytes: int = MAX_BYTES,
    patience: float = SECONDS_WITHOUT_DATA,
    deadline: float = SECONDS_IN_ALL,
) -> bytes:
    """Return the bytes behind an http(s) address that is public, as `fetch_picture` does.

    Raises InvalidInput with a one-line reason. What is told of an address that is not public is
    that, and nothing of what is there.
    """
    import http.client

    until = time.monotonic() + deadline
    at = address.strip()
    shown = shown_address(at)
    try:
        for _ in range(MOST_REDIRECTS + 1):
            connection = _connected(at, resolve, patience)
            # A server may send a byte now and then for ever.
            cut = threading.Timer(max(0.0, until - time.monotonic()), _cut, [connection.sock])
            cut.daemon = True
            cut.start()
            try:
                response = _asked(connection, at)
                if response.status not in _REDIRECTS:
                    if response.status != 200:
                        raise InvalidInput(
                            f"{shown}: the server answered {response.status} {response.reason}"
                        )
                    data = picture_in(shown, response, max_bytes, until)
                    if time.monotonic() < until:  # else it was cut off
                        return data
                at = urljoin(at, response.headers.get("Location", ""))
            finally:
                cut.cancel()
                connection.close()
            if time.monotonic() > until:
                raise InvalidInput(f"{shown}: took too long to arrive")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise unreachable(shown, error) from error
    raise InvalidInput(f"{shown}: leads from one address to the next, and to no picture")


def _asked(connection: HTTPConnection, address: str) -> HTTPResponse:
    request = request_for(address)
    headers = dict(request.header_items())
    connection.request("GET", request.selector, headers=headers | {"Connection": "close"})
    return connection.getresponse()


def _cut(connected: socket.socket) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _connected(address: str, resolve: Resolve, patience: float) -> HTTPConnection:
    """Return a connection to the public address that a name stands for; InvalidInput for others."""
    import http.client
    import ssl

    shown = shown_address(address)
    if not is_web_address(address):
        raise InvalidInput(f"{shown}: only http and https addresses can be fetched")
    parts = urlsplit(address)
    host, secure = parts.hostname, parts.scheme.lower() == "https"
    if not host or parts.username is not None or parts.password is not None:
        raise InvalidInput(f"{shown}: an address needs a host, and holds no password")
    port = parts.port or (443 if secure else 80)
    found = resolve(host, port, type=socket.SOCK_STREAM)
    places = [str(one[4][0]) for one in found]
    if not places or not all(map(is_public, places)):
        raise InvalidInput(f"{shown}: only public addresses are fetched from")
    connected = socket.create_connection((places[0], port), timeout=patience)
    try:
        if secure:
            connected = ssl.create_default_context().wrap_socket(connected, server_hostname=host)
        connection = http.client.HTTPConnection(host, port, timeout=patience)
        connection.sock = connected  # else it would look the name up again
        connection.default_port = 443 if secure else 80
    except BaseException:
        connected.close()
        raise
    return connection


def is_public(place: str) -> bool:
    """Tell whether an IP address is of the public internet, whatever way it is written."""
    try:
        address = ipaddress.ip_address(place)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return _is_of_the_web(address)
    if address.scope_id is not None or address in _LOCAL_NAT64 or address.is_site_local:
        return False
    inside = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or address in _COMPATIBLE:
        inside.append(ipaddress.IPv4Address(int(address) & _LAST_32_BITS))
    leads_to = [one for one in inside if one is not None]
    if leads_to:
        return all(is_public(str(one)) for one in leads_to)
    return _is_of_the_web(address)


def _is_of_the_web(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    special = address.is_multicast or address.is_reserved or not address.is_global
    return not special and not any(address in one for one in _NOT_OF_THE_WEB)
