"""What is answered where there is no answer: JSON, in one line for people."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipsearch.errors import (
    ClipsearchError,
    InvalidInput,
    MissingPackages,
    UnreadableImage,
    one_line,
)


def error_response(status: int, kind: str, message: str) -> JSONResponse:
    """Return an error as all of them are told: its kind, and a line that says what to do."""
    return JSONResponse({"error": {"kind": kind, "message": message}}, status)


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        kind = HTTPStatus(error.status_code).phrase.replace(" ", "")
        status, message = error.status_code, str(error.detail)
    else:
        status, kind, message = 503, type(error).__name__, str(error)
        if isinstance(error, InvalidInput | MissingPackages):
            status = 422 if isinstance(error, UnreadableImage) else 400
    response = error_response(status, kind, message)
    if status == 503:
        response.headers["retry-after"] = "1"
    return response


# By kind of error, what tells it.
ERRORS: Mapping[Any, Callable[..., Any]] = {HTTPException: _refused, ClipsearchError: _refused}


class Faults:
    """Answers where nothing else does: by our fault, or since the request never came whole."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does."""
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
            return
        except ClientDisconnect:
            told = error_response(408, "RequestTimeout", "the request did not come whole in time")
        except Exception as error:
            log = logging.getLogger("clipsearch")
            log.error("not answered, by a fault: %s: %s", type(error).__name__, one_line(error))
            log.debug("this is where it went wrong", exc_info=error)
            told = error_response(500, "Fault", "a fault of the server: its log names it")
        if not started:
            await told(scope, receive, send)
