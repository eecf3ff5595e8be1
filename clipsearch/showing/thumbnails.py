"""Small upright pictures of photos, decoded where no photo can do harm: in processes of their own.

Photos come from anywhere, and whoever only wants to see them has opened none yet.
"""

from __future__ import annotations

import base64
import io
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from clipsearch import machine
from clipsearch.errors import ClipsearchError
from clipsearch.photos.file_reading import read_whole
from clipsearch.photos.opening import DEFAULT_MAX_MEGAPIXELS, LARGEST_FILE
from clipsearch.photos.preprocessing import Preprocessing

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.photos.decoder_pool import DecoderPool, PreparedPhoto

_SECONDS = 10.0  # for one photo: a person waits
_MOST_PROCESSES = 4
_WORTH_A_PROCESS = 10  # photos: to start one takes as long as some ten small ones
_AHEAD = 2  # photos a process that are read before they are asked for: it bounds memory
_QUALITY = 80  # of a JPEG


def thumbnails(paths: Iterable[Path], side: int) -> Iterator[NDArray[np.uint8] | None]:
    """Yield a small picture (height, width, 3) of each photo, in order; None if there is none.

    The longer side has `side` pixels, also where the photo has fewer. A file that is gone or can't
    be decoded, within ten seconds, has no picture.
    """
    from clipsearch.photos.decoder_pool import DecoderPool

    places = list(paths)
    workers = max(min(machine.cores(), _MOST_PROCESSES, len(places) // _WORTH_A_PROCESS), 1)
    preprocessing = Preprocessing(side, side, resize_mode="longest")
    with DecoderPool(
        preprocessing, max_megapixels=DEFAULT_MAX_MEGAPIXELS, workers=workers, seconds=_SECONDS
    ) as pool:
        begun: deque[Future[PreparedPhoto] | None] = deque()
        left = iter(places)
        for _ in places:
            for path in left:
                begun.append(_begin(pool, path))
                if len(begun) > workers * _AHEAD:
                    break
            yield _picture(begun.popleft(), side)


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels (height, width, 3) as a JPEG, which says nothing of where it comes from."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return pixels as an address that holds the picture itself, for a page."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg(pixels)).decode()}"


def _begin(pool: DecoderPool, path: Path) -> Future[PreparedPhoto] | None:
    try:
        return pool.submit(read_whole(path, LARGEST_FILE)[0])
    except (OSError, ValueError, ClipsearchError):
        return None


def _picture(begun: Future[PreparedPhoto] | None, side: int) -> NDArray[np.uint8] | None:
    """Return what was decoded without the borders that make it a square."""
    if begun is None:
        return None
    try:
        photo = begun.result()
    except (ClipsearchError, CancelledError):
        return None
    longer = max(photo.metadata.width, photo.metadata.height)
    width, height = (
        max(length * side // longer, 1) for length in (photo.metadata.width, photo.metadata.height)
    )
    top, left = (side - height) // 2, (side - width) // 2
    return photo.pixels[top : top + height, left : left + width]
