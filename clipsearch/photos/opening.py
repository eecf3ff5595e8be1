"""A file's bytes become an upright RGB picture with its metadata, or UnreadableImage says why not.

Nothing process-wide is changed (no Pillow limits, registry or warning filters), so pictures may be
opened in several threads at once, also inside a program that uses Pillow itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.errors import UnreadableImage
from clipsearch.index.records import FACTS, RAW, PhotoMetadata, Word
from clipsearch.machine import memory
from clipsearch.photos.colours import to_rgb
from clipsearch.photos.exif import ExifFacts, read_exif
from clipsearch.photos.file_reading import read_whole
from clipsearch.photos.formats import (
    DamagedImage,
    UnknownFormat,
    cut_short,
    identified,
    said_by,
    too_large,
    translated_errors,
)
from clipsearch.photos.mending import lacks_last_marker, mended
from clipsearch.photos.raw_files import raw_kind
from clipsearch.photos.raw_pictures import RawFile, UnsupportedRaw
from clipsearch.photos.words_in_photos import kept, words_in_photo, words_in_raw

if TYPE_CHECKING:
    from PIL import Image, ImageFile

# Pictures are reduced before the model resizes them, but never below this many times the model's
# side. Measured on 24 large photos: at 2 the cosine to the embedding of the whole picture fell to
# 0.993, at 3 it stayed above 0.9985. A little below 3, a photo of 4000 x 3000 or 4032 x 3024 can be
# decoded at a quarter for a model of 256 pixels.
_MARGIN = 2.9


def _megapixels_that_fit() -> float:
    """Return how large a picture may be so that four at once, decoded, take half the memory."""
    bytes_per_pixel = 12  # as decoded, with alpha on white, and turned
    return float(min(max(memory() / 2 / 4 / bytes_per_pixel / 1e6, 64), 256)) // 1


DEFAULT_MAX_MEGAPIXELS: float = _megapixels_that_fit()


def largest_file(max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> int:
    """Return how many bytes of a file are read at most: no larger file is a picture to be opened.

    It is what the largest picture takes without compression and with four channels of 16 bits, the
    most of any format. A low limit of megapixels does not lower it, for a small picture may bring a
    film along; it is never more than a quarter of the memory.
    """
    pixels = max(max_megapixels, DEFAULT_MAX_MEGAPIXELS) * 1e6
    return int(min(8 * pixels, max(memory() / 4, 8 * DEFAULT_MAX_MEGAPIXELS * 1e6)))


LARGEST_FILE: int = largest_file()


@dataclass(frozen=True)
class OpenedImage:
    """A picture ready to be embedded."""

    image: Image.Image  # upright RGB, perhaps at reduced scale
    metadata: PhotoMetadata  # width and height are those of the upright picture at full size
    words: tuple[Word, ...] = ()


def open_image(
    source: Path | bytes,
    *,
    shrink_to: int | None = None,
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
) -> OpenedImage:
    """Open a picture as upright RGB; of several frames or pictures in one file, the first.

    `shrink_to` is the side in pixels that the model wants: larger pictures may then come reduced,
    with both sides at least three times that. Raises UnreadableImage, the reason in plain words.
    """
    data = source if isinstance(source, bytes) else _read(source, largest_file(max_megapixels))
    try:
        return _open(data, shrink_to, max_megapixels)
    except DamagedImage:
        with suppress(UnreadableImage), translated_errors("picture", max_megapixels):
            whole = mended(data, lambda other: _open(other, None, max_megapixels).image)
            if whole is not None:
                return _open(whole, shrink_to, max_megapixels)
        raise


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return a picture in memory upright and as RGB, by the same rules as one from a file."""
    with translated_errors(image.format or "picture", math.inf):
        image.load()
        return _turned(to_rgb(image), read_exif(image).orientation)


def _open(data: bytes, shrink_to: int | None, max_megapixels: float) -> OpenedImage:
    if (kind := raw_kind(data)) is not None:
        return _open_raw(data, kind, shrink_to, max_megapixels)
    try:
        picture = identified(data, max_megapixels)
    except UnknownFormat:  # some raw files are known by their size alone, and only to LibRaw
        with suppress(UnreadableImage):
            return _open_raw(data, RAW, shrink_to, max_megapixels)
        raise
    _check_size(picture.size, max_megapixels)
    # libjpeg takes for data what follows, such as noughts in a file that was allocated, not filled.
    if lacks_last_marker(data):
        raise DamagedImage(cut_short(str(picture.format)))
    with translated_errors(str(picture.format), max_megapixels):
        return _decode(picture, shrink_to, max_megapixels)


def _open_raw(data: bytes, kind: str, shrink_to: int | None, max_megapixels: float) -> OpenedImage:
    """Open a raw camera file: the preview in it, if that is large enough, or what the sensor saw.

    A preview that is smaller, but not too small for the model, is better than nothing where the
    sensor's data is packed as LibRaw can't unpack it.
    """
    with RawFile(data, kind, max_megapixels) as raw:
        _check_size(raw.decoded, max_megapixels)
        preview = raw.preview()
        half = min(raw.size) // 2  # as large as the other way
        least = half if shrink_to is None else min(round(_MARGIN * shrink_to), half)
        image = _preview(raw, preview, least, shrink_to, max_megapixels)
        try:
            image = image or _shrunk(raw.develop(half=half >= (shrink_to or 0)), shrink_to)
        except UnsupportedRaw:
            image = _preview(raw, preview, shrink_to or half, shrink_to, max_megapixels)
            if image is None:
                raise
        words = kept((*words_in_raw(data), *(words_in_photo(preview) if preview else ())))
        return OpenedImage(image, _metadata(raw.facts(preview), raw.size, RAW), words)


def _preview(
    raw: RawFile,
    preview: Image.Image | None,
    least: int,
    shrink_to: int | None,
    max_megapixels: float,
) -> Image.Image | None:
    """Return the preview upright, if it is whole and its shorter side has `least` pixels."""
    if preview is None or min(preview.size) < least:
        return None
    with suppress(UnreadableImage), translated_errors("preview", max_megapixels):
        _check_size(preview.size, max_megapixels)
        turn = raw.turn_of(preview)
        _load(preview, shrink_to)
        return _upright(preview, turn, shrink_to)
    return None


def _read(path: Path, most: int) -> bytes:
    with in_plain_words():
        return read_whole(path, most)[0]


@contextmanager
def in_plain_words() -> Iterator[None]:
    """Let what keeps the block from reading a photo's file leave it as UnreadableImage."""
    try:
        yield
    except FileNotFoundError as error:
        raise UnreadableImage("no such file: it may have been moved or deleted") from error
    except PermissionError as error:
        raise UnreadableImage("permission denied") from error
    except (OSError, ValueError) as error:
        raise UnreadableImage(f"the file can't be read: {said_by(error)}") from error


# From a decoder to upright RGB


def _decode(
    picture: ImageFile.ImageFile, shrink_to: int | None, max_megapixels: float
) -> OpenedImage:
    # Loading a TIFF turns it upright and forgets the tag; a PNG's EXIF may come after its pixels.
    facts: ExifFacts | None = None
    words: tuple[Word, ...] = ()
    if picture.format == "TIFF":
        facts, words = read_exif(picture), words_in_photo(picture)
    full_size = _load(picture, shrink_to)
    _check_size(full_size, max_megapixels)  # some files give another size in their header
    turn = 1
    if facts is None:
        facts, words = read_exif(picture), words_in_photo(picture)
        turn = facts.orientation
    if picture.format == "HEIF":
        if _has_lost_tiles(picture):
            raise UnreadableImage("damaged HEIF: parts of the picture can't be decoded")
        # libheif has turned the picture already; EXIF only repeats it.
        facts = replace(facts, orientation=picture.info.get("original_orientation") or 1)
        turn = 1
    if turn >= 5:
        full_size = full_size[::-1]
    image = _upright(picture, turn, shrink_to)
    return OpenedImage(image, _metadata(facts, full_size, str(picture.format)), words)


def _upright(picture: Image.Image, turn: int, shrink_to: int | None) -> Image.Image:
    """Return a decoded picture as RGB, reduced and turned."""
    return _turned(_shrunk(to_rgb(_shrunk(picture, shrink_to)), shrink_to), turn)


def _check_size(size: tuple[int, int], max_megapixels: float) -> None:
    if min(size) < 1:
        raise UnreadableImage("the picture has no pixels")
    megapixels = size[0] * size[1] / 1e6
    if megapixels > max_megapixels:
        raise UnreadableImage(too_large(megapixels, max_megapixels))


def _load(picture: Image.Image, shrink_to: int | None) -> tuple[int, int]:
    """Decode the first picture, a large JPEG at a half, quarter or eighth; return the full size."""
    size = picture.size
    if shrink_to is not None and picture.format in ("JPEG", "MPO"):
        picture.draft(None, (round(_MARGIN * shrink_to),) * 2)
        picture.load()
        return size
    picture.load()
    return picture.size


def _has_lost_tiles(picture: ImageFile.ImageFile) -> bool:
    """Say whether libheif left a tile at luma and chroma 0: a green without any red or blue."""
    import numpy as np

    tiling = picture.info.get("tiling")
    if not tiling or picture.mode not in ("RGB", "RGBA"):
        return False
    step = 16
    samples = np.asarray(picture.resize([side // step + 1 for side in picture.size], 0))
    red, green, blue = (samples[..., channel] for channel in range(3))
    # How green depends on the colour matrix, but it is the same in all lost tiles.
    levels = np.bincount(green[(red == 0) & (blue == 0) & (green > 60) & (green < 160)])
    tile = tiling["tile_width"] * tiling["tile_height"] / step**2
    return bool(levels.size and levels.max() > tile / 2)


def _shrunk(image: Image.Image, shrink_to: int | None) -> Image.Image:
    """Average whole blocks of pixels, where the mode allows it, to save memory in later steps."""
    if shrink_to is None or "transparency" in image.info:
        return image
    factor = min(image.size) // round(_MARGIN * shrink_to)
    if factor < 2 or image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"):
        return image
    return image.reduce(factor)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _metadata(facts: ExifFacts, size: tuple[int, int], format_name: str) -> PhotoMetadata:
    return PhotoMetadata(
        width=size[0],
        height=size[1],
        format=format_name,
        orientation=facts.orientation,
        taken_at=facts.taken_at,
        camera=facts.camera,
        lens=facts.lens,
        latitude=facts.latitude,
        longitude=facts.longitude,
        facts=FACTS,
    )
