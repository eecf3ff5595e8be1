"""From a request to the question in it, with the photos that it names looked up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from clipsearch.errors import InvalidInput
from clipsearch.searching.combining import QuerySum, Term, term
from clipsearch.serving.protocol import LARGEST_PICTURE
from clipsearch.serving.web.asked import Wanted, wanted
from clipsearch.serving.web.bodies import (
    Bodies,
    PhotoId,
    WebAddress,
    check_size,
    is_picture,
    json_object,
    terms_in,
    too_large,
)
from clipsearch.serving.web.parameters import Parameter, from_json, from_query
from clipsearch.serving.web.served import Served

if TYPE_CHECKING:
    from starlette.requests import Request

    from clipsearch.index.records import PhotoRecord

_QUICK = 1 << 16  # bytes that are read where they are; of more, others need not wait for that


@dataclass(frozen=True)
class Questions:
    """Reads questions out of requests."""

    served: Served
    bodies: Bodies

    async def asked_in(
        self,
        request: Request,
        parameters: Sequence[Parameter],
        asked: QuerySum | None = None,
    ) -> Wanted:
        """Return what the query string asks for, words added to what is asked already."""
        return await _wanted(from_query(request.query_params.multi_items(), parameters), asked)

    @asynccontextmanager
    async def posted(
        self, request: Request, parameters: Sequence[Parameter]
    ) -> AsyncIterator[Wanted]:
        """Give what a body asks for to the block: a picture's file, or JSON with terms."""
        if is_picture(request):
            async with self.bodies.read(request, LARGEST_PICTURE) as data:
                if not data:
                    raise InvalidInput("the body is empty: it should be a picture's file")
                yield await self.asked_in(request, parameters, term(data))
            return
        async with self.bodies.read(request) as data:
            refuse_query(request)
            read = _read(data, parameters)
            values, asked = await asyncio.to_thread(read) if len(data) > _QUICK else read()
            if asked is not None:
                (asked,) = await self.looked_up([asked])
            yield await _wanted(values, asked)

    async def looked_up(self, sums: Sequence[QuerySum]) -> list[QuerySum]:
        """Return questions with the photos and addresses in them in place of what names them."""
        parts = [one.query for each in sums for one in each.terms]
        ids = list({one.id for one in parts if isinstance(one, PhotoId)})
        photos: dict[int, PhotoRecord] = {}
        if ids:
            found = await self.served.look(lambda library: library.photos(ids))
            photos = {one.id: one for one in found}
        fetched = {one: await self.fetched(one) for one in {*parts_of(parts, WebAddress)}}

        def meant(one: Any) -> Any:
            if isinstance(one, PhotoId):
                return _unchanged(photos[one.id], one)
            return fetched[one] if isinstance(one, WebAddress) else one

        return [each.each(meant) for each in sums]

    async def fetched(self, address: WebAddress) -> bytes:
        """Return the picture behind an address; refused unless the server was told to fetch."""
        fetch = self.served.fetch
        if fetch is None:
            raise HTTPException(
                403, "this server fetches nothing: send the picture itself (`serve --fetch` would)"
            )
        return await fetch(str(address))


async def _wanted(values: dict[str, Any], asked: QuerySum | None) -> Wanted:
    """Return what is asked for; a place's name is looked up while others are answered."""
    if "near" in values or "near:" in values.get("q", "").lower():
        return await asyncio.to_thread(wanted, values, asked)
    return wanted(values, asked)


def _unchanged(photo: PhotoRecord, named: PhotoId) -> PhotoRecord:
    if named.content_hash not in (None, photo.content_hash):
        raise InvalidInput(f"photo {photo.id} is not in this library, or is another by now")
    return photo


def parts_of(parts: Sequence[Any], kind: type) -> list[Any]:
    """Return the parts of a kind."""
    return [one for one in parts if isinstance(one, kind)]


def refuse_query(request: Request) -> None:
    """Raise InvalidInput where parameters of a JSON body stand in the address."""
    if request.query_params:
        raise InvalidInput("the parameters of a JSON body stand within it, not in the address")


def _read(data: bytes, parameters: Sequence[Parameter]) -> Any:
    def read() -> tuple[dict[str, Any], QuerySum | None]:
        given = json_object(data)
        check_size(given, len(data))
        values = from_json(given, parameters, beside=("terms",))
        asked = terms_in(given["terms"]) if given.get("terms") is not None else None
        if asked is not None:
            check_pictures([asked])
        return values, asked

    return read


def check_pictures(sums: Sequence[QuerySum]) -> None:
    """Raise HTTPException 413 for pictures that are too many bytes together."""
    terms: list[Term] = [one for each in sums for one in each.terms]
    size = sum(len(one.query) for one in terms if isinstance(one.query, bytes))
    if size > LARGEST_PICTURE:
        raise too_large(LARGEST_PICTURE)
