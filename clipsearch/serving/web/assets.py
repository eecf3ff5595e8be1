"""The page itself: files that ship with the program, as they are."""

from __future__ import annotations

import mimetypes
from functools import cache
from hashlib import sha256
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_KINDS = {".js": "text/javascript", ".svg": "image/svg+xml", ".webmanifest": "application/json"}


@cache
def _assets() -> dict[str, tuple[bytes, str, str]]:
    """Return the bytes, kind and ETag of each file by its name."""
    found = {}
    for file in files("clipsearch.serving.web").joinpath("page").iterdir():
        if file.is_file():
            data, ending = file.read_bytes(), file.name[file.name.rfind(".") :]
            kind = _KINDS.get(ending) or mimetypes.guess_type(file.name)[0] or "text/plain"
            found[file.name] = data, kind, f'"{sha256(data).hexdigest()[:16]}"'
    return found


async def _page(request: Request) -> Response:
    return _file("index.html", request)


async def _asset(request: Request) -> Response:
    return _file(request.path_params["name"], request)


def _file(name: str, request: Request) -> Response:
    if name not in _assets():
        raise HTTPException(404, f"there is no {name} here")
    data, kind, etag = _assets()[name]
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=kind, headers=headers)


def routes() -> list[BaseRoute]:
    """Return the routes of the page and of what it is made of."""
    return [Route("/", _page), Route("/page/{name}", _asset)]
