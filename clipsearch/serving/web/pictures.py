"""The photos themselves, small and whole; only those of the library, by their ids."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from clipsearch.serving.web.served import Served

_SIDE = 480  # pixels


def routes(served: Served) -> list[BaseRoute]:
    """Return the routes of the photos."""

    async def thumb(request: Request) -> Response:
        from clipsearch.showing.thumbnails import jpeg, thumbnails

        photo_id = request.path_params["photo_id"]
        photo = await served.look(lambda library: library.photo(photo_id))
        pixels = next(thumbnails([photo.file.path], _SIDE))
        if pixels is None:
            return Response(status_code=404)
        return Response(jpeg(pixels), media_type="image/jpeg")

    async def photo(request: Request) -> Response:
        photo_id = request.path_params["photo_id"]
        found = await served.look(lambda library: library.photo(photo_id))
        return FileResponse(found.file.path)

    return [Route("/thumbs/{photo_id:int}", thumb), Route("/photos/{photo_id:int}", photo)]
