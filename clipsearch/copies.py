"""What `library.duplicates` answers with: photos that are the same, and those that are alike."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from clipsearch.index.paths import to_path, to_text
from clipsearch.index.records import PhotoRecord

Kind: TypeAlias = Literal["same", "burst", "look-alike"]
KINDS: tuple[Kind, ...] = ("same", "burst", "look-alike")


@dataclass(frozen=True)
class CopiedPhoto:
    """A photo of a group."""

    id: int
    source: str  # where the photo lies: of a file, its path as the catalog writes it
    width: int  # pixels, upright
    height: int
    format: str
    size: int  # bytes
    moment: str | None  # ISO 8601, local time without an offset; or a day alone
    camera: str | None
    content_hash: str  # SHA-256 of the file

    @classmethod
    def from_record(cls, photo: PhotoRecord) -> CopiedPhoto:
        """Return what a group says of a row of the catalog."""
        said = photo.metadata
        return cls(
            id=photo.id,
            source=to_text(photo.file.path),
            width=said.width,
            height=said.height,
            format=said.format,
            size=photo.file.size,
            moment=photo.moment,
            camera=said.camera,
            content_hash=photo.content_hash,
        )

    @property
    def path(self) -> Path:
        """The photo's file."""
        return to_path(self.source)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, with `path_bytes` (base64) if the name is not UTF-8."""
        fields = {"path" if name == "source" else name: said for name, said in vars(self).items()}
        if self.source != str(self.path):
            fields["path_bytes"] = base64.b64encode(os.fsencode(self.path)).decode()
        return fields


@dataclass(frozen=True)
class AlikeGroup:
    """Photos that belong together, and the one that is suggested to be kept."""

    kind: Kind  # "same" photo; a "burst" of a few seconds; or "look-alike", much alike
    keep: CopiedPhoto
    others: tuple[CopiedPhoto, ...]  # at least one, by path

    @property
    def bytes_of_others(self) -> int:
        """How much space the others take."""
        return sum(photo.size for photo in self.others)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        others = [photo.to_dict() for photo in self.others]
        return {"kind": self.kind, "keep": self.keep.to_dict(), "others": others}


@dataclass(frozen=True)
class Duplicates:
    """The groups of a library, each kind in order of the paths of what is kept.

    A photo is in one group of the same photo at most. Of these groups, only what is kept stands
    among bursts and look-alikes.
    """

    groups: tuple[AlikeGroup, ...]
    photos: int  # that were compared with each other
    # Of them, those that were indexed by an older clipsearch: only copies of the same bytes are
    # known of them, until `index` has opened them again.
    incomplete: int = 0

    def of_kind(self, kind: Kind) -> tuple[AlikeGroup, ...]:
        """Return the groups of a kind."""
        return tuple(group for group in self.groups if group.kind == kind)

    @property
    def same(self) -> tuple[AlikeGroup, ...]:
        """The groups of the same photo: copies, and what was made of it."""
        return self.of_kind("same")

    @property
    def bursts(self) -> tuple[AlikeGroup, ...]:
        """The groups of photos that a camera took within seconds of the same scene."""
        return self.of_kind("burst")

    @property
    def look_alikes(self) -> tuple[AlikeGroup, ...]:
        """The groups of other photos that are much alike."""
        return self.of_kind("look-alike")

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self.of_kind(kind)):,} {kind}" for kind in KINDS)
        return f"Duplicates({counts}; {self.photos:,} photos)"


def in_order(groups: Iterable[AlikeGroup]) -> tuple[AlikeGroup, ...]:
    """Return groups by kind, and by the path of what is kept."""
    return tuple(sorted(groups, key=lambda one: (KINDS.index(one.kind), one.keep.source)))
