"""Pictures from the web for clients, where the server was told that it may fetch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from clipsearch.errors import ServerBusy
from clipsearch.searching.public_web import fetch_public_picture

AT_ONCE = 4
MOST_WAITING = 16


class Fetcher:
    """Fetches a few pictures at a time, in threads of its own: nobody else waits for the web."""

    def __init__(self, fetch: Callable[[str], bytes] = fetch_public_picture) -> None:
        """Take what fetches the picture at an address, or raises InvalidInput."""
        self._fetch = fetch
        self._threads = ThreadPoolExecutor(AT_ONCE, "clipsearch-fetch")
        self._waiting = 0

    async def __call__(self, address: str) -> bytes:
        """Return the picture at a public address; raises InvalidInput or ServerBusy."""
        if self._waiting >= MOST_WAITING:
            raise ServerBusy(f"{MOST_WAITING} pictures are being fetched: try again later")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._fetch, address)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Begin nothing more; what is under way is given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)
