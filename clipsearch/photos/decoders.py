"""The decoding processes of one library: started when they are needed, kept until closed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from clipsearch.photos.preprocessing import Preprocessing

if TYPE_CHECKING:
    from concurrent.futures import Future

    from clipsearch.photos.decoder_pool import DecoderPool, PreparedPhoto


class Decoders:
    """A pool of decoding processes for the model in use; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: DecoderPool | None = None
        self._made_for: tuple[Preprocessing, float] | None = None

    def submit(
        self, data: bytes, preprocessing: Preprocessing, max_megapixels: float
    ) -> Future[PreparedPhoto]:
        """Decode a file's bytes as `DecoderPool.submit` does; a pool for other pixels is closed."""
        from clipsearch.photos.decoder_pool import DecoderPool

        with self._lock:
            if self._pool is None or self._made_for != (preprocessing, max_megapixels):
                self._end()
                self._pool = DecoderPool(preprocessing, max_megapixels=max_megapixels)
                self._made_for = preprocessing, max_megapixels
            return self._pool.submit(data)

    def close(self) -> None:
        """End the processes; they are started anew if they are needed again."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None
