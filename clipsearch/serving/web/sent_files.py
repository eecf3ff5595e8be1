"""A file as HTTP sends it: by parts if asked, by name if it is to be kept, not at all if known.

It is sent from a descriptor: what was looked at is what is sent, whatever happens to its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_BLOCK = 256 << 10  # bytes that are sent at a time: a slow client holds no more
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)


def is_known(request: Request, etag: str) -> bool:
    """Tell whether whoever asks has the very thing already."""
    named = request.headers.get("if-none-match", "")
    return etag in [one.strip().removeprefix("W/") for one in named.split(",")]


def attachment(name: str) -> str:
    """Return the Content-Disposition of a file to be saved, by RFC 6266 and 8187.

    Its name goes twice: for all in ASCII, and whole. Bytes that are no text, which a name may hold,
    become question marks.
    """
    text = os.fsencode(name).decode("utf-8", "replace")
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in text)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(text, safe='')}"


def asked_part(request: Request, size: int, etag: str) -> range | None:
    """Return which bytes of a file are asked for; None for all of them.

    An empty range is one that the file does not have. Of several parts at once all is sent, as the
    standard allows.
    """
    wanted = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if wanted is None or request.headers.get("if-range", etag) != etag:
        return None
    first, last = wanted.groups()
    if not first:
        return None if not last else range(max(size - int(last), 0), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1 if last else size, size))


class SentFile(Response):
    """An open file, or a part of it; the descriptor is closed at the end."""

    def __init__(
        self, descriptor: int, request: Request, *, etag: str, headers: Mapping[str, str]
    ) -> None:
        self._descriptor = descriptor
        size = os.fstat(descriptor).st_size
        part = asked_part(request, size, etag)
        self._part = range(size) if part is None else part
        status = 200 if part is None else 206 if part else 416
        own = {"Accept-Ranges": "bytes", "ETag": etag, "Content-Length": str(len(self._part))}
        if part is not None:
            span = f"{part.start}-{part.stop - 1}" if part else "*"
            own["Content-Range"] = f"bytes {span}/{size}"
        super().__init__(status_code=status, headers={**headers, **own})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file; reading never holds up the others."""
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            if scope["method"] != "HEAD":
                await self._send_blocks(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            os.close(self._descriptor)

    async def _send_blocks(self, send: Send) -> None:
        at, end = self._part.start, self._part.stop
        while at < end:
            size = min(_BLOCK, end - at)
            block = await run_in_threadpool(_read_at, self._descriptor, size, at)
            if not block:  # it was made shorter meanwhile: the connection ends early, which tells
                return
            await send({"type": "http.response.body", "body": block, "more_body": True})
            at += len(block)


def _read_at(descriptor: int, size: int, at: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, at)
    os.lseek(descriptor, at, os.SEEK_SET)
    return os.read(descriptor, size)
