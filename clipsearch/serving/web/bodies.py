"""The bodies of requests, read within bounds: what is too large is refused while it comes."""

from __future__ import annotations

import asyncio
import binascii
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from clipsearch.arguments import finite, shown
from clipsearch.errors import InvalidInput
from clipsearch.near_names import did_you_mean, near_name
from clipsearch.searching.combining import QuerySum, Term
from clipsearch.serving.protocol import LARGEST_PICTURE, LARGEST_REQUEST
from clipsearch.serving.web.parameters import LONGEST_TEXT, whole_characters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from starlette.requests import Request

LARGEST_BODY = LARGEST_PICTURE * 4 // 3 + LARGEST_REQUEST  # bytes: pictures in base64, and words
_HELD = 8 * LARGEST_BODY  # bytes of all bodies that are read or asked with at one time
_QUICK = 1 << 16  # bytes that are parsed where they are; of more, others need not wait for that
_MOST_COMMAS = 100_000  # in a body: so many values at most, however large the pictures are
WIDEST = 1 << 14  # numbers of an embedding
CONTENT = "content-hash"
TERMS = ("text", "photo", "picture", "embedding", "url")


class Bodies:
    """Reads bodies, and knows how much of them is held."""

    def __init__(self) -> None:
        self._held = 0  # bytes

    @asynccontextmanager
    async def read(self, request: Request, most: int = LARGEST_BODY) -> AsyncIterator[bytes]:
        """Give the body of a request to the block; raises HTTPException 413 or 503."""
        stated = request.headers.get("content-length", "0")
        if stated.isascii() and stated.isdigit() and int(stated) > most:
            raise too_large(most)
        data = bytearray()
        try:
            async for chunk in request.stream():
                data += chunk
                self._held += len(chunk)
                if len(data) > most:
                    raise too_large(most)
                if self._held > _HELD:
                    raise HTTPException(503, "too many pictures are being asked with: try again")
            yield bytes(data)
        finally:
            self._held -= len(data)

    @asynccontextmanager
    async def read_json(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        """Give the JSON object in a body to the block; raises InvalidInput, too."""
        async with self.read(request) as data:
            parse = asyncio.to_thread(json_object, data) if len(data) > _QUICK else None
            yield await parse if parse else json_object(data)


def too_large(most: int) -> HTTPException:
    """Return what refuses a request of too many bytes."""
    return HTTPException(413, f"a request may have {most / 2**20:.3g} MB at most")


def json_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in some bytes; raises InvalidInput for anything else."""
    if data.count(b",") > _MOST_COMMAS:
        raise HTTPException(413, f"a request may have {_MOST_COMMAS:,} values at most")
    try:
        found = json.loads(data, object_pairs_hook=_once)
    except RecursionError as error:
        raise InvalidInput("the body is no JSON of ours: it is nested too deep") from error
    except ValueError as error:
        raise InvalidInput(f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"the body must be a JSON object, not {shown(found)}")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f"{shown(twice)} can be given once")
    return found


def is_picture(request: Request) -> bool:
    """Tell whether a body is a picture's file, not JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind.startswith("image/") or kind == "application/octet-stream"


def check_size(given: dict[str, Any], size: int) -> None:
    """Raise HTTPException 413 for a body of `size` bytes that is large by other than pictures."""
    if size > LARGEST_REQUEST and size - _letters_of_pictures(given) > LARGEST_REQUEST:
        raise too_large(LARGEST_REQUEST)


def _letters_of_pictures(value: Any) -> int:
    if isinstance(value, dict):
        return sum(
            len(inside)
            if name in ("picture", "embedding", "vectors") and isinstance(inside, str)
            else sum(len(one) for one in inside if isinstance(one, str))
            if name == "pictures" and isinstance(inside, list)
            else _letters_of_pictures(inside)
            for name, inside in value.items()
        )
    return sum(map(_letters_of_pictures, value)) if isinstance(value, list) else 0


def terms_in(given: Any) -> QuerySum:
    """Return the question in the terms of a body; photos by their ids are left as `PhotoId`s.

    Raises InvalidInput, and HTTPException 413 for too many bytes of pictures.
    """
    if not isinstance(given, list):
        raise InvalidInput(f"terms must be a list of objects, not {shown(given)}")
    return QuerySum(tuple(map(_term, given[:1000])))


@dataclass(frozen=True)
class PhotoId:
    """A photo of the library that a client names."""

    id: int
    content_hash: str | None = None  # that it had when the client was told of it


class WebAddress(str):
    """The address of a picture on the web that a client names."""


def _term(given: Any) -> Term:
    if not isinstance(given, dict):
        raise InvalidInput(f"a term is an object such as {{'text': 'beach'}}, not {shown(given)}")
    kinds = [name for name in given if name in TERMS]
    for name in given:
        if name not in (*TERMS, "weight", CONTENT):
            near = did_you_mean(near_name(name, [*TERMS, "weight"]))
            raise InvalidInput(f"a term has no {shown(name)}{near}")
    if len(kinds) != 1:
        raise InvalidInput(f"a term has one of {', '.join(TERMS)}, not {len(kinds)}")
    weight = finite(given.get("weight", 1.0), "a weight")
    if kinds == ["photo"]:
        content = given.get(CONTENT)
        return Term(weight, PhotoId(id_in(given["photo"]), content and text_in(content)))
    if CONTENT in given:
        raise InvalidInput(f"{CONTENT} is of a photo")
    return Term(weight, _READ[kinds[0]](given[kinds[0]]))


def text_in(given: Any) -> str:
    """Return a text with something in it; raises InvalidInput."""
    if not isinstance(given, str) or len(given) > LONGEST_TEXT:
        raise InvalidInput(f"a text is of at most {LONGEST_TEXT} characters, and no {shown(given)}")
    return whole_characters(given)


def id_in(given: Any) -> int:
    """Return the id of a photo; raises InvalidInput."""
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < 2**63:
        raise InvalidInput(f"a photo's id is a whole number, not {shown(given)}")
    return given


def bytes_in(given: Any, what: str) -> bytes:
    """Return the bytes that are written in base64; raises InvalidInput."""
    try:
        return b64decode(given, validate=True) if isinstance(given, str) else b""
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{what} is no base64") from error


def picture_in(given: Any) -> bytes:
    """Return the file of a picture that is written in base64; raises InvalidInput."""
    data = bytes_in(given, "a picture")
    if not data:
        raise InvalidInput("a picture is a file in base64")
    if len(data) > LARGEST_PICTURE:
        raise too_large(LARGEST_PICTURE)
    return data


def _embedding(given: Any) -> NDArray[np.float32]:
    import numpy as np

    if isinstance(given, list):
        numbers = [finite(one, "a number of an embedding") for one in given[: WIDEST + 1]]
        with np.errstate(over="ignore"):
            found = np.array(numbers, np.float64).astype(np.float32)
    else:
        found = floats_in(given, "an embedding")
    if not 0 < len(found) <= WIDEST:
        raise InvalidInput(f"an embedding has up to {WIDEST} numbers, or is float32 in base64")
    return found


def floats_in(given: Any, what: str) -> NDArray[np.float32]:
    """Return the float32, little endian, that are written in base64; raises InvalidInput."""
    import numpy as np

    data = bytes_in(given, what)
    if len(data) % 4:
        raise InvalidInput(f"{what} is no float32 in base64: {len(data)} bytes")
    return np.frombuffer(data, "<f4").astype(np.float32)


def _url(given: Any) -> WebAddress:
    return WebAddress(text_in(given))


_READ = {
    "text": text_in,
    "picture": picture_in,
    "embedding": _embedding,
    "url": _url,
}


def list_in(given: Any, name: str, most: int) -> Sequence[Any]:
    """Return a list of 1 to `most` values; raises InvalidInput."""
    if not isinstance(given, list) or not 1 <= len(given) <= most:
        raise InvalidInput(f"{name} must be a list of 1 to {most:,}, not {shown(given)}")
    return given
