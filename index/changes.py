"""What can happen to the catalog, and the rules that decide it; pure, no disk.

A run goes: `compare` the files seen with the rows known; hash each file to open; `recognise`
content that the catalog already has; embed the rest; hand the changes to `Store.apply`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from clipsearch.index.paths import to_path
from clipsearch.index.records import Exclusion, FileState, PhotoMetadata, PhotoRecord, Word

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Embedded:
    """A photo is new, edited, or seen by another model for the first time."""

    file: FileState
    content_hash: str
    metadata: PhotoMetadata
    embedding: NDArray[np.float32]  # (width,), unit length
    words: tuple[Word, ...] = ()  # in the photo itself


@dataclass(frozen=True)
class Completed:
    """Photos with this content were opened again for more of what they say; embeddings stay."""

    content_hash: str
    metadata: PhotoMetadata
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Named:
    """Photos at exactly this position, of whose place nothing was found out yet, have this name."""

    latitude: float
    longitude: float
    place: str | None  # None where there is no name, which is then known


@dataclass(frozen=True)
class SidecarsRead:
    """The files beside a photo were read: these are all there are, and their words."""

    photo_id: int
    sidecars: tuple[FileState, ...]
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Touched:
    """A photo has the content it had; its size or time stamp was recorded anew."""

    photo_id: int
    file: FileState


@dataclass(frozen=True)
class Moved:
    """A photo goes on under a new path; a row that stood there is replaced."""

    photo_id: int
    file: FileState


@dataclass(frozen=True)
class Copied:
    """A file has the content of a photo in the catalog: what it says, and all its embeddings."""

    source_id: int
    file: FileState


@dataclass(frozen=True)
class Failed:
    """A file could not be indexed; a photo known under its path stays as it was."""

    file: FileState
    reason: str


@dataclass(frozen=True)
class Gone:
    """A photo's file is no longer there: its row and embeddings go."""

    photo_id: int


@dataclass(frozen=True)
class _OfPath:
    """What is said of a path alone; kinds of it differ by their class."""

    path: Path


class ForgetFailure(_OfPath):
    """A failure recorded for this path no longer holds."""


@dataclass(frozen=True)
class KeepFolder:
    """A folder or single file is kept up to date from now on; one that is known stays so."""

    path: Path
    kind: Literal["folder", "file"]


class Scanned(_OfPath):
    """A folder was scanned to its end just now; one that is not kept up to date is passed over."""


class ForgetFolder(_OfPath):
    """A folder or single file is no longer kept up to date; its photos stay."""


class SeenMount(_OfPath):
    """A scan met a mount point below the folders."""


class ForgetMount(_OfPath):
    """A mount point is no longer one; its photos stay."""


@dataclass(frozen=True)
class Exclude:
    """Runs leave this out from now on; what is known of it stays until it is forgotten."""

    exclusion: Exclusion


@dataclass(frozen=True)
class Include:
    """Runs no longer leave this out."""

    exclusion: Exclusion


@dataclass(frozen=True)
class UseModel:
    """Queries use this model from now on."""

    model_id: int


Change: TypeAlias = (
    Embedded
    | Completed
    | SidecarsRead
    | Named
    | Touched
    | Moved
    | Copied
    | Failed
    | Gone
    | ForgetFailure
    | KeepFolder
    | Scanned
    | ForgetFolder
    | SeenMount
    | ForgetMount
    | Exclude
    | Include
    | UseModel
)


@dataclass(frozen=True)
class KnownFile:
    """A file as the catalog has it."""

    photo_id: int
    file: FileState
    content_hash: str
    embedded: bool  # under the model in question


class SeenFile(NamedTuple):
    """A file as a scan sees it; a `FileState` takes longer to make than all else about a file."""

    path: str  # as the catalog writes it
    size: int  # bytes
    mtime_ns: int

    def state(self) -> FileState:
        """Return the same with a `Path`."""
        return FileState(to_path(self.path), self.size, self.mtime_ns)


class SeenSidecar(NamedTuple):
    """A file that speaks of a photo beside it, as a scan sees it, or as the catalog knows it."""

    photo: str  # path, as the catalog writes it
    path: str  # of the sidecar, likewise
    size: int  # bytes
    mtime_ns: int

    def state(self) -> FileState:
        """Return the sidecar's own state."""
        return FileState(to_path(self.path), self.size, self.mtime_ns)


# A row of the catalog as the SeenFile of its file if that is unchanged; equal to none if the model
# in question has not embedded the photo.
KnownState: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class ToOpen:
    """A file whose content must be looked at; `known` is the row under its path, if any."""

    file: FileState
    known: KnownFile | None


@dataclass
class Comparison:
    """The files seen, sorted by what has to be done about them."""

    to_open: list[ToOpen] = field(default_factory=list)
    same: list[KnownFile] = field(default_factory=list)
    gone: list[KnownFile] = field(default_factory=list)
    failed_still: list[FileState] = field(default_factory=list)
    failures_gone: list[Path] = field(default_factory=list)


def take_out_unchanged(
    seen: Collection[SeenFile], known: set[KnownState], failed: Collection[str]
) -> tuple[list[SeenFile], set[KnownState]]:
    """Return the files seen, and the rows known, that are not surely unchanged.

    `failed` are the paths of recorded failures, as the catalog writes them. `compare` sorts what
    is left; most runs over most files end here, so it is quick.
    """
    left = known.difference(seen)
    if failed:
        left |= {row for row in known if row[0] in failed}
    if not left and len(seen) == len(known):
        return [], left
    return [file for file in seen if file in left or file not in known], left


def compare(
    seen: Iterable[FileState],
    known: Mapping[Path, KnownFile],
    failed: Mapping[Path, FileState],
    *,
    retry_failed: bool = False,
) -> Comparison:
    """Sort the files seen, the rows known and the failures recorded below the same roots.

    A file is opened when it is new, its size or time differs, or this model has not embedded it;
    one that failed in exactly this state is opened only with `retry_failed`. A file seen twice
    counts once.
    """
    result = Comparison()
    met: set[Path] = set()
    for file in seen:
        if file.path in met:
            continue
        met.add(file.path)
        row, failure = known.get(file.path), failed.get(file.path)
        if row is not None and row.embedded and row.file == file:
            result.same.append(row)
            if failure is not None and failure != file:  # mended since, by putting it back
                result.failures_gone.append(file.path)
        elif failure == file and not retry_failed:
            result.failed_still.append(file)
        else:
            result.to_open.append(ToOpen(file, row))
    result.gone = [row for path, row in known.items() if path not in met]
    result.failures_gone += [path for path in failed if path not in met]
    return result


def recognise(
    opened: ToOpen, content_hash: str, twins: Sequence[PhotoRecord], gone: Collection[int]
) -> Touched | Moved | Copied | None:
    """Decide what a file is whose content the catalog may have; None: it must be embedded.

    `twins` are the photos with this content that have an embedding of the model in question,
    `gone` the ids of photos whose files are no longer there. A caller takes the id of a `Moved`
    out of `gone`, so that a second file with this content counts as a copy.
    """
    known = opened.known
    if known is not None and known.embedded and known.content_hash == content_hash:
        return Touched(known.photo_id, opened.file)
    for twin in twins:
        if twin.id in gone:
            return Moved(twin.id, opened.file)
    return Copied(twins[0].id, opened.file) if twins else None
