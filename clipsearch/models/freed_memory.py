"""What becomes of memory that this process frees."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h numbers them
_KEPT = 2**30  # bytes


def keep_freed_memory() -> None:
    """Let this process use the memory again that it frees, up to 1 GB, instead of returning it.

    glibc returns each block of over 32 MB at once, and the system must clear its pages before it
    lends them again: for an image tower, whose every layer fills such a block, that is up to half
    of the time. Does nothing with another C library.
    """
    if library := _glibc():
        library.mallopt(_MMAP_THRESHOLD, _KEPT)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)


def return_freed_memory() -> None:
    """Return what is free now; for after work that took much and will not be repeated."""
    if library := _glibc():
        library.malloc_trim(0)


def _glibc() -> Any:
    """Return the C library if it is glibc, else None."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
