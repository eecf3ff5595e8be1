"""The photos themselves, small and whole; only those of the library, by their ids."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from clipsearch.errors import (
    ClipsearchError,
    InvalidInput,
    LibraryNotFound,
    ServerBusy,
    UnreadableImage,
)
from clipsearch.photos.as_indexed import IndexedFiles
from clipsearch.serving.web.errors import error_response
from clipsearch.serving.web.parameters import DOWNLOAD, SIZE, VERSION, Parameter
from clipsearch.serving.web.sent_files import SentFile, attachment, is_known
from clipsearch.serving.web.served import Served
from clipsearch.showing.picture_maker import LARGE, SMALL, side_of

if TYPE_CHECKING:
    from clipsearch.index.records import PhotoRecord

_SIDES = {"small": SMALL, "large": LARGE}
_VERSION_DIGITS = 12  # of the content's hash, in the address of a thumbnail
_FOR_EVER = "private, max-age=31536000, immutable"
_ASK_AGAIN = "private, no-cache"
_SECONDS_TO_WAIT = "2"
_LARGEST_ID = 2**63 - 1

# What browsers show, by the format that indexing found; all else is shown as a JPEG. Never does a
# file's content or name say what it is.
_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "ICO": "image/x-icon",
}
_OTHER_TYPE = "application/octet-stream"


class _Refused(Exception):
    """A photo or picture that is not given out."""

    def __init__(self, status: int, error: Exception) -> None:
        super().__init__(str(error))
        self.response = error_response(status, type(error).__name__, str(error))


def routes(served: Served) -> list[BaseRoute]:
    """Return the routes of the photos."""
    files = IndexedFiles()

    async def thumb(request: Request) -> Response:
        try:
            return await _thumb(served, request)
        except _Refused as refused:
            return refused.response

    async def photo(request: Request) -> Response:
        try:
            return await _photo(served, files, request)
        except _Refused as refused:
            return refused.response

    return [Route("/thumbs/{photo_id:int}", thumb), Route("/photos/{photo_id:int}", photo)]


async def _thumb(served: Served, request: Request) -> Response:
    _check_parameters(request, (SIZE, VERSION))
    size = request.query_params.get("size", "small")
    if size not in _SIDES:
        raise _Refused(400, InvalidInput("size is small or large"))
    photo = await _found(served, request)
    side = side_of(photo, _SIDES[size])
    etag = f'"{photo.content_hash}-{side}"'
    version = request.query_params.get("v")
    same = version == photo.content_hash[:_VERSION_DIGITS]
    headers = {"ETag": etag, "Cache-Control": _FOR_EVER if same else _ASK_AGAIN}
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    data = await run_in_threadpool(served.pictures.kept, photo, side)
    if data is None:
        is_there = _Asked(served, photo).is_there
        data = await _made(lambda: served.pictures.thumbnail(photo, side, is_there))
    return Response(data, media_type="image/webp", headers=headers)


async def _photo(served: Served, files: IndexedFiles, request: Request) -> Response:
    _check_parameters(request, (DOWNLOAD, VERSION))
    photo = await _found(served, request)
    download = request.query_params.get("download", "false").lower() in ("true", "1")
    kind = _TYPES.get(photo.metadata.format)
    headers = {"Cache-Control": _ASK_AGAIN}
    if kind is None and not download:
        return await _as_jpeg(served, photo, request, headers)
    if download:
        headers["Content-Disposition"] = attachment(photo.file.path.name)
    headers["Content-Type"] = kind or _OTHER_TYPE
    etag = f'"{photo.content_hash}"'
    if is_known(request, etag):
        return Response(status_code=304, headers={**headers, "ETag": etag})
    try:
        descriptor = await run_in_threadpool(files.open, photo)
    except UnreadableImage as error:
        raise _Refused(404, error) from error
    try:
        return SentFile(descriptor, request, etag=etag, headers=headers)
    except BaseException:
        os.close(descriptor)
        raise


async def _as_jpeg(
    served: Served, photo: PhotoRecord, request: Request, headers: dict[str, str]
) -> Response:
    etag = f'"{photo.content_hash}-jpeg"'
    headers = {**headers, "ETag": etag}
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    data = await _made(lambda: served.pictures.whole(photo))
    return Response(data, media_type="image/jpeg", headers=headers)


class _Asked:
    """A photo that was asked for, of which one may ask whether it is there still."""

    def __init__(self, served: Served, photo: PhotoRecord) -> None:
        self._searcher = served.searcher
        self._photo = photo

    def is_there(self) -> bool:
        try:
            now = self._searcher.look(lambda library: library.photo(self._photo.id)).result()
        except ClipsearchError:  # it is gone, or nobody can say
            return False
        return now.content_hash == self._photo.content_hash


def _check_parameters(request: Request, known: Sequence[Parameter]) -> None:
    names = sorted(one.name for one in known)
    for name in request.query_params:
        if name not in names:
            raise _Refused(
                400, InvalidInput(f"there is no parameter {name} here, but {', '.join(names)}")
            )


async def _found(served: Served, request: Request) -> PhotoRecord:
    """Return the photo of the library that is asked for."""
    photo_id = request.path_params["photo_id"]
    try:
        if photo_id > _LARGEST_ID:
            raise InvalidInput(f"no photo has the id {photo_id}")
        return await served.look(lambda library: library.photo(photo_id))
    except (InvalidInput, LibraryNotFound) as error:
        raise _Refused(404, error) from error


async def _made(begin: Callable[[], Future[bytes]]) -> bytes:
    """Return a picture once it is made, which goes on though whoever asked has gone."""
    try:
        return await asyncio.shield(asyncio.wrap_future(begin()))
    except ServerBusy as error:
        refused = _Refused(503, error)
        refused.response.headers["Retry-After"] = _SECONDS_TO_WAIT
        raise refused from error
    except UnreadableImage as error:
        raise _Refused(404, error) from error
