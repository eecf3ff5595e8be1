"""The HTTP API: questions and answers as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clipsearch import __version__
from clipsearch.errors import ClipsearchError, InvalidInput, LibraryNotFound
from clipsearch.index.records import PhotoRecord
from clipsearch.library import Library
from clipsearch.results import Hits
from clipsearch.searching.combining import term
from clipsearch.serving.searcher import Question
from clipsearch.serving.state import StateWatch, state_before
from clipsearch.serving.web import answers
from clipsearch.serving.web.asked import Wanted, filters_of
from clipsearch.serving.web.bodies import Bodies, id_in, list_in
from clipsearch.serving.web.parameters import (
    COUNTED,
    DETAILED,
    IDS,
    SEARCH,
    SIMILAR,
    from_query,
)
from clipsearch.serving.web.questions import Questions
from clipsearch.serving.web.served import Served

T = TypeVar("T")
_PATIENCE = 2.0  # seconds that a photo's EXIF is waited for
MOST_IDS = 10_000  # photos that are named in one request


@dataclass(frozen=True)
class Api:
    """The handlers of what the page asks, and whoever else shows photos."""

    served: Served
    bodies: Bodies
    watch: StateWatch = field(default_factory=StateWatch)

    @property
    def questions(self) -> Questions:
        """What reads questions."""
        return Questions(self.served, self.bodies)

    async def search(self, request: Request) -> Response:
        """Find photos by words, or list those that pass filters."""
        return JSONResponse(await self._answer(await self.questions.asked_in(request, SEARCH)))

    async def search_posted(self, request: Request) -> Response:
        """Find photos by several words, pictures, photos and embeddings, or by one file."""
        async with self.questions.posted(request, SEARCH) as meant:
            return JSONResponse(await self._answer(meant))

    async def similar(self, request: Request) -> Response:
        """Find the photos most like one of the library, without it and its copies."""
        photo_id = request.path_params["photo_id"]
        photo = await self._look_at(photo_id, lambda library: library.photo(photo_id))
        meant = await self.questions.asked_in(request, SIMILAR, term(photo))
        return JSONResponse(await self._answer(meant, "similar"))

    async def similar_posted(self, request: Request) -> Response:
        """Find the photos most like what is posted, without these photos themselves."""
        async with self.questions.posted(request, SIMILAR) as meant:
            if meant.asked is None or all(isinstance(one.query, str) for one in meant.asked.terms):
                raise InvalidInput("there is no picture among the terms")
            return JSONResponse(await self._answer(meant, "similar"))

    async def facets(self, request: Request) -> Response:
        """Count the photos that pass the filters, by what they say."""
        values = from_query(request.query_params.multi_items(), COUNTED)
        found = await self.served.look(lambda library: library.facets(filters_of(values)))
        return JSONResponse(found.to_dict())

    async def photo(self, request: Request) -> Response:
        """Say all that is known of a photo."""
        photo_id = request.path_params["photo_id"]
        found = await self._look_at(photo_id, lambda library: library.details(photo_id))
        return JSONResponse(answers.details(found, await self._exposure(found.photo)))

    async def photos(self, request: Request) -> Response:
        """Say what the catalog says of photos, in the order of their ids."""
        values = from_query(request.query_params.multi_items(), (IDS,))
        texts = values["ids"].split(",")
        if not all(text.isascii() and text.isdigit() and len(text) < 19 for text in texts):
            raise InvalidInput("ids must be the ids of photos, with commas between them")
        return await self._records([int(text) for text in texts])

    async def photos_posted(self, request: Request) -> Response:
        """Say the same of photos whose ids are posted."""
        async with self.bodies.read_json(request) as given:
            return await self._records(ids_in(given))

    async def library(self, request: Request) -> Response:
        """Say what the library holds."""
        values = from_query(request.query_params.multi_items(), (DETAILED,))
        info, state = await self.served.look(lambda library: (library.info(), self._state(library)))
        named = answers.more_of(info) if values["detailed"] else {}
        said = {**info.to_dict(), "version": __version__, "state": state, **named}
        return JSONResponse(said)

    async def state(self, request: Request) -> Response:
        """Say whether anything has changed."""
        try:
            return JSONResponse(await self.served.look(self._state))
        except LibraryNotFound:
            return JSONResponse(state_before(self.served.searcher.folder).to_dict())

    async def health(self, request: Request) -> Response:
        """Say that the server answers."""
        return JSONResponse({"status": "ok"})

    async def _exposure(self, photo: PhotoRecord) -> Sequence[tuple[str, str]]:
        """Return how a photo was taken; nothing where its file is away, or much else is made."""
        try:
            told = asyncio.wrap_future(self.served.pictures.exposure(photo))
            return await asyncio.wait_for(told, _PATIENCE)
        except (TimeoutError, ClipsearchError):
            return ()

    def _state(self, library: Library) -> dict[str, Any]:
        return self.watch.look(library).to_dict()

    async def _records(self, ids: list[int]) -> Response:
        found = await self.served.look(lambda library: library.photos(ids))
        return JSONResponse({"photos": [answers.record(one) for one in found]})

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
        answer = {"query": meant.query(), "total": total, "more": more, **answers.hits(found)}
        if meant.facets:
            facets = await self.served.look(lambda library: library.facets(meant.options))
            answer["facets"] = facets.to_dict()
        return answer

    async def _look_at(self, photo_id: int, look: Callable[[Library], T]) -> T:
        """Look at a photo; there is nothing at the address of one that there is not."""
        try:
            return await self.served.look(look)
        except InvalidInput as error:
            raise HTTPException(404, str(error)) from error


def ids_in(given: dict[str, Any]) -> list[int]:
    """Return the ids in a body; raises InvalidInput."""
    if given.keys() != {"ids"}:
        raise InvalidInput('the body must be {"ids": [...]}')
    return [id_in(one) for one in list_in(given["ids"], "ids", MOST_IDS)]


def _listed(library: Library, meant: Wanted) -> tuple[Hits, int]:
    return library.list(meant.options), library.count(meant.options)
