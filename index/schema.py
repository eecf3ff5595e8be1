"""What says that a file is a catalog, and of which schema; the schema itself is in migrations."""

from __future__ import annotations

import stat
from pathlib import Path

from clipsearch.errors import LibraryIncompatible, LibraryNotFound
from clipsearch.index.records import SCHEMA_VERSION

APPLICATION_ID = 0x636C7073  # "clps", in the header of every catalog
TABLES = {
    *("photos", "failures", "folders", "mounts", "models", "library"),
    *("words", "sidecars", "photo_blocks", "stale_words"),
    *("tags", "photo_tags", "tag_examples", "tag_vectors", "tagging"),
    *("exclusions", "embeddings", "removed_embeddings", "vector_indexes", "_sqlite_migrations"),
}

BLOCK_BITS = 10  # a block are the photos whose ids are the same but for so many bits

# For a catalog from elsewhere: nothing planted in its schema calls what reaches beyond the file,
# and damaged pages are noticed early.
CAUTIOUS_SETTINGS = ("PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON")
# A view or virtual table in place of a table would run what it likes whenever it is read.
NOT_TABLES = "SELECT name FROM sqlite_master WHERE type <> 'table' OR coalesce(rootpage, 0) = 0"

MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100


def header_of(path: Path) -> bytes | None:
    """Return the first 100 bytes of a catalog, read without SQLite; None if there is no file.

    Raises LibraryIncompatible if it is no regular file, and OSError as the system does.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep us waiting
            raise not_a_catalog(path)
        with path.open("rb") as file:
            return file.read(HEADER_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_sqlite(header: bytes) -> bool:
    """Tell whether a file with this header is a SQLite database."""
    return header.startswith(MAGIC) and len(header) >= HEADER_BYTES


def check_version(folder: Path, version: int) -> None:
    """Raise LibraryIncompatible for a schema that only a newer clipsearch knows."""
    if version > SCHEMA_VERSION:
        raise LibraryIncompatible(
            f"{folder}: made by a newer clipsearch (schema {version}, "
            f"this one knows up to {SCHEMA_VERSION}); upgrade clipsearch"
        )


def not_a_catalog(path: Path) -> LibraryIncompatible:
    """Return the error for something else in the place of a catalog."""
    return LibraryIncompatible(f"{path}: not the catalog of a clipsearch library")


def no_library(folder: Path) -> LibraryNotFound:
    """Return the error for a folder without a catalog, or what is no folder."""
    if folder.is_file():
        return LibraryNotFound(f"{folder}: no library here, but a file")
    return LibraryNotFound(f"{folder}: no library here; make one with `clipsearch index PATH`")
