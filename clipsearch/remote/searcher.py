"""A `Searcher` over HTTP: the same answers as the library gives where it lies."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import ClipsearchError, InvalidInput, LibraryDamaged, LibraryReadOnly
from clipsearch.index.facets import Facets
from clipsearch.index.records import Failure, Folder, PhotoRecord
from clipsearch.options import SearchOptions
from clipsearch.remote import values
from clipsearch.remote.connection import Connection
from clipsearch.results import AwayFolder, Hit, Hits, LibraryInfo
from clipsearch.searching.combining import QuerySum, summed
from clipsearch.searching.inquiries import Inquiry
from clipsearch.searching.looking_up import PhotoDetails, PhotoIds, ids_given
from clipsearch.searching.query import (
    Picture,
    Query,
    QueryPicture,
    as_vectors,
    checked_text,
    read_picture,
)

if TYPE_CHECKING:
    from clipsearch.copies import Duplicates

T = TypeVar("T")
# What goes in one request, within what a server takes.
_PAGE = 10_000  # photos
_QUERIES = 256
_BATCH_HITS = 20_000
_ROWS, _SCORES = 4096, 1_000_000  # vectors, and what is found for them
_PICTURES = 32 << 20  # bytes of pictures; a larger one goes alone


class HttpSearcher:
    """A `Searcher` (searching/searcher.py) that asks the server at an address."""

    def __init__(self, address: str, token: str | None) -> None:
        """Ask the server what it serves; raises InvalidInput or LibraryError."""
        self._server = Connection(address, token)
        self.address = self._server.address
        try:
            self.folder = self.info().folder
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connections."""
        self._server.close()

    def check_open(self) -> None:
        """Raise LibraryClosed after `close`, and in a fork of the process that opened it."""
        self._server.check_open()

    def query(self, query: Query, options: SearchOptions) -> Hits:
        """Return the photos nearest to a text or picture, best first."""
        body = {"terms": _terms(query), **_checked(options)}
        return self._understood(values.hits, self._server.post("/api/search", body))

    def query_batch(self, queries: Sequence[Query], options: SearchOptions) -> list[Hits]:
        """Return the hits of each query by what is seen alone."""
        asked = _checked(options)
        most = min(_QUERIES, max(1, _BATCH_HITS // (options.offset + options.k)))
        found: list[Hits] = []
        for some in _together(map(_terms, queries), most):
            answer = self._server.post("/api/batch", {"queries": some, **asked})
            found += self._understood(
                lambda given: [values.hits(one) for one in given["answers"]], answer
            )
        return found

    def answers(self, inquiries: Sequence[Inquiry]) -> Iterator[tuple[int, Hits | Exception]]:
        """Yield the place of each question with its hits, or with what it raises alone."""
        for place, one in enumerate(inquiries):
            ask = self.similar if one.similar else self.query
            try:
                yield place, ask(one.query, one.options)  # type: ignore[arg-type]
            except ClipsearchError as error:
                yield place, error

    def similar(self, picture: Picture | QuerySum, options: SearchOptions) -> Hits:
        """Return the photos most like a picture, without the picture itself, wherever it lies."""
        body = {"terms": _terms(picture), **_checked(options)}
        return self._understood(values.hits, self._server.post("/api/similar", body))

    def listed(self, options: SearchOptions) -> Hits:
        """Return the photos that pass the filters, without a question: by date or path."""
        found: list[Hit] = []
        while True:
            k = min(_PAGE, options.k - len(found))
            page = replace(options, k=k, offset=options.offset + len(found))
            given = self._server.post("/api/search", _checked(page))
            answer = self._understood(values.hits, given)
            found += answer
            if len(found) >= options.k or len(answer) < k:
                return answer.but_with(found)

    def count(self, options: SearchOptions) -> int:
        """Return how many photos pass the filters."""
        return int(self._understood(lambda given: given["total"], self._first(options)))

    def facets(self, options: SearchOptions) -> Facets:
        """Return what the photos that pass the filters say, counted."""
        given = self._first(options, facets=True)
        return self._understood(lambda given: Facets.from_dict(given["facets"]), given)

    def _first(self, options: SearchOptions, **more: bool) -> dict[str, Any]:
        return self._server.post("/api/search", _checked(replace(options, k=1, offset=0)) | more)

    def duplicates(self, options: SearchOptions) -> Duplicates:
        """Refuse: to compare all photos is for the machine that has them."""
        self.refuse()

    def search_vectors(
        self, queries: NDArray[np.float32], options: SearchOptions
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return cosines (n, k) and photo ids (n, k) of the nearest to unit vectors (n, width)."""
        asked = _checked(options)
        asked = {name: asked[name] for name in asked if name in _OF_VECTORS}
        vectors = as_vectors(queries)
        if vectors.ndim != 2:
            raise InvalidInput(f"query vectors must be (n, width), not {vectors.shape}")
        step = min(_ROWS, max(1, _SCORES // options.k))
        scores, ids = [], []
        for start in range(0, max(1, len(vectors)), step):
            some = vectors[start : start + step]
            shape = {"vectors": _floats(some), "shape": list(some.shape)}
            given = self._server.post("/api/vectors/search", shape | asked)
            scores.append(self._array(given, "scores", "<f4"))
            ids.append(self._array(given, "ids", "<i8"))
        return np.concatenate(scores), np.concatenate(ids)

    def encode(self, queries: Sequence[Query | QueryPicture]) -> NDArray[np.float32]:
        """Return unit vectors, float32 (n, width), of texts and pictures."""
        texts = [checked_text(one) for one in queries if isinstance(one, str)]
        if texts and len(texts) < len(queries):
            raise InvalidInput("texts and pictures are encoded in calls of their own")
        rows = [np.empty((0, self._width), np.float32)] if not queries else []
        for some in _together(texts, _QUERIES):
            given = self._server.post("/api/embed?format=base64", {"texts": some})
            rows.append(self._array(given, "embeddings", "<f4"))
        pictures = (_picture(one) for one in queries if not isinstance(one, str))
        for few in _together(pictures, _QUERIES):
            rows += self._of_pictures(few)
        return np.concatenate(rows)

    def _of_pictures(self, some: Sequence[dict[str, Any]]) -> Iterator[NDArray[np.float32]]:
        """Yield the embeddings of pictures, of photos of the library by their ids, in order."""
        files = [one["picture"] for one in some if "picture" in one]
        found = iter(())
        if files:
            given = self._server.post("/api/embed?format=base64", {"pictures": files})
            found = iter(self._array(given, "embeddings", "<f4"))
        for one in some:
            if "picture" in one:
                yield next(found)[np.newaxis]
            elif "photo" in one:
                yield self.vectors([one["photo"]], None)
            else:
                data = values.array({**one, "shape": [1, -1]}, "embedding", "<f4")
                yield data

    @property
    def _width(self) -> int:
        model = self.info().model
        return model.identity.width if model else 0

    def prepare_for_pictures(self) -> bool:
        """Return True: the server has done it."""
        self.check_open()
        return True

    def photo(self, photo_id: int) -> PhotoRecord:
        """Return what is known of a photo; InvalidInput if the library has none with this id."""
        return self.photos([photo_id])[0]

    def details(self, photo_id: int) -> PhotoDetails:
        """Return all that is known of a photo, its words and tags, too."""
        photo = self.photo(photo_id)
        given = self._server.get(f"/api/photos/{photo_id}")

        def made(given: dict[str, Any]) -> PhotoDetails:
            hit = Hit.from_record(0, 0.0, photo, why=(), tags=tuple(given["tags"]))
            return PhotoDetails(photo, hit, values.words(given["words"]))

        return self._understood(made, given)

    def photos(self, photo_ids: PhotoIds) -> list[PhotoRecord]:
        """Return what is known of photos, in the order of their ids, -1 passed over."""
        found: list[PhotoRecord] = []
        for ids in _together(ids_given(photo_ids), _PAGE):
            given = self._server.post("/api/photos", {"ids": ids})
            found += self._understood(
                lambda given: [values.record(one) for one in given["photos"]], given
            )
        return found

    def vectors(self, photo_ids: PhotoIds, model: str | Path | None) -> NDArray[np.float32]:
        """Return embeddings, float32 (n, width), of photos, as `photos` does."""
        _check_model(model)
        ids = ids_given(photo_ids)
        if not ids:
            return np.empty((0, self._width), np.float32)
        rows = [
            self._array(self._server.post("/api/vectors", {"ids": some}), "vectors", "<f4")
            for some in _together(ids, _PAGE)
        ]
        return np.concatenate(rows)

    def info(self) -> LibraryInfo:
        """Return the state of the library."""
        given = self._server.get("/api/library?detailed=true")
        return self._understood(values.info, given)

    def folders(self) -> list[Folder]:
        """Return the folders and single files that the library keeps up to date, by path."""
        return list(self.info().folders)

    def away(self) -> list[AwayFolder]:
        """Return the folders that are not there now but have photos, with the reasons."""
        return list(self.info().away)

    def failures(self) -> list[Failure]:
        """Return the files that could not be indexed, with reasons."""
        return list(self.info().failures)

    def refuse(self) -> NoReturn:
        """Raise LibraryReadOnly, for what only the machine with the library can do."""
        self.check_open()
        raise LibraryReadOnly(
            f"{self.address}: a library is searched over HTTP, and no more: for this, open it "
            "where it lies"
        )

    def _understood(self, read: Callable[[dict[str, Any]], T], given: dict[str, Any]) -> T:
        """Return what is read out of an answer; LibraryError for one that is none of ours."""
        try:
            return read(given)
        except (KeyError, TypeError, ValueError, LibraryDamaged) as error:
            raise self._server.not_ours() from error

    def _array(self, given: dict[str, Any], name: str, kind: str) -> NDArray[Any]:
        return self._understood(lambda given: values.array(given, name, kind), given)


_OF_VECTORS = ("k", "min-score", "include-away", "exact", "filters")


def _checked(options: SearchOptions) -> dict[str, Any]:
    """Return options as a body has them; InvalidInput for what a server takes from nobody."""
    _check_model(options.model)
    if options.where is not None:
        raise InvalidInput("where, a condition in SQL, is for a library on this machine")
    return values.options(options)


def _check_model(model: str | Path | None) -> None:
    if model is not None:
        raise InvalidInput("a library over HTTP is asked by its own model alone")


def _terms(query: Query) -> list[dict[str, Any]]:
    """Return the parts of a question as a body has them."""
    return [
        {
            **({"text": checked_text(one)} if isinstance(one, str) else _picture(one)),
            **({} if weight == 1.0 else {"weight": weight}),
        }
        for weight, one in summed(query).terms
    ]


def _picture(given: Any) -> dict[str, Any]:
    picture = read_picture(given)
    if picture.embedding is not None:
        return {"embedding": _floats(picture.embedding)}
    if picture.photo_id is not None:
        return {"photo": picture.photo_id, "content-hash": picture.content_hash}
    data = picture.file
    if picture.in_memory is not None:
        file = io.BytesIO()
        picture.in_memory.save(file, "PNG", compress_level=1)
        data = file.getvalue()
    return {"picture": values.text_of(data or b"")}


def _floats(given: NDArray[np.float32]) -> str:
    return values.text_of(np.ascontiguousarray(given, "<f4").tobytes())


def _together(given: Iterator[T] | Sequence[T] | map[T], most: int) -> Iterator[list[T]]:
    """Yield values in lists of up to `most`, pictures of not too many bytes."""
    some: list[T] = []
    size = 0
    for one in given:
        bytes_of = _bytes_of(one)
        if some and (len(some) >= most or size + bytes_of > _PICTURES):
            yield some
            some, size = [], 0
        some.append(one)
        size += bytes_of
    if some:
        yield some


def _bytes_of(value: Any) -> int:
    """Return how large the pictures in a term, or a list of terms, are."""
    if isinstance(value, list):
        return sum(map(_bytes_of, value))
    return len(value.get("picture", "")) if isinstance(value, dict) else 0
