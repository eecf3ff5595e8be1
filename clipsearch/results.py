"""What the library answers with."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.arguments import above_zero, whole, yes_or_no
from clipsearch.index.paths import to_text

if TYPE_CHECKING:
    from clipsearch.index.records import Failure, Folder, IndexInfo, ModelRow, PhotoRecord
    from clipsearch.photos.scanning import ScanProblem


@dataclass(frozen=True)
class Hit:
    """One photo found."""

    rank: int  # from 1
    score: float  # cosine of query and photo, -1 to 1
    path: Path
    id: int
    width: int  # pixels, upright
    height: int
    format: str
    size: int  # bytes
    taken_at: str | None
    camera: str | None
    lens: str | None
    latitude: float | None  # degrees
    longitude: float | None
    content_hash: str  # SHA-256 of the file

    @classmethod
    def from_record(cls, rank: int, score: float, photo: PhotoRecord) -> Hit:
        """Return the hit for a row of the catalog."""
        seen = photo.metadata
        return cls(
            rank=rank,
            score=score,
            path=photo.file.path,
            id=photo.id,
            width=seen.width,
            height=seen.height,
            format=seen.format,
            size=photo.file.size,
            taken_at=seen.taken_at,
            camera=seen.camera,
            lens=seen.lens,
            latitude=seen.latitude,
            longitude=seen.longitude,
            content_hash=photo.content_hash,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, with `path_bytes` (base64) if the name is not UTF-8."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields["score"] = round(self.score, 6)
        fields["path"] = to_text(self.path)
        if fields["path"] != str(self.path):
            fields["path_bytes"] = base64.b64encode(os.fsencode(self.path)).decode()
        return fields


@dataclass(frozen=True)
class IndexOptions:
    """How to index."""

    retry_failed: bool = False  # open again what failed before and has not changed since
    include_hidden: bool = False  # hidden, trash and thumbnail folders too
    prune: bool = False  # forget the photos of folders that are away
    max_megapixels: float | None = None  # refuse larger pictures; None: by this machine's memory
    batch_size: int | None = None  # photos an encoder pass; None: by device
    postpone: Callable[[Path], bool] | None = None  # leave this new or changed file for later

    def __post_init__(self) -> None:
        """Raise InvalidInput for what can't be meant."""
        checked: dict[str, object] = {
            name: yes_or_no(getattr(self, name), name)
            for name in ("retry_failed", "include_hidden", "prune")
        }
        if self.max_megapixels is not None:
            checked["max_megapixels"] = above_zero(self.max_megapixels, "max_megapixels")
        if self.batch_size is not None:
            checked["batch_size"] = whole(self.batch_size, "batch_size", least=1)
        for name, value in checked.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class IndexProgress:
    """How far an index run is."""

    phase: str  # "scanning", "loading model", "encoding", "saving"
    done: int  # files
    total: int  # files; 0 while unknown
    message: str = ""


@dataclass(frozen=True)
class FailedFile:
    """A file that could not be indexed in this run."""

    path: Path
    reason: str


@dataclass(frozen=True)
class IndexReport:
    """What an index run did; counts are of files."""

    model: str
    added: int = 0  # new photos, copies included
    changed: int = 0  # edited, or embedded anew for another model
    moved: int = 0
    copied: int = 0  # of those added, the ones that took over an embedding
    removed: int = 0
    unchanged: int = 0
    embedded: int = 0  # photos that went through the encoder
    failures: tuple[FailedFile, ...] = ()
    known_failures: int = 0  # failed before, not changed since, not tried again
    problems: tuple[ScanProblem, ...] = ()
    notes: tuple[str, ...] = ()  # one line each, for the user
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def failed(self) -> int:
        """Return the number of files that failed in this run."""
        return len(self.failures)

    @property
    def photos_per_second(self) -> float:
        """Return photos encoded a second, scanning and saving included."""
        return self.embedded / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class AwayFolder:
    """A folder, single file or mount point that is not there now; its photos are kept."""

    path: Path
    reason: str
    photos: int


@dataclass(frozen=True)
class LibraryInfo:
    """The state of a library."""

    folder: Path
    folders: tuple[Folder, ...]
    away: tuple[AwayFolder, ...]
    photos: int
    failures: tuple[Failure, ...]
    model: ModelRow | None  # the one that queries use
    models: tuple[ModelRow, ...]
    index: IndexInfo | None
    disk_bytes: dict[str, int] = field(default_factory=dict)  # part -> bytes
