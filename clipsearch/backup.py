"""A library in one file, and back."""

from __future__ import annotations

from pathlib import Path

from clipsearch.arguments import yes_or_no
from clipsearch.index.upkeep.backup import BackupReport, RestoreReport, back_up, restore
from clipsearch.settings import absolute, library_folder


def backup_library(
    folder: str | Path | None, file: str | Path, *, replace: bool = False
) -> BackupReport:
    """Copy a library (None: the user's own) into one file, while it may be in use.

    The file appears whole or not at all; one that is there is replaced only if `replace`.

    Raises:
        InvalidInput: no backup can be at that place, or one is there already.
        LibraryDamaged: the library should be repaired first.
        LibraryError: there is no library, or the disk refuses.
    """
    return back_up(library_folder(folder), absolute(file), replace=yes_or_no(replace, "replace"))


def restore_library(file: str | Path, folder: str | Path | None) -> RestoreReport:
    """Make a library from a backup in a folder (None: the user's own) that is empty or missing.

    It appears whole or not at all. Photos are not embedded again; `Library.index()` brings it up
    to date with the files.

    Raises:
        InvalidInput: the file is no backup or is damaged, or the folder holds something.
        LibraryIncompatible: the backup was made by a newer clipsearch.
    """
    return restore(absolute(file), library_folder(folder))
