"""What programs ask: embeddings, and many questions at once, as arrays in base64."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clipsearch.errors import InvalidInput
from clipsearch.library import Library
from clipsearch.searching.combining import alone
from clipsearch.serving.protocol import LARGEST_PICTURE
from clipsearch.serving.web import answers
from clipsearch.serving.web.api import ids_in
from clipsearch.serving.web.asked import options_of
from clipsearch.serving.web.bodies import (
    WIDEST,
    Bodies,
    check_size,
    floats_in,
    is_picture,
    json_object,
    list_in,
    picture_in,
    terms_in,
    text_in,
    too_large,
)
from clipsearch.serving.web.parameters import BATCH, FORMAT, VECTORS, from_json, from_query
from clipsearch.serving.web.questions import Questions, check_pictures, refuse_query
from clipsearch.serving.web.served import Served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clipsearch.options import SearchOptions
    from clipsearch.searching.combining import QuerySum

MOST_QUERIES = 256  # questions, texts or pictures of a request
MOST_ROWS = 4096  # vectors of a request
MOST_FOUND = 1_000_000  # scores of a request
MOST_BATCH_HITS = 20_000  # hits of a request


@dataclass(frozen=True)
class Programs:
    """The handlers of what programs ask."""

    served: Served
    bodies: Bodies

    @property
    def questions(self) -> Questions:
        """What reads questions."""
        return Questions(self.served, self.bodies)

    async def embed(self, request: Request) -> Response:
        """Return the embeddings of texts or of pictures."""
        form = from_query(request.query_params.multi_items(), (FORMAT,))["format"]
        if is_picture(request):
            async with self.bodies.read(request, LARGEST_PICTURE) as data:
                found = await self._of_pictures([data])
        else:
            async with self.bodies.read(request) as data:
                given = await asyncio.to_thread(_checked_json, data)
                found = await self._embedded(given)
        if form == "base64":
            return JSONResponse(_array("embeddings", found) | {"width": found.shape[1]})
        return JSONResponse({"embeddings": found.tolist(), "width": found.shape[1]})

    async def _embedded(self, given: dict[str, Any]) -> NDArray[np.float32]:
        if given.keys() == {"texts"}:
            texts = [text_in(one) for one in list_in(given["texts"], "texts", MOST_QUERIES)]
            return await self.served.look(lambda library: library.encode_text(texts))
        if given.keys() == {"pictures"}:
            pictures = list_in(given["pictures"], "pictures", MOST_QUERIES)
            return await self._of_pictures(await asyncio.to_thread(_pictures, pictures))
        raise InvalidInput('the body must be {"texts": [...]} or {"pictures": [...]}')

    async def _of_pictures(self, files: list[bytes]) -> NDArray[np.float32]:
        if not all(files):
            raise InvalidInput("the body is empty: it should be a picture's file")
        return await self.served.look(lambda library: library.encode_images(files), pictures=True)

    async def batch(self, request: Request) -> Response:
        """Return the answers to many questions, by what is seen alone."""
        async with self.bodies.read(request) as data:
            refuse_query(request)
            sums, options = await asyncio.to_thread(_batch, data)
            asked = [alone(one) for one in await self.questions.looked_up(sums)]

            def look(library: Library) -> list[dict[str, Any]]:
                found = library.query_batch(asked, options, text=True)
                return [answers.hits(one) for one in found]

            words = all(isinstance(one.query, str) for each in sums for one in each.terms)
            found = await self.served.look(look, pictures=not words)
            return JSONResponse({"answers": found})

    async def search_vectors(self, request: Request) -> Response:
        """Return cosines and ids of the photos nearest to embeddings."""
        async with self.bodies.read(request) as data:
            refuse_query(request)
            vectors, options = await asyncio.to_thread(_vectors, data)
            scores, ids = await self.served.look(
                lambda library: library.search_vectors(vectors, options)
            )
            return JSONResponse(_array("scores", scores) | _array("ids", ids))

    async def vectors(self, request: Request) -> Response:
        """Return the embeddings of photos by their ids."""
        async with self.bodies.read_json(request) as given:
            ids = ids_in(given)
            found = await self.served.look(lambda library: library.vectors(ids))
            return JSONResponse(_array("vectors", found))


def _checked_json(data: bytes) -> dict[str, Any]:
    given = json_object(data)
    check_size(given, len(data))
    return given


def _pictures(given: Sequence[Any]) -> list[bytes]:
    files = [picture_in(one) for one in given]
    if sum(map(len, files)) > LARGEST_PICTURE:
        raise too_large(LARGEST_PICTURE)
    return files


def _batch(data: bytes) -> tuple[list[QuerySum], SearchOptions]:
    given = _checked_json(data)
    options = options_of(from_json(given, BATCH, beside=("queries",)))
    queries = list_in(given.get("queries"), "queries", MOST_QUERIES)
    if len(queries) * (options.offset + options.k) > MOST_BATCH_HITS:
        raise InvalidInput(
            f"a batch may find {MOST_BATCH_HITS:,} photos: {len(queries)} questions of k + offset"
        )
    sums = [terms_in(one) for one in queries]
    check_pictures(sums)
    return sums, options


def _vectors(data: bytes) -> tuple[NDArray[np.float32], SearchOptions]:
    given = _checked_json(data)
    options = options_of(from_json(given, VECTORS, beside=("vectors", "shape")))
    rows, width = shape_in(given.get("shape"))
    numbers = floats_in(given.get("vectors"), "vectors")
    if len(numbers) != rows * width:
        raise InvalidInput(f"vectors of shape {rows} x {width} are not {len(numbers)} numbers")
    if rows * options.k > MOST_FOUND:
        raise InvalidInput(f"vectors times k may be {MOST_FOUND:,}, not {rows} x {options.k}")
    return numbers.reshape(rows, width), options


def shape_in(given: Any) -> tuple[int, int]:
    """Return rows and width; raises InvalidInput."""
    right = isinstance(given, list) and len(given) == 2 and all(type(one) is int for one in given)
    if not right or not 0 <= given[0] <= MOST_ROWS or not 0 < given[1] <= WIDEST:
        raise InvalidInput(f"shape must be [rows up to {MOST_ROWS}, width]")
    return given[0], given[1]


def _array(name: str, values: NDArray[Any]) -> dict[str, Any]:
    """Return an array as base64 of its numbers, little endian, with its shape."""
    kind = "<f4" if values.dtype.kind == "f" else "<i8"
    encoded = b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()
    return {name: encoded, "shape": list(values.shape)}
