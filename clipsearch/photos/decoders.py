"""The decoding processes of one library: started when they are needed, kept until closed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from clipsearch.errors import LibraryClosed
from clipsearch.photos.preprocessing import Preprocessing

if TYPE_CHECKING:
    from concurrent.futures import Future

    from clipsearch.photos.decoder_pool import DecoderPool, PreparedPhoto
    from clipsearch.photos.decoder_process import Wanted

CLOSED = "the library was closed; open it again"


class Decoders:
    """A pool of decoding processes for each kind of pixels asked for; any thread may use them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[tuple[Preprocessing, float], DecoderPool] = {}
        self._closed = False

    def submit(
        self,
        data: bytes,
        preprocessing: Preprocessing,
        max_megapixels: float,
        wanted: Wanted | None = None,
    ) -> Future[PreparedPhoto]:
        """Decode a file's bytes as `DecoderPool.submit` does; LibraryClosed after `close`.

        Without what is `wanted`, it is the pixels.
        """
        from clipsearch.photos.decoder_pool import PIXELS, DecoderPool

        made_for = preprocessing, max_megapixels
        with self._lock:
            if self._closed:
                raise LibraryClosed(CLOSED)
            if made_for not in self._pools:
                self._pools[made_for] = DecoderPool(preprocessing, max_megapixels=max_megapixels)
            return self._pools[made_for].submit(data, wanted or PIXELS)

    def close(self) -> None:
        """End the processes; what they have not answered is cancelled."""
        with self._lock:
            self._closed = True
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()
