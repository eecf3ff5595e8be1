"""The routes of the HTTP API, made of the table of operations."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from clipsearch.errors import ClipsearchError
from clipsearch.serving.web import metrics
from clipsearch.serving.web.api import Api
from clipsearch.serving.web.bodies import Bodies
from clipsearch.serving.web.openapi import description
from clipsearch.serving.web.operations import OPERATIONS
from clipsearch.serving.web.programs import Programs
from clipsearch.serving.web.served import Served


def routes(served: Served, requests: metrics.Requests) -> list[BaseRoute]:
    """Return the routes of the API, its description and the measures of the server."""
    bodies = Bodies()
    api, programs = Api(served, bodies), Programs(served, bodies)

    async def described(request: Request) -> Response:
        return JSONResponse(description())

    async def measured(request: Request) -> Response:
        try:
            photos = await served.look(lambda library: api.watch.look(library).photos)
        except ClipsearchError:  # it may hold none yet
            photos = None
        told = metrics.text(requests, served.searcher.counts, photos)
        return PlainTextResponse(told, media_type=metrics.KIND)

    return [
        *(
            Route(
                one.route,
                getattr(api if hasattr(api, one.handler) else programs, one.handler),
                methods=[one.method],
            )
            for one in OPERATIONS
        ),
        Route("/api/openapi.json", described),
        Route("/metrics", measured),
    ]
