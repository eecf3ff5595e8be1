"""Asking the server of a library, where one runs; light, so that its answer is there at once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.errors import UnreadableImage
from clipsearch.machine import is_private
from clipsearch.photos.file_reading import read_whole
from clipsearch.searching.combining import summed
from clipsearch.serving.protocol import (
    LARGEST_ANSWER,
    LARGEST_PICTURE,
    LARGEST_REQUEST,
    MOST_HITS,
    PROTOCOL,
    STATUS,
    OtherProtocol,
    ProtocolError,
    is_same_user,
    lock_holder,
    receive,
    send,
    socket_path,
)
from clipsearch.settings import library_folder

if TYPE_CHECKING:
    from socket import socket

    from clipsearch.options import SearchOptions
    from clipsearch.results import Hits
    from clipsearch.searching.query import Query

BYPASS_VARIABLE = "CLIPSEARCH_NO_SERVER"
_SECONDS_TO_CONNECT = 1.0
_SECONDS_FOR_WORDS = 10.0
_SECONDS_FOR_A_PICTURE = 120.0  # it may have to load the model first


@contextmanager
def connected(library: str | Path | None) -> Iterator[Server | None]:
    """Give the server of a library for the block, None where there is none to trust."""
    folder = library_folder(library)
    connection = None if os.environ.get(BYPASS_VARIABLE) else _connect(folder)
    if connection is None:
        yield None
        return
    with connection:
        yield Server(connection, folder)


def _connect(folder: Path) -> socket | None:
    path = socket_path(folder)
    if not path or not is_private(path, stat.S_IFSOCK) or not is_private(os.path.dirname(path)):  # noqa: PTH120
        return None
    import socket

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_SECONDS_TO_CONNECT)
        connection.connect(path)
        if is_same_user(connection):
            return connection
    except OSError:  # what a killed server left, for one
        pass
    connection.close()
    return None


def server_process(folder: Path) -> int | None:
    """Return the number of the process that serves a library, or will once it has loaded it."""
    connection = _connect(folder)
    if connection is None:
        return None
    with connection:
        return lock_holder(f"{socket_path(folder)}.lock")


def server_status(folder: Path) -> dict[str, Any] | None:
    """Return what the server of a library says of itself.

    `process`, `since` (ISO 8601) and `web`, the address of its page or None. None where no server
    runs, or it is not ready yet.
    """
    connection = _connect(folder)
    if connection is None:
        return None
    asked = {"protocol": PROTOCOL, "library": os.path.realpath(folder), "command": STATUS}
    with connection:
        try:
            connection.settimeout(_SECONDS_TO_CONNECT)
            send(connection, asked)
            answer, _ = receive(
                connection, most=LARGEST_REQUEST, most_data=0, seconds=_SECONDS_TO_CONNECT
            )
        except (OSError, ProtocolError):
            return None
    said = answer.get(STATUS)
    return said if isinstance(said, dict) and type(said.get("process")) is int else None


class Server:
    """The server at the other end of a connection, which takes one question."""

    def __init__(self, connection: socket, folder: Path) -> None:
        self._connection = connection
        self._folder = folder

    def ask(self, command: str, meant: Query, options: SearchOptions) -> Hits | None:
        """Return what `Library.query` (or `similar`) finds.

        None where the server can't say: the library itself then says what is wrong. Raises
        OtherProtocol for a server of another version.
        """
        if options.model is not None or options.where is not None:  # which servers refuse
            return None
        terms, data = _terms(meant)
        if terms is None or options.offset + options.k > MOST_HITS:
            return None
        fields = {
            "protocol": PROTOCOL,
            "library": os.path.realpath(self._folder),
            "command": command,
            "terms": terms,
            "options": options.to_json(),
        }
        seconds = _SECONDS_FOR_A_PICTURE if data else _SECONDS_FOR_WORDS
        try:
            self._connection.settimeout(seconds)
            send(self._connection, fields, data)
            answer, _ = receive(self._connection, most=LARGEST_ANSWER, most_data=0, seconds=seconds)
        except (OSError, ProtocolError):
            return None
        return _understood(answer)


def _terms(meant: Query) -> tuple[list[list[float | str | int]] | None, bytes]:
    """Return the parts of a question, of pictures their sizes, and the bytes of the pictures.

    None for what can't be sent: a pipe, whose bytes come once, and may be wanted here if the server
    does not answer.
    """
    terms: list[list[float | str | int]] = []
    data: list[bytes] = []
    for weight, query in summed(meant).terms:
        if isinstance(query, str):
            terms.append([weight, query])
            continue
        try:
            picture = query if isinstance(query, bytes) else read_whole(query, LARGEST_PICTURE)[0]
        except (OSError, ValueError, UnreadableImage):
            return None, b""
        if not picture:
            return None, b""
        terms.append([weight, len(picture)])
        data.append(picture)
    together = b"".join(data)
    return (terms, together) if len(together) <= LARGEST_PICTURE else (None, b"")


def _understood(answer: dict[str, Any]) -> Hits | None:
    if answer.get("protocol") != PROTOCOL:
        raise OtherProtocol
    if "hits" not in answer:
        return None
    from clipsearch.results import Hits

    try:
        return Hits.from_json(answer)
    except (KeyError, TypeError, ValueError):
        return None
