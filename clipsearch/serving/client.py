"""Asking the server of a library, where one runs; light, so that its answer is there at once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch import __version__
from clipsearch.errors import UnreadableImage
from clipsearch.photos.file_reading import read_whole
from clipsearch.serving.protocol import (
    LARGEST_ANSWER,
    LARGEST_PICTURE,
    MOST_HITS,
    ProtocolError,
    is_private,
    is_same_user,
    receive,
    send,
    socket_path,
)
from clipsearch.settings import library_folder

if TYPE_CHECKING:
    from socket import socket

    from clipsearch.results import AwayFolder, Hit

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


class Server:
    """The server at the other end of a connection, which takes one question."""

    def __init__(self, connection: socket, folder: Path) -> None:
        self._connection = connection
        self._folder = folder

    def ask(
        self,
        command: str,
        meant: str | Path | bytes,
        *,
        k: int,
        min_score: float | None,
        include_away: bool,
        exact: bool = False,
    ) -> tuple[list[Hit], list[AwayFolder]] | None:
        """Return what `Library.query` (or `similar`) finds, and what is away.

        None where the server can't say, or is of another version: the library itself then says
        what is wrong.
        """
        data = _picture(meant)
        if data is None or k > MOST_HITS:
            return None
        fields = {
            "clipsearch": __version__,
            "library": os.path.realpath(self._folder),
            "command": command,
            "words": meant if isinstance(meant, str) else None,
            "k": k,
            "min_score": min_score,
            "include_away": include_away,
            "exact": exact,
        }
        seconds = _SECONDS_FOR_A_PICTURE if data else _SECONDS_FOR_WORDS
        try:
            self._connection.settimeout(seconds)
            send(self._connection, fields, data)
            answer, _ = receive(self._connection, most=LARGEST_ANSWER, most_data=0, seconds=seconds)
            return _understood(answer)
        except (OSError, ProtocolError):
            return None


def _picture(meant: str | Path | bytes) -> bytes | None:
    """Return the bytes of a picture, none for words; None for what can't be sent.

    A pipe can't: its bytes come once, and may be wanted here if the server does not answer.
    """
    if isinstance(meant, str):
        return b""
    try:
        data = meant if isinstance(meant, bytes) else read_whole(meant, LARGEST_PICTURE)[0]
    except (OSError, ValueError, UnreadableImage):
        return None
    return data if 0 < len(data) <= LARGEST_PICTURE else None


def _understood(answer: dict[str, Any]) -> tuple[list[Hit], list[AwayFolder]] | None:
    if "hits" not in answer:
        return None
    from clipsearch.results import AwayFolder, Hit

    try:
        hits = [Hit(**{**hit, "path": Path(hit["path"])}) for hit in answer["hits"]]
        away = [AwayFolder(**{**one, "path": Path(one["path"])}) for one in answer["away"]]
    except (KeyError, TypeError):
        return None
    return hits, away
