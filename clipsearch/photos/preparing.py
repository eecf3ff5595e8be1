"""The first of the two stages of embedding: a file's bytes -> metadata and a model's pixels.

It knows no model and no library: a decoding process runs it, and any other machine could. The
second stage, pixels -> vectors, is `Encoder.encode_pixels`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from clipsearch.errors import UnreadableImage
from clipsearch.index.records import PhotoMetadata, Word
from clipsearch.photos.exposure import exposure_in
from clipsearch.photos.opening import DEFAULT_MAX_MEGAPIXELS, OpenedImage, open_image
from clipsearch.photos.perceptual_hash import perceptual_hash
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.photos.rendering import Rendering, render, rendered


class Prepared(NamedTuple):
    """A photo ready for the encoder."""

    metadata: PhotoMetadata
    pixels: bytes  # uint8 (height, width, 3), of the size that the preprocessing gives
    words: tuple[Word, ...] = ()
    picture: bytes | None = None  # for people to look at, where one was wanted and came out
    exposure: tuple[tuple[str, str], ...] = ()  # how it was taken, by name, where that was wanted


class Unreadable(NamedTuple):
    """A file that can't be a photo."""

    reason: str  # one line
    error: BaseException  # what it is the reason of


def prepare(
    data: bytes,
    preprocessing: Preprocessing,
    *,
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    also: Rendering | None = None,
) -> Prepared | Unreadable:
    """Open a file's bytes and scale the picture to the model's size; or say why that can't be.

    `also` asks for a small picture beside; there is none where that needs more pixels than the
    model does.

    A decoder that crashes, hangs or eats memory does so here: `DecoderPool` runs this where it can
    do no harm. Raises MemoryError, and what a decoder was never known to raise.
    """
    try:
        opened = open_image(data, shrink_to=preprocessing.image_size, max_megapixels=max_megapixels)
        pixels = preprocessing.pixels(opened.image).tobytes()
        metadata = replace(opened.metadata, perceptual_hash=perceptual_hash(opened.image))
    except UnreadableImage as error:
        return Unreadable(str(error), error)
    picture = None if also is None else _beside(opened, also)
    return Prepared(metadata, pixels, opened.words, picture)


def prepare_to_show(
    data: bytes, rendering: Rendering, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
) -> Prepared | Unreadable:
    """Open a file's bytes and make the picture of it that is wanted, without a model's pixels."""
    try:
        opened, picture = render(data, rendering, max_megapixels=max_megapixels)
    except UnreadableImage as error:
        return Unreadable(str(error), error)
    return Prepared(opened.metadata, b"", opened.words, picture)


def prepare_to_tell(
    data: bytes, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
) -> Prepared | Unreadable:
    """Read how a photo was taken; nothing else is read, and of most files no pixel is decoded."""
    try:
        said = exposure_in(data, max_megapixels)
    except UnreadableImage as error:
        return Unreadable(str(error), error)
    return Prepared(PhotoMetadata(0, 0, ""), b"", exposure=said)


def _beside(opened: OpenedImage, rendering: Rendering) -> bytes | None:
    """Return a picture that nothing depends on: without it, the photo is indexed all the same."""
    with suppress(UnreadableImage):
        return rendered(opened, rendering)
    return None
