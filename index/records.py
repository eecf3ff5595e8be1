"""The values that cross the borders between files, encoder, catalog and results."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from clipsearch.index.paths import to_text


@dataclass(frozen=True)
class FileState:
    """A file as the file system shows it without opening it."""

    path: Path
    size: int  # bytes
    mtime_ns: int


SCHEMA_VERSION = 5  # of the catalog: the number of the last step in migrations

# What is read out of a photo's file: 1 words, perceptual hash and place. Photos of which less was
# read are completed by the next index run, which opens them again; their embeddings stay.
FACTS = 1


RAW = "RAW"  # the format of what a camera's sensor saw, whatever kind of file holds it


@dataclass(frozen=True)
class PhotoMetadata:
    """What a photo says about itself; None where it says nothing.

    Each field is a column of the catalog's table of photos. A new one goes to the end, with a
    default, and needs a step in migrations, which raises the number above.
    """

    width: int  # pixels, upright, at full size
    height: int
    format: str  # as Pillow names it: JPEG, PNG, HEIF, ...; or RAW
    orientation: int = 1  # EXIF 1 to 8
    taken_at: str | None = None  # ISO 8601, local time, its offset where known; or a day alone
    camera: str | None = None
    lens: str | None = None
    latitude: float | None = None  # degrees, north positive
    longitude: float | None = None  # degrees, east positive
    # the same for copies, nearly the same for edits; 400 letters that nobody reads
    perceptual_hash: str | None = field(default=None, repr=False)
    place: str | None = None  # name of the place nearest to where it was taken
    facts: int = 0  # how much was read out of the file, up to FACTS


class Word(NamedTuple):
    """A text that a photo or its sidecar bears."""

    field: Literal["title", "description", "keyword", "person"]
    text: str  # one line; no control characters


@dataclass(frozen=True)
class PhotoRecord:
    """A photo in the catalog."""

    id: int
    file: FileState
    content_hash: str = field(repr=False)  # half a line that nobody reads
    metadata: PhotoMetadata
    indexed_at: str  # ISO 8601, UTC
    # ISO 8601, local time, without an offset; of a day without a time, the day alone
    moment: str | None = None
    moment_from: Literal["photo", "name"] | None = None  # what says so: metadata, or the file name


class KnownPhoto(NamedTuple):
    """A photo in the catalog, and which models have embedded it."""

    photo: PhotoRecord
    embedded_by: frozenset[int]  # ids of models


@dataclass(frozen=True)
class ModelIdentity:
    """What makes two embeddings comparable."""

    name: str  # as the user asked for it; not part of the identity
    architecture: str
    weights_sha256: str
    preprocessing: str  # canonical JSON
    width: int  # length of an embedding

    @property
    def fingerprint(self) -> str:
        """Return 16 hex digits that differ whenever embeddings must not be mixed."""
        parts = (self.architecture, self.weights_sha256, self.preprocessing, str(self.width))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    @property
    def image_size(self) -> int:
        """Return the longer side, in pixels, of the pictures that the model takes."""
        size = json.loads(self.preprocessing)["size"]
        return int(size) if isinstance(size, int) else max(int(side) for side in size)


@dataclass(frozen=True)
class Folder:
    """A folder or single file that the library keeps up to date."""

    path: Path
    kind: Literal["folder", "file"]
    added_at: str  # ISO 8601, UTC
    scanned_at: str | None = None


class Exclusion(NamedTuple):
    """What a store's runs leave out."""

    kind: Literal["path", "pattern", "ignore file"]
    # A path with all below it; a pattern in gitignore's form, counted from each folder; a file of
    # such patterns that a scan has met. It may hold bytes that are no text.
    what: str


class Places(NamedTuple):
    """Where a store's photos come from, and what must be there for them to be there."""

    folders: tuple[Folder, ...] = ()  # kept up to date, single files too, by path
    mounts: tuple[Path, ...] = ()  # mount points below the folders that scans have seen, by path
    exclusions: tuple[Exclusion, ...] = ()  # in the order in which they were made


@dataclass(frozen=True)
class Failure:
    """A file that could not be indexed, and why."""

    file: FileState
    reason: str
    failed_at: str  # ISO 8601, UTC

    def to_dict(self) -> dict[str, str]:
        """Return JSON-ready values."""
        path = to_text(self.file.path)
        return {"path": path, "reason": self.reason, "failed_at": self.failed_at}


@dataclass(frozen=True)
class ModelRow:
    """A model that has embeddings in the library."""

    id: int
    identity: ModelIdentity
    photos: int  # with an embedding of this model
    is_current: bool


@dataclass(frozen=True)
class Counts:
    """How much a library holds."""

    photos: int
    embedded: int  # under the model asked for
    failures: int


@dataclass(frozen=True)
class IndexInfo:
    """How the vectors of one model are searched."""

    kind: str  # of the largest index file
    vectors: int  # in the index files
    delta: int  # newer than the files, searched beside them
    removed: int  # in the files, left out of results
    bytes: int  # of the files
    path: Path | None  # of the largest file; None where there is none to use
    note: str | None = None  # why something is other than expected
    files: int = 0
    # Of the ten nearest photos, the share found, as measured against exact search when the files
    # were made; None where search is exact.
    recall: float | None = None


class StoreState(NamedTuple):
    """How large a store is."""

    photos: int
    vectors: IndexInfo | None  # of the model asked for: how they are searched
    disk_bytes: dict[str, int]  # part -> bytes


def utc_now() -> str:
    """Return the time as the catalog writes it: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
