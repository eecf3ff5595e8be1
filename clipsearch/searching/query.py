"""What a person asks -> one unit vector."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import shown
from clipsearch.errors import InvalidInput, LibraryClosed
from clipsearch.index.records import PhotoRecord
from clipsearch.photos.decoders import CLOSED
from clipsearch.photos.file_reading import read_whole
from clipsearch.results import Hit
from clipsearch.searching.combining import QuerySum, added, parts_of
from clipsearch.settings import given_path

if TYPE_CHECKING:
    from concurrent.futures import Future

    import PIL.Image

    from clipsearch.index.interface import SearchableStore
    from clipsearch.index.records import ModelRow
    from clipsearch.models.loaded import LoadedModels
    from clipsearch.photos.decoder_pool import PreparedPhoto
    from clipsearch.photos.decoders import Decoders

# Text is a str; a picture is a path, a file's bytes, a Pillow image, uint8 (height, width, 3), a
# photo of the library as it was found there, or the embedding of one, float32 (width,).
Picture: TypeAlias = Union[
    Path, bytes, "PIL.Image.Image", NDArray[np.uint8], PhotoRecord, Hit, NDArray[np.float32]
]
# A sum has texts and pictures as its parts.
Query: TypeAlias = str | Picture | QuerySum

_A_PICTURE = (  # PNG, 8 x 8, black; made without Pillow, which only decoding processes load
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAADElEQVR42mNgoA4AAABIAAEQRe/SAAAAAElFTkSuQmCC"
)
_OFF_UNIT_LENGTH = 0.01  # that an embedding may be, as those stored in float16 are
_FILES_IN_FLIGHT = 8  # query pictures that are decoded ahead
PICTURES_AT_ONCE = 256  # whose pixels are held together: some 40 MB


@dataclass(frozen=True)
class QueryPicture:
    """A query picture as it was read: once, so that what is hashed is what is looked at."""

    file: bytes | None = None  # None for a picture in memory, or in the library
    content_hash: str | None = None  # SHA-256 of the file, as the catalog keeps it
    in_memory: PIL.Image.Image | None = None  # upright, RGB
    photo_id: int | None = None  # of one that is in the library
    embedding: NDArray[np.float32] | None = None  # (width,), of unit length


def read_picture(picture: Picture | QueryPicture) -> QueryPicture:
    """Return a query picture, read but not decoded.

    A path may be a pipe, whose bytes come only once. Raises InvalidInput, or UnreadableImage for
    what is no file, and what is larger than any picture that would be taken.
    """
    if isinstance(picture, QueryPicture):
        return picture
    if isinstance(picture, Path):
        picture = _read(picture)
    if isinstance(picture, bytes):
        return QueryPicture(picture, hashlib.sha256(picture).hexdigest())
    if isinstance(picture, PhotoRecord | Hit):
        return QueryPicture(None, picture.content_hash, photo_id=picture.id)
    if isinstance(picture, np.ndarray) and picture.ndim == 1 and picture.dtype.kind == "f":
        return QueryPicture(embedding=_embedding(picture))
    return QueryPicture(in_memory=_upright(picture))


def needs_decoding(query: Query) -> bool:
    """Tell whether a part of a question is a picture whose vector nobody knows yet."""
    if isinstance(query, np.ndarray):
        return query.ndim != 1
    return not isinstance(query, str | PhotoRecord | Hit | QuerySum)


def checked_text(text: str) -> str:
    """Return the text of a query; raises InvalidInput when there is nothing in it, or no text."""
    if not text.strip():
        raise InvalidInput("the query is empty: say what the photo shows")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"the query {shown(text)} is no text: it holds what is no character"
        ) from error
    return text


class QueryEncoder:
    """Unit vectors of texts and pictures, by a library's models.

    A picture whose content is in the library takes the vector from there; others are decoded in
    processes of their own, for they may hold anything.
    """

    def __init__(self, store: SearchableStore, models: LoadedModels, decoders: Decoders) -> None:
        self._store = store
        self._models = models
        self._decoders = decoders

    def encode(
        self, queries: Sequence[Query | QueryPicture], model: ModelRow
    ) -> NDArray[np.float32]:
        """Return unit vectors, float32 (n, width), of texts, pictures, and sums of them.

        Raises InvalidInput or UnreadableImage for a query, ModelError for the model.
        """
        parts = parts_of(queries)
        vectors = self._encode_each(parts, model)
        sums = any(isinstance(query, QuerySum) for query in queries)
        return added(queries, vectors) if sums else vectors

    def encode_apart(
        self, queries: Sequence[Query | QueryPicture], model: ModelRow
    ) -> list[NDArray[np.float32] | Exception]:
        """Return the unit vector (width,) of each query, or the error that it raises alone.

        Each vector is what it is alone, to the last bit: texts go through their tower together,
        pictures one by one.
        """
        found: list[NDArray[np.float32] | Exception] = []
        texts = self._encode_texts(queries, model)
        for query in queries:
            try:
                parts = parts_of([query])
                if all(isinstance(part, str) for part in parts) and texts is not None:
                    vectors = np.stack([texts[checked_text(part)] for part in parts])
                    found.append(added([query], vectors)[0])
                else:
                    found.append(self.encode([query], model)[0])
            except Exception as error:  # noqa: BLE001 (its own, which spoils no other)
                found.append(error)
        return found

    def _encode_texts(
        self, queries: Sequence[Query | QueryPicture], model: ModelRow
    ) -> dict[str, NDArray[np.float32]] | None:
        """Return the vectors (width,) of all texts in several queries that can be read.

        None where it is as well, or better, to encode one query after the other.
        """
        if len(queries) < 2:
            return None
        texts = set()
        for part in parts_of(queries):
            if isinstance(part, str):
                with suppress(InvalidInput):
                    texts.add(checked_text(part))
        try:
            vectors = self._models.text_encoder_of(model).encode_text(sorted(texts))
        except Exception:  # noqa: BLE001 (each question meets it alone, then)
            return None
        return dict(zip(sorted(texts), vectors, strict=True))

    def _encode_each(
        self, queries: Sequence[str | Picture | QueryPicture], model: ModelRow
    ) -> NDArray[np.float32]:
        # A row that nobody filled in would be refused, not searched for.
        vectors = np.full((len(queries), model.identity.width), np.nan, dtype=np.float32)
        texts = {i: checked_text(one) for i, one in enumerate(queries) if isinstance(one, str)}
        if texts:
            found = self._models.text_encoder_of(model).encode_text(list(texts.values()))
            vectors[list(texts)] = found
        pictures = [(i, one) for i, one in enumerate(queries) if not isinstance(one, str)]
        for start in range(0, len(pictures), PICTURES_AT_ONCE):
            some = dict(pictures[start : start + PICTURES_AT_ONCE])
            self._encode_pictures(some, model, vectors)
        return vectors

    def logit_scale(self, model: ModelRow) -> float | None:
        """Return what the model multiplies cosines by, as `TextEncoderSettings` says."""
        return self._models.text_encoder_of(model).logit_scale

    def prepare_for_pictures(self, model: ModelRow) -> bool:
        """Start what decodes and load what encodes, unless that is torch; return whether it was."""
        if not self._models.goes_without_torch(model):
            return False
        self.encode([b64decode(_A_PICTURE)], model)
        return True

    def _encode_pictures(
        self,
        pictures: dict[int, Picture | QueryPicture],
        model: ModelRow,
        vectors: NDArray[np.float32],
    ) -> None:
        """Fill in the rows of pictures; all are decoded before the model is loaded.

        One that can't be read need not wait for the model.
        """
        from clipsearch.photos.opening import DEFAULT_MAX_MEGAPIXELS
        from clipsearch.photos.preprocessing import Preprocessing

        preprocessing = Preprocessing.from_json(model.identity.preprocessing)
        pixels: dict[int, NDArray[np.uint8]] = {}
        decoding: deque[tuple[int, Future[PreparedPhoto]]] = deque()
        for row, given in pictures.items():
            picture = read_picture(given)
            if picture.embedding is not None:
                vectors[row] = _of_width(picture.embedding, model.identity.width)
            elif picture.in_memory is not None:
                pixels[row] = np.asarray(preprocessing.pixels(picture.in_memory))
            elif (known := self._known_photo(picture, model)) is not None:
                vectors[row] = self._store.vectors(model.id, [known])[0]
            elif picture.file is not None:
                decoded = self._decoders.submit(picture.file, preprocessing, DEFAULT_MAX_MEGAPIXELS)
                decoding.append((row, decoded))
            else:
                raise InvalidInput(
                    f"photo {picture.photo_id} is not in this library, or is another by now"
                )
            while len(decoding) > _FILES_IN_FLIGHT:
                _collect(decoding, pixels)
        while decoding:
            _collect(decoding, pixels)
        if pixels:
            encoder = self._models.encoder_of(model, len(pixels))
            vectors[list(pixels)] = encoder.encode_pixels(list(pixels.values()))

    def _known_photo(self, picture: QueryPicture, model: ModelRow) -> int | None:
        """Return a photo with this content that the model has embedded."""
        if picture.content_hash is None:
            return None
        same = self._store.photos_with_content(picture.content_hash)
        return next((known.photo.id for known in same if model.id in known.embedded_by), None)


def _collect(
    decoding: deque[tuple[int, Future[PreparedPhoto]]], pixels: dict[int, NDArray[np.uint8]]
) -> None:
    from concurrent.futures import CancelledError

    row, decoded = decoding.popleft()
    try:
        pixels[row] = decoded.result().pixels
    except CancelledError as error:  # by another thread, which closed the library
        raise LibraryClosed(CLOSED) from error


def _read(path: Path) -> bytes:
    from clipsearch.photos.opening import LARGEST_FILE

    try:
        return read_whole(given_path(path), LARGEST_FILE, pipes=True)[0]
    except FileNotFoundError as error:
        from clipsearch.near_names import did_you_mean, near_path

        near = did_you_mean(near_path(given_path(path)))
        raise InvalidInput(f"there is no file {path}{near}") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InvalidInput(f"can't read {path}: {why}") from error


def _upright(picture: object) -> PIL.Image.Image:
    """Return a picture that is in memory as upright RGB."""
    import PIL.Image

    from clipsearch.photos.opening import upright_rgb

    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    if isinstance(picture, PIL.Image.Image):
        if not all(picture.size):
            raise InvalidInput("the picture has no pixels")
        return upright_rgb(picture)
    raise InvalidInput(f"a query is text, a path, bytes or a picture, not {type(picture).__name__}")


def _embedding(given: NDArray[Any]) -> NDArray[np.float32]:
    """Return an embedding as float32; raises InvalidInput for what can be none."""
    if not len(given) or not np.isfinite(given).all():
        raise InvalidInput(f"an embedding is a row of finite float32, not {shown(given)}")
    vector = given.astype(np.float32)
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if abs(length - 1) > _OFF_UNIT_LENGTH:
        raise InvalidInput(f"an embedding is of unit length, not {length:.3g} long")
    return vector


def _of_width(embedding: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    if len(embedding) != width:
        raise InvalidInput(
            f"the embeddings of this library are {width} wide, not {len(embedding)}: each model "
            "has its own"
        )
    return embedding


def _from_array(pixels: NDArray[np.uint8]) -> PIL.Image.Image:
    import PIL.Image

    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        shape = "x".join(map(str, pixels.shape))
        raise InvalidInput(f"an array must be uint8 height x width x 3, not {pixels.dtype} {shape}")
    return PIL.Image.fromarray(pixels)


def as_vectors(queries: object) -> NDArray[np.float32]:
    """Return what is given as an array of float32; whether it is of the right shape shows later."""
    try:
        with np.errstate(all="ignore"):
            vectors = np.asarray(queries)
            if vectors.dtype.kind in "fiu":
                return vectors.astype(np.float32)
    except ValueError:  # rows of several lengths
        pass
    raise InvalidInput(f"query vectors must be an array of numbers, not {shown(queries)}")
