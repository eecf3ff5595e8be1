"""How much this machine has of what work is shared out by, and what of it is this user's own."""

from __future__ import annotations

import os
import stat


def cores() -> int:
    """Return how many processor cores this program may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> int:
    """Return how many bytes of memory there are; 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not POSIX
        return 8 << 30


def is_private(path: str, kind: int = stat.S_IFDIR) -> bool:
    """Tell whether a path is a folder (or of another kind) that only this user can open."""
    try:
        state = os.lstat(path)
    except OSError:
        return False
    ours = state.st_uid == os.geteuid() and not state.st_mode & 0o077
    return ours and stat.S_IFMT(state.st_mode) == kind
