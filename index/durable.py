"""Files that are there, whole, whatever happens next; and what a disk's refusal is called."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clipsearch.errors import LibraryError, LibraryReadOnly

NO_SPACE = "no space left on the disk of the library"

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Let an OSError of the block leave it as a LibraryError in one line about this folder."""
    try:
        yield
    except OSError as error:
        kind = LibraryReadOnly if error.errno in _FORBIDDEN else LibraryError
        raise kind(f"{folder}: {in_words(error)}") from error


def in_words(error: OSError) -> str:
    """Return what is wrong, and with which file."""
    if error.errno in _FULL:
        return NO_SPACE
    reason = error.strerror or str(error)
    if error.errno in _FORBIDDEN:
        return f"can't be written to ({reason})"
    return f"{Path(os.fsdecode(error.filename)).name}: {reason}" if error.filename else reason


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, and make that durable."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def put_in_place(aside: Path, path: Path) -> None:
    """Rename a file that is safely on disk, in place of any other, and make the rename durable."""
    aside.replace(path)
    sync_folder(path.parent)


def replace_text(path: Path, text: str) -> None:
    """Write a text file in place of any other, whole and durably; one process at a time may.

    Raises OSError where it can't be written; the old file is there then, and nothing beside it.
    """
    for leftover in path.parent.glob(f".{path.name}.*"):  # of a process that was killed
        with suppress(OSError):
            leftover.unlink()
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; not every system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
