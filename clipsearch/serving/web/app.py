"""The routes of the web door, put together."""

from __future__ import annotations

from starlette.applications import Starlette

from clipsearch.serving.web import api, assets, pictures
from clipsearch.serving.web.access import Access, guarded
from clipsearch.serving.web.served import Served


def app(served: Served, access: Access) -> Starlette:
    """Return the application for a warm searcher, behind what checks who asks."""
    routes = [*assets.routes(), *api.routes(served), *pictures.routes(served)]
    return Starlette(routes=routes, middleware=guarded(access), exception_handlers=api.ERRORS)
