"""Which decoder takes a file, what a file is that none takes, and why a decoder gave up."""

from __future__ import annotations

import io
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from clipsearch.errors import UnreadableImage
from clipsearch.index.records import RAW
from clipsearch.photos.raw_files import RAW_SUFFIXES, raw_kind

if TYPE_CHECKING:
    from PIL import ImageFile

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
_IMAGE_SUFFIXES = frozenset(_SAVED).union(RAW_SUFFIXES, *_SUFFIXES.values())
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)

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


class DamagedImage(UnreadableImage):
    """A picture can't be decoded as it is; it may be mended."""


class UnknownFormat(UnreadableImage):
    """Nothing is known by which the file begins."""


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


def formats_called(name: str) -> tuple[str, ...]:
    """Return the formats of photos, as records have them, of a suffix or name; none if unknown.

    A suffix of raw camera files means all of these, whose kinds a record does not tell apart.
    """
    return _formats_by_name().get(name.lower().lstrip("."), ())


def type_names() -> list[str]:
    """Return what `formats_called` knows."""
    return sorted(_formats_by_name())


@lru_cache(maxsize=1)
def _formats_by_name() -> dict[str, tuple[str, ...]]:
    called = {
        kind: {kind.lower(), *(suffix[1:] for suffix in _SUFFIXES[kind])} for kind in _SUFFIXES
    }
    found: dict[str, tuple[str, ...]] = {
        name: (kind,) for kind, names in called.items() for name in names
    }
    # Pillow has a name of its own for several JPEGs in one file, as some phones write them.
    found |= dict.fromkeys(called["JPEG"], ("JPEG", "MPO"))
    return found | dict.fromkeys(("raw", *(suffix[1:] for suffix in RAW_SUFFIXES)), (RAW,))


# Which decoder


@lru_cache(maxsize=1)
def decoders() -> dict[str, tuple[Callable[[bytes], object], Callable[..., ImageFile.ImageFile]]]:
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


def begins_like_a_picture(start: bytes) -> bool:
    """Tell whether a file that begins so is for one of the decoders, or a raw camera file."""
    return raw_kind(start) is not None or any(
        accept(start[:16]) is True for accept, _ in decoders().values()
    )


def _is_heif(prefix: bytes) -> bool:
    return prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIF_BRANDS


def identified(data: bytes, max_megapixels: float) -> ImageFile.ImageFile:
    """Open a picture without decoding it; raises UnreadableImage, the reason in plain words.

    Raw camera files are not for it: many would be taken for TIFFs.

    Image.open() is passed by: it refuses above a limit of its own, whatever the user allows, and
    warns above half of that; both can only be changed for the whole process.
    """
    failure: UnreadableImage | None = None
    for name, (accept, factory) in decoders().items():
        if accept(data[:16]) is not True:  # a text says that Pillow was built without the format
            continue
        try:
            if ends_early(data):
                raise DamagedImage(cut_short(name))
            with translated_errors(name, max_megapixels):
                return factory(io.BytesIO(data), "")
        except UnreadableImage as error:
            failure = error
    reason = what_else(data)
    if failure is not None and reason is None:
        raise failure
    if reason is None:
        raise UnknownFormat("not a picture in a known format")
    raise UnreadableImage(reason)


def ends_early(data: bytes) -> bool:
    """Say whether the file is shorter than its outermost parts claim.

    Decoders find most missing data themselves, but libheif leaves missing tiles green, and of a
    TIFF's directory Pillow takes what is left: then the preview may be the picture.
    """
    if data[:4] == b"RIFF":
        return 8 + int.from_bytes(data[4:8], "little") > len(data)
    if data[:4] in (b"II*\0", b"MM\0*"):  # TIFF: where the directory begins, and its entries
        order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
        start = int.from_bytes(data[4:8], order)
        return start + 2 + 12 * int.from_bytes(data[start : start + 2], order) > len(data)
    if data[4:8] != b"ftyp":
        return False
    start = 0
    while start + 16 <= len(data):
        size, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        if size == 1:  # the size follows in 64 bits
            size = int.from_bytes(data[start + 8 : start + 16], "big")
        if kind not in (b"ftyp", b"meta", b"mdat", b"moov", b"free", b"uuid") or size < 8:
            return False  # makers append what they like; 0 means to the end
        start += size
    return start > len(data) and kind != b"free"


# Why a decoder gave up


@contextmanager
def translated_errors(format_name: str, max_megapixels: float) -> Iterator[None]:
    """Raise what a decoder raises in the block as UnreadableImage, the reason in plain words."""
    from PIL import Image

    try:
        yield
    except Image.DecompressionBombError as error:
        found = re.search(r"\((\d+) pixels\)", str(error))
        megapixels = int(found.group(1)) / 1e6 if found else 0
        raise UnreadableImage(too_large(megapixels, max_megapixels)) from error
    except MemoryError as error:
        raise UnreadableImage("too large for the memory of this machine") from error
    except _DECODER_ERRORS as error:
        raise DamagedImage(_why_damaged(format_name, error)) from error


def _why_damaged(format_name: str, error: BaseException) -> str:
    message = said_by(error)
    lower = message.lower()
    if re.search(
        r"truncated|end of file|not enough|only got|too small|premature|requires a buffer", lower
    ):
        return cut_short(format_name)
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


def cut_short(format_name: str) -> str:
    """Return the reason for a file that ends before its picture does."""
    return f"truncated {format_name}: the picture data ends early"


def said_by(error: BaseException) -> str:
    """Return all that an error of a decoder or of the system says, in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


def too_large(megapixels: float, limit: float) -> str:
    """Return the reason for a picture with more pixels than the limit or its decoder allows."""
    up = math.ceil(megapixels * 10) / 10  # never rounded down to the limit itself
    size = f"too large: {up:,.0f} megapixels" if up >= 1000 else f"too large: {up:g} megapixels"
    if megapixels > limit:
        return f"{size}, limit {limit:g} (see --max-megapixels)"
    return f"{size}, more than the decoder of this format takes"


# What no decoder takes

TEXT = "not a picture (looks like text)"
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
    return TEXT


def _as_text(start: bytes) -> str | None:
    for cut in range(4):  # the start may end inside a character
        try:
            text = start[: len(start) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return text if all(c.isprintable() or c in "\t\r\n\f\ufeff" for c in text) else None
    return None
