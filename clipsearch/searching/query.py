"""What a person asks -> one unit vector."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import as_list, shown
from clipsearch.errors import InvalidInput
from clipsearch.photos.file_reading import read_whole
from clipsearch.settings import given_path

if TYPE_CHECKING:
    import PIL.Image

    from clipsearch.index.records import ModelRow
    from clipsearch.index.store import Store
    from clipsearch.models.loaded import LoadedModels

# Text is a str; a picture is a path, a file's bytes, a Pillow image or uint8 (height, width, 3).
Picture: TypeAlias = Union[Path, bytes, "PIL.Image.Image", NDArray[np.uint8]]
Query: TypeAlias = str | Picture


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


def pictures_given(pictures: Picture | Iterable[Picture]) -> list[Picture]:
    """Return pictures as a list; raises InvalidInput for a str, which is text."""
    given = as_list(pictures)
    if any(isinstance(picture, str) for picture in given):
        raise InvalidInput("a str is text: give the path of a picture as a Path")
    return given


def picture_bytes(picture: Picture) -> bytes | None:
    """Return the bytes of a picture that comes as a file or bytes, None for one in memory.

    A path may be a pipe, whose bytes come only once. Raises InvalidInput, or UnreadableImage for
    what is no file, and what is larger than any picture that would be taken.
    """
    if isinstance(picture, bytes):
        return picture
    if not isinstance(picture, Path):
        return None
    from clipsearch.photos.opening import LARGEST_FILE

    try:
        return read_whole(given_path(picture), LARGEST_FILE, pipes=True)[0]
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InvalidInput(f"can't read {picture}: {why}") from error


def content_hash(data: bytes) -> str:
    """Return the SHA-256 that the catalog keeps of a file's content."""
    return hashlib.sha256(data).hexdigest()


def opened_picture(picture: Picture, shrink_to: int | None) -> PIL.Image.Image:
    """Return a query picture as upright RGB; raises InvalidInput or UnreadableImage."""
    from clipsearch.photos.opening import open_image, upright_rgb

    data = picture_bytes(picture)
    if data is not None:
        return open_image(data, shrink_to=shrink_to).image
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    import PIL.Image

    if isinstance(picture, PIL.Image.Image):
        if not all(picture.size):
            raise InvalidInput("the picture has no pixels")
        return upright_rgb(picture)
    raise InvalidInput(f"a query is text, a path, bytes or a picture, not {type(picture).__name__}")


def _from_array(pixels: NDArray[np.uint8]) -> PIL.Image.Image:
    import PIL.Image

    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        shape = "x".join(map(str, pixels.shape))
        raise InvalidInput(f"an array must be uint8 height x width x 3, not {pixels.dtype} {shape}")
    return PIL.Image.fromarray(pixels)


def encode_queries(
    queries: Sequence[Query], model: ModelRow, models: LoadedModels, store: Store
) -> NDArray[np.float32]:
    """Return unit vectors, float32 (n, d): one pass for all texts, one for all pictures."""
    vectors = np.empty((len(queries), model.identity.width), dtype=np.float32)
    texts = {i: checked_text(query) for i, query in enumerate(queries) if isinstance(query, str)}
    if texts:
        vectors[list(texts)] = models.text_encoder_of(model).encode_text(list(texts.values()))
    opened: dict[int, PIL.Image.Image] = {}
    for i, query in enumerate(queries):
        if isinstance(query, str):
            continue
        data = picture_bytes(query)
        known = None if data is None else _known_photo(data, model, store)
        if known is not None:  # its content is in the library: no encoder needed
            vectors[i] = store.vectors(model.id, [known])[0]
        else:  # opened before the model is loaded: one that can't be read need not wait for torch
            opened[i] = opened_picture(query if data is None else data, model.identity.image_size)
    if opened:
        vectors[list(opened)] = models.encoder_of(model).encode_images(list(opened.values()))
    return vectors


def _known_photo(data: bytes, model: ModelRow, store: Store) -> int | None:
    same = store.catalog.photos_by_hash(content_hash(data))
    return next((p.id for p in same if store.catalog.has_embedding(p.id, model.id)), None)
