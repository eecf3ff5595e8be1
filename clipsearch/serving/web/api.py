"""The HTTP API: questions and answers as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from clipsearch import __version__
from clipsearch.errors import ClipsearchError, InvalidInput, MissingPackages, UnreadableImage
from clipsearch.library import Library
from clipsearch.results import Hits
from clipsearch.searching.combining import QuerySum, term
from clipsearch.serving.searcher import Question
from clipsearch.serving.state import StateWatch
from clipsearch.serving.web import answers
from clipsearch.serving.web.asked import Wanted, wanted
from clipsearch.serving.web.parameters import SEARCH, SIMILAR, Parameter, from_query
from clipsearch.serving.web.served import Served

T = TypeVar("T")


def _error(status: int, kind: str, message: str) -> JSONResponse:
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse({"error": {"kind": kind, "message": message}}, status, headers)


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        kind = HTTPStatus(error.status_code).phrase.replace(" ", "")
        return _error(error.status_code, kind, str(error.detail))
    status = 503
    if isinstance(error, InvalidInput | MissingPackages):
        status = 422 if isinstance(error, UnreadableImage) else 400
    return _error(status, type(error).__name__, str(error))


ERRORS: Mapping[Any, Callable[..., Any]] = {HTTPException: _refused, ClipsearchError: _refused}


@dataclass(frozen=True)
class Api:
    """The handlers of the API, over a warm searcher."""

    served: Served
    watch: StateWatch = field(default_factory=StateWatch)

    async def search(self, request: Request) -> Response:
        """Find photos by words, or list those that pass filters."""
        return JSONResponse(await self._answer(await _read(request, SEARCH)))

    async def similar(self, request: Request) -> Response:
        """Find the photos most like one of the library, without it and its copies."""
        photo_id = request.path_params["photo_id"]
        photo = await self._look_at(photo_id, lambda library: library.photo(photo_id))
        meant = await _read(request, SIMILAR, term(photo))
        return JSONResponse(await self._answer(meant, "similar"))

    async def photo(self, request: Request) -> Response:
        """Say all that is known of a photo."""
        photo_id = request.path_params["photo_id"]
        found = await self._look_at(photo_id, lambda library: library.details(photo_id))
        return JSONResponse(answers.details(found))

    async def library(self, request: Request) -> Response:
        """Say what the library holds."""
        info, state = await self.served.look(lambda library: (library.info(), self._state(library)))
        return JSONResponse({**info.to_dict(), "version": __version__, "state": state})

    async def state(self, request: Request) -> Response:
        """Say whether anything has changed."""
        return JSONResponse(await self.served.look(self._state))

    async def health(self, request: Request) -> Response:
        """Say that the server answers."""
        return JSONResponse({"status": "ok"})

    def _state(self, library: Library) -> dict[str, Any]:
        return self.watch.look(library).to_dict()

    async def _answer(self, meant: Wanted, command: str = "query") -> dict[str, Any]:
        total = None
        if meant.asked is None:
            found, total = await self.served.look(lambda library: _listed(library, meant))
            more = meant.options.offset + len(found) < total
        else:
            question = Question(command, meant.asked, meant.options)
            found = await self.served.answer(question)
            more = len(found) == meant.options.k
        found = found.noting(meant.notes)
        return {"query": meant.query(), "total": total, "more": more, **answers.hits(found)}

    async def _look_at(self, photo_id: int, look: Callable[[Library], T]) -> T:
        """Look at a photo; there is nothing at the address of one that there is not."""
        try:
            return await self.served.look(look)
        except InvalidInput as error:
            raise HTTPException(404, str(error)) from error


async def _read(
    request: Request, parameters: tuple[Parameter, ...], asked: QuerySum | None = None
) -> Wanted:
    values = from_query(request.query_params.multi_items(), parameters)
    # A place's name, or a folder's, is looked up: others need not wait for that.
    return await asyncio.to_thread(wanted, values, asked)


def _listed(library: Library, meant: Wanted) -> tuple[Hits, int]:
    return library.list(meant.options), library.count(meant.options)


def routes(served: Served) -> list[BaseRoute]:
    """Return the routes of the API."""
    api = Api(served)
    return [
        Route("/api/search", api.search),
        Route("/api/similar/{photo_id:int}", api.similar),
        Route("/api/photos/{photo_id:int}", api.photo),
        Route("/api/library", api.library),
        Route("/api/state", api.state),
        Route("/api/health", api.health),
    ]
