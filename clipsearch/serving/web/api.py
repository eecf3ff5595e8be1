"""The HTTP API: questions and answers as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from clipsearch.errors import ClipsearchError, InvalidInput
from clipsearch.options import SearchOptions
from clipsearch.results import Hit
from clipsearch.searching.combining import term
from clipsearch.serving.searcher import Question
from clipsearch.serving.web.served import Served


def _error(status: int, kind: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"kind": kind, "message": message}}, status)


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return _error(error.status_code, "HTTP", str(error.detail))
    status = 400 if isinstance(error, InvalidInput) else 503
    return _error(status, type(error).__name__, str(error))


ERRORS: Mapping[Any, Callable[..., Any]] = {HTTPException: _refused, ClipsearchError: _refused}


def _hit(hit: Hit) -> dict[str, Any]:
    return {**hit.to_dict(), "thumb": f"/thumbs/{hit.id}?v={hit.content_hash[:12]}"}


def routes(served: Served) -> list[BaseRoute]:
    """Return the routes of the API."""

    async def search(request: Request) -> Response:
        asked = request.query_params
        k, offset = int(asked.get("k", "50")), int(asked.get("offset", "0"))
        words = asked.get("q", "").strip()
        if words:
            options = SearchOptions(k=k, offset=offset, relevant=True, fold=True)
            found = await served.answer(Question("query", term(words), options))
        else:
            listed = SearchOptions(k=k, offset=offset, sort="date")
            found = await served.look(lambda library: library.list(listed))
        return JSONResponse(
            {
                "hits": [_hit(hit) for hit in found],
                "more": len(found) == k,
                "weak": found.weak,
                "notes": list(found.notes),
                "left_out": [one.to_dict() for one in found.left_out],
            }
        )

    return [Route("/api/search", search)]
