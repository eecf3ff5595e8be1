"""The routes of the web door, put together."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from clipsearch.serving.web import assets, pictures
from clipsearch.serving.web.access import Access, guarded
from clipsearch.serving.web.errors import ERRORS, Faults
from clipsearch.serving.web.metrics import Measured, Requests
from clipsearch.serving.web.routes import routes as api_routes
from clipsearch.serving.web.served import Served


def app(served: Served, access: Access, more: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application for a warm searcher, behind what checks who asks.

    It may have more routes.
    """
    requests = Requests()
    routes = [*assets.routes(), *api_routes(served, requests), *pictures.routes(served), *more]
    middleware = [Middleware(Measured, requests=requests), *guarded(access), Middleware(Faults)]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=ERRORS)
