"""Putting a finished file in place so that it is there, whole, whatever happens next."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def put_in_place(aside: Path, path: Path) -> None:
    """Rename a file that is safely on disk, in place of any other, and make the rename durable."""
    aside.replace(path)
    with suppress(OSError):  # not every system can sync a folder
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
