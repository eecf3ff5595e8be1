"""The first of the two stages of embedding: a file's bytes -> metadata and a model's pixels.

It knows no model and no library: a decoding process runs it, and any other machine could. The
second stage, pixels -> vectors, is `Encoder.encode_pixels`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from clipsearch.errors import UnreadableImage
from clipsearch.index.records import PhotoMetadata, Word
from clipsearch.photos.opening import DEFAULT_MAX_MEGAPIXELS, open_image
from clipsearch.photos.perceptual_hash import perceptual_hash
from clipsearch.photos.preprocessing import Preprocessing


class Prepared(NamedTuple):
    """A photo ready for the encoder."""

    metadata: PhotoMetadata
    pixels: bytes  # uint8 (height, width, 3), of the size that the preprocessing gives
    words: tuple[Word, ...] = ()


class Unreadable(NamedTuple):
    """A file that can't be a photo."""

    reason: str  # one line
    error: BaseException  # what it is the reason of


def prepare(
    data: bytes,
    preprocessing: Preprocessing,
    *,
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
) -> Prepared | Unreadable:
    """Open a file's bytes and scale the picture to the model's size; or say why that can't be.

    A decoder that crashes, hangs or eats memory does so here: `DecoderPool` runs this where it can
    do no harm. Raises MemoryError, and what a decoder was never known to raise.
    """
    try:
        opened = open_image(data, shrink_to=preprocessing.image_size, max_megapixels=max_megapixels)
        pixels = preprocessing.pixels(opened.image).tobytes()
        metadata = replace(opened.metadata, perceptual_hash=perceptual_hash(opened.image))
    except UnreadableImage as error:
        return Unreadable(str(error), error)
    return Prepared(metadata, pixels, opened.words)
