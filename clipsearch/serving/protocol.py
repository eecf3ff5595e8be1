"""Where the server of a library listens, and how it and its clients talk.

A message is two lengths (4 bytes each, big-endian), a JSON object, and bytes: the file of a query
picture, or none. Client and server speak the same protocol, and are the same user's: each side
checks both.
Light, since every search on the command line imports it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from clipsearch.machine import is_private

if TYPE_CHECKING:
    from pathlib import Path
    from socket import socket

PROTOCOL = 2  # raised whenever a message changes, for a server may outlive its version
STATUS = "status"  # the command that asks for no photos, but after the server itself
LARGEST_REQUEST = 1 << 18  # bytes of JSON
LARGEST_ANSWER = 32 << 20
LARGEST_PICTURE = 64 << 20
MOST_HITS = 10_000

_LONGEST_SOCKET_PATH = 100  # bytes; the systems allow 104 to 108
_PEER_BYTES = 12  # process, user and group, as Linux tells of the other side


class ProtocolError(Exception):
    """The other side does not keep to the protocol, or has gone."""


class OtherProtocol(Exception):
    """The other side speaks another protocol: it is of another version."""


def socket_path(folder: Path) -> str | None:
    """Return where the server of this library listens; None where none can.

    Named after the folder's place on its disk, not its name, which may be too long for a socket.
    """
    if not hasattr(os, "geteuid"):
        return None
    try:
        state = os.stat(folder)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    name = f"{state.st_dev:x}-{state.st_ino:x}.sock"
    for place in _places():
        path = f"{place}/{name}"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return path
    return None


def _places() -> Iterator[str]:
    """Yield the folders for the sockets of this user, the best first."""
    user = os.geteuid()
    for runtime in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{user}"):
        if runtime and is_private(runtime):
            yield f"{runtime}/clipsearch"
    yield f"{os.environ.get('TMPDIR') or '/tmp'}/clipsearch-{user}"


def lock_holder(path: str) -> int | None:
    """Return the process that the lock beside a socket was last taken by."""
    try:
        with open(path, encoding="ascii") as lock:  # noqa: PTH123
            return int(lock.read(20))
    except (OSError, ValueError):
        return None


def is_same_user(connection: socket) -> bool:
    """Tell whether the other side runs as this user, where the system says so."""
    import socket

    if not hasattr(socket, "SO_PEERCRED"):  # the rights of the folder and the socket must do
        return True
    said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_BYTES)
    return int.from_bytes(said[4:8], _byte_order()) == os.geteuid()


def _byte_order() -> Any:
    import sys

    return sys.byteorder


def send(connection: socket, fields: dict[str, Any], data: bytes = b"") -> None:
    """Send a message; raises OSError."""
    text = json.dumps(fields).encode()
    connection.sendall(len(text).to_bytes(4, "big") + len(data).to_bytes(4, "big") + text)
    if data:
        connection.sendall(data)


def receive(
    connection: socket, *, most: int, most_data: int, seconds: float
) -> tuple[dict[str, Any], bytes]:
    """Return the next message: its fields and bytes; raises ProtocolError or OSError."""
    deadline = time.monotonic() + seconds
    lengths = _read(connection, 8, deadline)
    size, data_size = int.from_bytes(lengths[:4], "big"), int.from_bytes(lengths[4:], "big")
    if size > most or data_size > most_data:
        raise ProtocolError("the message is too long")
    text = _read(connection, size, deadline)
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("the message is no JSON") from error
    if not isinstance(fields, dict):
        raise ProtocolError("the message is no JSON object")
    return fields, _read(connection, data_size, deadline)


def _read(connection: socket, size: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise ProtocolError("the message takes too long")
        connection.settimeout(left)
        chunk = connection.recv(min(size - len(data), 1 << 20))
        if not chunk:
            raise ProtocolError("the other side has gone")
        data += chunk
    return bytes(data)
