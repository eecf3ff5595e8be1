"""What becomes of memory that this process frees."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h numbers them
_KEPT = 2**30  # bytes


def keep_freed_memory() -> None:
    """Let this process use the memory again that it frees, up to 1 GB, instead of returning it.

    glibc returns each block of over 32 MB at once, and the system must clear its pages before it
    lends them again: for an image tower, whose every layer fills such a block, that is up to half
    of the time. Does nothing with another C library.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return
    library.mallopt(_MMAP_THRESHOLD, _KEPT)
    library.mallopt(_TRIM_THRESHOLD, _KEPT)
