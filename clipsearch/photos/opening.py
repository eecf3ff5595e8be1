"""A file's bytes become an upright RGB picture with its metadata, or UnreadableImage says why not.

Nothing process-wide is changed (no Pillow limits, registry or warning filters), so pictures may be
opened in several threads at once, also inside a program that uses Pillow itself.
"""

from __future__ import annotations

import io
import math
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clipsearch.errors import UnreadableImage
from clipsearch.index.records import PhotoMetadata
from clipsearch.photos.exif import ExifFacts, read_exif
from clipsearch.photos.file_reading import read_whole
from clipsearch.photos.mending import lacks_last_marker, mended
from clipsearch.photos.raw_files import raw_kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image, ImageCms, ImageFile

# The formats that are opened, and the names by which a scan finds them. Pillow knows many more;
# they are left out because they run other programs (EPS), have no signature (TGA) or no photos.
_SUFFIXES = {
    "JPEG": (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo"),
        *(".jps", ".insp"),  # two views side by side, all around
    ),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "ICO": (".ico",),
    "AVIF": (
        ".avif",
    ),  # before HEIF: both accept files that are marked with the general brand mif1
    "HEIF": (".heic", ".heif", ".hif"),
}
# How browsers save what a site offers in sizes: x.jpg_large, x.jpg-large, x.jpg:large.
_SIZES = ("large", "medium", "small")
_SAVED = (f"{s}{by}{size}" for s in (".jpg", ".jpeg", ".png") for by in "_-:" for size in _SIZES)
_IMAGE_SUFFIXES = frozenset(_SAVED).union(*_SUFFIXES.values())
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)

# Pictures are reduced before the model resizes them, but never below this many times the model's
# side. Measured on 24 large photos: at 2 the cosine to the embedding of the whole picture fell to
# 0.993, at 3 it stayed above 0.9985. A little below 3, a photo of 4000 x 3000 or 4032 x 3024 can be
# decoded at a quarter for a model of 256 pixels.
_MARGIN = 2.9

# Everything that Pillow's and libheif's decoders raise on damaged files.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    RuntimeError,
    MemoryError,
    Warning,  # where the program around us makes warnings errors
    struct.error,
    zlib.error,
)

# Those that show a decoder confused by a file, and say nothing to a user.
_CONFUSIONS = (LookupError, TypeError, AttributeError, struct.error)


def _memory() -> int:
    """Return how many bytes of memory this machine has."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not POSIX
        return 8 << 30


def _megapixels_that_fit() -> float:
    """Return how large a picture may be so that four at once, decoded, take half the memory."""
    bytes_per_pixel = 12  # as decoded, with alpha on white, and turned
    return float(min(max(_memory() / 2 / 4 / bytes_per_pixel / 1e6, 64), 256)) // 1


DEFAULT_MAX_MEGAPIXELS: float = _megapixels_that_fit()


def largest_file(max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> int:
    """Return how many bytes of a file are read at most: larger ones are no picture we would take.

    That is what the largest picture takes without compression, with four channels of 16 bits, the
    most of any format that is opened; never less than by default (a small picture may bring a
    film along), nor more than a quarter of the memory.
    """
    pixels = max(max_megapixels, DEFAULT_MAX_MEGAPIXELS) * 1e6
    return int(min(8 * pixels, max(_memory() / 4, 8 * DEFAULT_MAX_MEGAPIXELS * 1e6)))


LARGEST_FILE: int = largest_file()


@dataclass(frozen=True)
class OpenedImage:
    """A picture ready to be embedded."""

    image: Image.Image  # upright RGB, perhaps at reduced scale
    metadata: PhotoMetadata  # width and height are those of the upright picture at full size


def is_image_name(name: str) -> bool:
    """Say whether a file of this name is taken for a photo.

    Blanks and dots behind the suffix don't count, nor what an address asked for: x.jpg?width=200.
    """
    if _has_image_suffix(name):
        return True
    name = name.partition("?")[0].rstrip(" .\t\u00a0")
    return _has_image_suffix(name)


def _has_image_suffix(name: str) -> bool:
    dot = name.rfind(".")
    return dot >= 0 and name[dot:].lower() in _IMAGE_SUFFIXES


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
    except _Damaged:
        with suppress(UnreadableImage), _translated_errors("picture", max_megapixels):
            whole = mended(data, lambda other: _open(other, None, max_megapixels).image)
            if whole is not None:
                return _open(whole, shrink_to, max_megapixels)
        raise


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return a picture in memory upright and as RGB, by the same rules as one from a file."""
    with _translated_errors(image.format or "picture", math.inf):
        image.load()
        return _turned(_to_rgb(image), read_exif(image).orientation)


class _Damaged(UnreadableImage):
    """A picture can't be decoded as it is."""


def _open(data: bytes, shrink_to: int | None, max_megapixels: float) -> OpenedImage:
    picture = _identify(data, max_megapixels)
    _check_size(picture.size, max_megapixels)
    # libjpeg takes for data what follows, such as noughts in a file that was allocated, not filled.
    if lacks_last_marker(data):
        raise _Damaged(_cut_short(str(picture.format)))
    with _translated_errors(str(picture.format), max_megapixels):
        return _decode(picture, shrink_to, max_megapixels)


def _read(path: Path, most: int) -> bytes:
    try:
        return read_whole(path, most)[0]
    except FileNotFoundError as error:
        raise UnreadableImage("no such file: it may have been moved or deleted") from error
    except PermissionError as error:
        raise UnreadableImage("permission denied") from error
    except (OSError, ValueError) as error:
        raise UnreadableImage(f"the file can't be read: {_one_line(error)}") from error


# Which decoder, and why not


@lru_cache(maxsize=1)
def _decoders() -> dict[str, tuple[Callable[[bytes], object], Callable[..., ImageFile.ImageFile]]]:
    """Return for each format what recognises it by 16 bytes, and what opens it."""
    from PIL import (  # noqa: F401  (each registers itself in Image.OPEN)
        AvifImagePlugin,
        BmpImagePlugin,
        GifImagePlugin,
        IcoImagePlugin,
        Image,
        Jpeg2KImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        PpmImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )
    from pillow_heif import HeifImageFile

    decoders: dict[str, tuple[Callable[[bytes], object], Callable[..., ImageFile.ImageFile]]] = {}
    for name in _SUFFIXES.keys() & Image.OPEN.keys():
        factory, accept = Image.OPEN[name]
        assert accept is not None
        decoders[name] = (accept, factory)
    decoders["HEIF"] = (_is_heif, HeifImageFile)
    return {name: decoders[name] for name in _SUFFIXES if name in decoders}


def _is_heif(prefix: bytes) -> bool:
    return prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIF_BRANDS


def _identify(data: bytes, max_megapixels: float) -> ImageFile.ImageFile:
    """Open a picture without decoding it.

    Image.open() is passed by: it refuses above a limit of its own, whatever the user allows, and
    warns above half of that; both can only be changed for the whole process.
    """
    raw = raw_kind(data)
    if raw is not None:
        raise UnreadableImage(f"unsupported format: raw camera file ({raw})")
    failure: UnreadableImage | None = None
    for name, (accept, factory) in _decoders().items():
        if accept(data[:16]) is not True:  # a text says that Pillow was built without the format
            continue
        try:
            if _ends_early(data):
                raise _Damaged(_cut_short(name))
            with _translated_errors(name, max_megapixels):
                return factory(io.BytesIO(data), "")
        except UnreadableImage as error:
            failure = error
    reason = what_else(data)
    if failure is not None and reason is None:
        raise failure
    raise UnreadableImage(reason or "not a picture in a known format")


def _ends_early(data: bytes) -> bool:
    """Say whether the file is shorter than its outermost parts claim.

    Decoders find most missing data themselves, but libheif leaves missing tiles green.
    """
    if data[:4] == b"RIFF":
        return 8 + int.from_bytes(data[4:8], "little") > len(data)
    if data[:4] in (b"II*\0", b"MM\0*"):  # TIFF: where the directory begins
        order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
        return int.from_bytes(data[4:8], order) >= len(data)
    if data[4:8] != b"ftyp":
        return False
    start = 0
    while start + 16 <= len(data):
        size, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        if size == 1:  # the size follows in 64 bits
            size = int.from_bytes(data[start + 8 : start + 16], "big")
        if kind not in (b"ftyp", b"meta", b"mdat", b"moov", b"free") or size < 8:
            return False  # makers append what they like; 0 means to the end
        start += size
    return start > len(data) and kind != b"free"


@contextmanager
def _translated_errors(format_name: str, max_megapixels: float) -> Iterator[None]:
    from PIL import Image

    try:
        yield
    except Image.DecompressionBombError as error:
        found = re.search(r"\((\d+) pixels\)", str(error))
        megapixels = int(found.group(1)) / 1e6 if found else 0
        raise UnreadableImage(_too_large(megapixels, max_megapixels)) from error
    except MemoryError as error:
        raise UnreadableImage("too large for the memory of this machine") from error
    except _DECODER_ERRORS as error:
        raise _Damaged(_why_damaged(format_name, error)) from error


def _why_damaged(format_name: str, error: BaseException) -> str:
    message = _one_line(error)
    lower = message.lower()
    if re.search(
        r"truncated|end of file|not enough|only got|too small|premature|requires a buffer", lower
    ):
        return _cut_short(format_name)
    if re.search(r"unsupported|not supported|unknown pixel mode|unable to determine", lower):
        detail = re.sub(rf"^unsupported ({format_name} )?", "", message, flags=re.IGNORECASE)
        return f"unsupported kind of {format_name}: {detail}"
    if "not identified by this driver" in lower:
        return f"damaged {format_name}: the header gives no size"
    if "decoder error" in lower or "broken data stream" in lower:
        # What lies behind it only libtiff and OpenJPEG know.
        return (
            f"undecodable {format_name}: its data is broken, cut short or packed in an unknown way"
        )
    if isinstance(error, _CONFUSIONS) or isinstance(error.__cause__, _CONFUSIONS):
        return f"damaged {format_name}: its parts don't fit together ({message})"
    return f"damaged {format_name}: {message}"


def _cut_short(format_name: str) -> str:
    return f"truncated {format_name}: the picture data ends early"


def _one_line(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


def _too_large(megapixels: float, limit: float) -> str:
    up = math.ceil(megapixels * 10) / 10  # never rounded down to the limit itself
    size = f"too large: {up:,.0f} megapixels" if up >= 1000 else f"too large: {up:g} megapixels"
    if megapixels > limit:
        return f"{size}, limit {limit:g} (see --max-megapixels)"
    return f"{size}, more than the decoder of this format takes"


# How files begin that are often named like pictures, or are pictures that can't be opened.
_OTHER_KINDS = (
    (b"\x00\x00\x00\x0cJXL ", "unsupported format: JPEG XL"),
    (b"\xff\x0a", "unsupported format: JPEG XL"),
    (b"8BPS", "unsupported format: Photoshop document"),
    (b"%!PS", "unsupported format: PostScript"),
    (b"qoif", "unsupported format: QOI"),
    (b"DDS ", "unsupported format: DirectDraw surface"),
    (b"%PDF", "not a picture (looks like a PDF document)"),
    (b"PK\x03\x04", "not a picture (looks like a zip archive)"),
    (b"\x1f\x8b", "not a picture (looks like a gzip archive)"),
    (b"\x1aE\xdf\xa3", "not a picture (looks like a video)"),
    (b"ID3", "not a picture (looks like sound)"),
    (b"OggS", "not a picture (looks like sound)"),
)

# What may stand before; a comment ends at its first end, or a row of them could be read in more
# ways than there is time for.
_MARKUP = rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?>\s*)?(?:<!--(?:(?!-->).)*-->\s*)*"
_SVG = re.compile(_MARKUP + rb"<(?:svg|!doctype svg)", re.IGNORECASE | re.DOTALL)
_WEB_PAGE = re.compile(
    _MARKUP + rb"<(?:!doctype html|html|head|body|script|meta|title)\b", re.IGNORECASE | re.DOTALL
)


def what_else(data: bytes) -> str | None:
    """Say what a file is that no decoder opens, or None."""
    if not data:
        return "the file is empty"
    if not data.lstrip(b"\0"):  # any() would take half a minute over a large sparse file
        return "not a picture (nothing but zero bytes)"
    for start, reason in _OTHER_KINDS:
        if data.startswith(start):
            return reason
    if data[4:8] == b"ftyp" and data[8:12] not in _HEIF_BRANDS | {b"avif", b"avis"}:
        return "not a picture (looks like a video)"
    if _SVG.match(data[:4096]):
        return "unsupported format: SVG drawing"
    if _WEB_PAGE.match(data[:4096]):
        return "not a picture (looks like a web page)"
    text = _as_text(data[:4096])
    if text is None or (text[:1] == "P" and text[1:2].isdigit()):  # PNM pictures may be text
        return None
    return "not a picture (looks like text)"


def _as_text(start: bytes) -> str | None:
    for cut in range(4):  # the start may end inside a character
        try:
            text = start[: len(start) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return text if all(c.isprintable() or c in "\t\r\n\f\ufeff" for c in text) else None
    return None


# From a decoder to upright RGB


def _decode(
    picture: ImageFile.ImageFile, shrink_to: int | None, max_megapixels: float
) -> OpenedImage:
    # Loading a TIFF turns it upright and forgets the tag; a PNG's EXIF may come after its pixels.
    facts = read_exif(picture) if picture.format == "TIFF" else None
    full_size = _load(picture, shrink_to)
    _check_size(full_size, max_megapixels)  # some files give another size in their header
    turn = 1
    if facts is None:
        facts = read_exif(picture)
        turn = facts.orientation
    if picture.format == "HEIF":
        if _has_lost_tiles(picture):
            raise UnreadableImage("damaged HEIF: parts of the picture can't be decoded")
        # libheif has turned the picture already; EXIF only repeats it.
        facts = replace(facts, orientation=picture.info.get("original_orientation") or 1)
        turn = 1
    image = _to_rgb(_shrunk(picture, shrink_to))
    image = _turned(_shrunk(image, shrink_to), turn)
    if turn >= 5:
        full_size = full_size[::-1]
    return OpenedImage(image, _metadata(facts, full_size, str(picture.format)))


def _check_size(size: tuple[int, int], max_megapixels: float) -> None:
    if min(size) < 1:
        raise UnreadableImage("the picture has no pixels")
    megapixels = size[0] * size[1] / 1e6
    if megapixels > max_megapixels:
        raise UnreadableImage(_too_large(megapixels, max_megapixels))


def _load(picture: ImageFile.ImageFile, shrink_to: int | None) -> tuple[int, int]:
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
    )


# Colours


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return plain RGB: alpha on white, deep gray scaled, other colour spaces converted."""
    icc = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image).convert("RGB")
    if image.mode == "LAB":
        return _from_lab(image)
    if image.mode == "CMYK":
        return _in_srgb(image, icc) or image.convert("RGB")
    if image.has_transparency_data:
        rgb = _on_white(image)
    else:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
    return _in_srgb(rgb, icc) or rgb


def _on_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    straight = {"La": "LA", "RGBa": "RGBA"}  # premultiplied by alpha
    if image.mode in straight:
        image = image.convert(straight[image.mode])
    rgba = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(rgba, mask=rgba)
    return white


def _eight_bits(image: Image.Image) -> Image.Image:
    """Bring gray of 16 or 32 bits or floating point to 8 bits by its true range."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    black, white = _black_and_white(values)
    scaled = (values.astype(np.float32) - black) * (255 / max(white - black, 1e-30))
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _black_and_white(values: NDArray[np.generic]) -> tuple[float, float]:
    """Return the values that stand for black and white, which few files say.

    Whole numbers fill 8, 10, 12, 14 or 16 bits, floating point 0 to 1 or 0 to 255; all else is
    measurements, shown from their least to their greatest.
    """
    low, high = float(values.min()), float(values.max())
    whites = (1.0, 255.0) if values.dtype.kind == "f" else (255, 1023, 4095, 16383, 65535)
    for white in whites:
        if low >= 0 and high <= white:
            return 0, white
    return low, high


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # only None where it works in place
    return converted


def _in_srgb(image: Image.Image, icc: object) -> Image.Image | None:
    """Return the picture in sRGB if its colour profile means other colours, else None.

    Models learn from web pictures, nearly all sRGB. Wide-gamut photos (phones, Adobe RGB) look dull
    when their numbers are taken for sRGB, and CMYK without its profile looks garish.
    """
    from PIL import ImageCms

    if not isinstance(icc, bytes) or not icc:
        return None
    transform = _transform_to_srgb(icc, image.mode)
    if transform is None:
        return None
    try:
        return transform.apply(image)
    except (ImageCms.PyCMSError, ValueError):
        return None


@lru_cache(maxsize=16)
def _transform_to_srgb(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return how to get from a profile to sRGB; None where it is damaged or changes nothing."""
    from PIL import Image, ImageChops, ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(profile, srgb, mode, "RGB")
        if mode != "RGB":
            return transform
        levels = range(0, 256, 51)
        samples = bytes(v for r in levels for g in levels for b in levels for v in (r, g, b))
        probe = Image.frombytes("RGB", (36, 6), samples)
        change = ImageChops.difference(probe, transform.apply(probe))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return transform if max(change.tobytes()) > 2 else None
