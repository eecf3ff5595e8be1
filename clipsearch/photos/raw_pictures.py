"""The pictures in a raw camera file, as LibRaw gives them: a preview, and what the sensor saw.

LibRaw is loaded when the first raw file is met, which is in a decoding process.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clipsearch.errors import UnreadableImage
from clipsearch.photos.exif import DAMAGED, ExifFacts, read_exif
from clipsearch.photos.formats import (
    cut_short,
    ends_early,
    identified,
    said_by,
    translated_errors,
)
from clipsearch.photos.mending import lacks_last_marker
from clipsearch.photos.raw_facts import facts_in_header, first_said
from clipsearch.photos.raw_files import claims_too_much, lacks_sensor_data

if TYPE_CHECKING:
    import numpy as np
    import rawpy
    from numpy.typing import NDArray
    from PIL import Image

_ORIENTATIONS = "12435867"  # EXIF's, by LibRaw's three bits: mirrored, upside down, on its side
_ON_ITS_SIDE = 4
_ORIENTATION = 0x0112  # EXIF's tag
_NO_TIME = ("1970-01-01", "1969-12-31")  # how LibRaw says it, anywhere on earth

# What is missing of a raw file is decoded as noughts, or as another level that is all the same. A
# sensor has noise: none of these parts of a picture is even, unless it is as bright as can be.
_PARTS = 16  # along each side
_EVEN_PARTS = 1 / 32  # of all; more, and they are missing
_SAMPLES = 600  # about so many are looked at along each side


class UnsupportedRaw(UnreadableImage):
    """LibRaw does not know the kind of raw file, or how its data is packed."""


class RawFile:
    """A raw camera file that is open; a context manager.

    Every method raises UnreadableImage, the reason in plain words.
    """

    def __init__(self, data: bytes, kind: str, max_megapixels: float) -> None:
        """Take the bytes of a file, and what to call it."""
        self.name = f"raw camera file ({kind})"
        self._max_megapixels = max_megapixels
        self._developed = False
        if ends_early(data) or lacks_sensor_data(data):
            raise UnreadableImage(cut_short(self.name))
        if claims_too_much(data):
            raise UnreadableImage(f"damaged {self.name}: its parts don't fit together")
        try:
            import rawpy
        except ImportError as error:
            raise UnreadableImage(f"{self.name}, which needs rawpy: {said_by(error)}") from error
        self._raw = rawpy.RawPy()
        with self._errors():
            self._raw.open_buffer(io.BytesIO(data))
            sizes = self._raw.sizes
        turned = bool(sizes.flip & _ON_ITS_SIDE)
        size = (sizes.width, sizes.height)
        self.size = size[::-1] if turned else size  # (width, height) in pixels, upright
        self.decoded = (sizes.raw_width, sizes.raw_height)  # with the sensor's dark borders
        self.orientation = int(_ORIENTATIONS[sizes.flip & 7])  # EXIF 1 to 8
        self._header = facts_in_header(data)

    def __enter__(self) -> RawFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def preview(self) -> Image.Image | None:
        """Return the largest JPEG that the camera put into the file, not decoded yet.

        None where there is none, or a larger bitmap: those are thumbnails, and what is said of
        their size may be wrong, so that nobody can read them safely.
        """
        with suppress(UnreadableImage), self._errors():
            data = self._raw.extract_thumb().data
            if not isinstance(data, bytes):
                return None
            data = _with_its_own_exif(data)
            return None if lacks_last_marker(data) else identified(data, self._max_megapixels)
        return None

    def turn_of(self, preview: Image.Image) -> int:
        """Return how a preview must be turned, as EXIF's orientations say it.

        What it says itself holds, unless it would lie otherwise than the raw picture: some are
        upright already. LibRaw makes those that say nothing say what the raw file does.
        """
        wide, high = self.size
        said = None
        with suppress(*DAMAGED):
            said = preview.getexif().get(_ORIENTATION)
        for turn in (said, self.orientation, 1):
            if isinstance(turn, int) and 1 <= turn <= 8:
                across, down = preview.size[::-1] if turn >= 5 else preview.size
                if (across - down) * (wide - high) >= 0:
                    return turn
        return self.orientation

    def develop(self, *, half: bool) -> Image.Image:
        """Return what the sensor saw as upright RGB; `half`: each side half as long."""
        from PIL import Image

        with self._errors():
            self._raw.unpack()
            if _has_even_parts(self._raw):
                raise UnreadableImage(cut_short(self.name))
            pixels = self._raw.postprocess(half_size=half, use_camera_wb=True)
            self._developed = True
            gray = pixels.shape[2] == 1  # a sensor without colours
            return Image.fromarray(pixels[..., 0] if gray else pixels).convert("RGB")

    def facts(self, preview: Image.Image | None) -> ExifFacts:
        """Return what the file says about itself: its header, its preview, what LibRaw knows."""
        from_preview = read_exif(preview) if preview is not None else ExifFacts()
        if (from_preview.taken_at or "").startswith(_NO_TIME):
            from_preview = replace(from_preview, taken_at=None)
        said = first_said(self._header, from_preview, self._known_to_libraw())
        return replace(said, orientation=self.orientation)

    def _known_to_libraw(self) -> ExifFacts:
        """Return what LibRaw found in makers' notes, which it tells only of what it has decoded."""
        if not self._developed:
            return ExifFacts()
        with suppress(UnreadableImage), self._errors():
            taken_at = self._raw.other.timestamp.isoformat(timespec="seconds")
            lens = " ".join(self._raw.lens.model.split()) or None
            known = not taken_at.startswith(_NO_TIME)
            return ExifFacts(taken_at=taken_at if known else None, lens=lens)
        return ExifFacts()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise what LibRaw and rawpy raise in the block as UnreadableImage."""
        import rawpy

        with translated_errors(self.name, self._max_megapixels):
            try:
                yield
            except (rawpy.LibRawUnsufficientMemoryError, rawpy.LibRawTooBigError) as error:
                raise MemoryError from error
            except rawpy.LibRawIOError as error:
                raise UnreadableImage(cut_short(self.name)) from error
            except (rawpy.LibRawFileUnsupportedError, rawpy.LibRawNotImplementedError) as error:
                raise UnsupportedRaw(f"unsupported kind of {self.name}") from error
            except rawpy.LibRawError as error:
                raise UnreadableImage(f"damaged {self.name}: {_words(error)}") from error


def _with_its_own_exif(jpeg: bytes) -> bytes:
    """Return a preview without the EXIF that LibRaw put before its own.

    It does so unless EXIF comes first, but JFIF may.
    """
    first = 4 + int.from_bytes(jpeg[4:6], "big")  # the second segment
    if jpeg[6:10] != b"Exif" or jpeg[first : first + 2] != b"\xff\xe0":
        return jpeg
    second = first + 2 + int.from_bytes(jpeg[first + 2 : first + 4], "big")
    return jpeg[:2] + jpeg[first:] if jpeg[second + 4 : second + 8] == b"Exif" else jpeg


def _words(error: Exception) -> str:
    """Return what LibRaw says, which rawpy gives as bytes."""
    said: Any = error.args[0] if error.args else ""
    text = said.decode("latin-1") if isinstance(said, bytes) else str(said)
    return " ".join(text.split())[:200] or type(error).__name__


def _has_even_parts(raw: rawpy.RawPy) -> bool:
    """Say whether parts of what the sensor saw are missing, by their being all the same."""
    try:
        seen = raw.raw_image_visible
    except RuntimeError:  # in floating point, which rawpy doesn't show
        return False
    down, across = (max(side // _SAMPLES, 1) | 1 for side in seen.shape[:2])  # odd: all colours
    samples = seen[::down, ::across]
    high, wide = (side // _PARTS for side in samples.shape[:2])
    if min(high, wide) < 4:
        return False
    parts: NDArray[np.uint16] = samples[: high * _PARTS, : wide * _PARTS].reshape(
        _PARTS, high, _PARTS, wide, -1
    )
    darkest, brightest = parts.min(axis=(1, 3)), parts.max(axis=(1, 3))  # (_PARTS, _PARTS, n)
    even = ((darkest == brightest) & (brightest < samples.max())).all(axis=-1)
    if samples.min() == samples.max():
        return True
    if samples.ndim == 2:
        return bool(even.mean() > _EVEN_PARTS)
    return bool(even[-1].all())  # panoramas have empty corners
