"""What a library answers, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clipsearch.index.paths import escape, to_text

if TYPE_CHECKING:
    from clipsearch.index.records import PhotoRecord
    from clipsearch.results import Hit, Hits, LibraryInfo
    from clipsearch.searching.looking_up import PhotoDetails


def hit(one: Hit) -> dict[str, Any]:
    """Return a hit, with the address of its picture; its score is not rounded."""
    return {**one.to_dict(), "score": one.score, "thumb": thumb(one.id, one.content_hash)}


def thumb(photo_id: int, content_hash: str, size: str = "") -> str:
    """Return where a photo's small picture is, by its content: so it may be kept for good."""
    named = f"size={size}&" if size else ""
    return f"/thumbs/{photo_id}?{named}v={content_hash[:12]}"


def hits(found: Hits) -> dict[str, Any]:
    """Return hits and what is to be known of them."""
    return {
        "hits": [hit(one) for one in found],
        "weak": found.weak,
        "left_out": [one.to_dict() for one in found.left_out],
        "notes": list(found.notes),
    }


def record(photo: PhotoRecord) -> dict[str, Any]:
    """Return all that the catalog says of a photo."""
    return {
        "id": photo.id,
        "path": to_text(photo.file.path),
        "size": photo.file.size,
        "mtime_ns": photo.file.mtime_ns,
        "content_hash": photo.content_hash,
        "indexed_at": photo.indexed_at,
        "moment": photo.moment,
        "moment_from": photo.moment_from,
        **vars(photo.metadata),
    }


def details(found: PhotoDetails, exposure: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Return all that is known of a photo, with the addresses of its pictures."""
    one = found.hit
    said = {
        name: value
        for name, value in one.to_dict().items()
        if name
        not in ("rank", "score", "relevance", "strength", "why", "matched", "behind", "alike")
    }
    photo = found.photo
    return {
        **said,
        "mtime_ns": photo.file.mtime_ns,
        "indexed_at": photo.indexed_at,
        "orientation": photo.metadata.orientation,
        "folder": to_text(photo.file.path.parent),
        "tags": list(one.tags),
        "words": [{"kind": word.field, "text": word.text} for word in found.words],
        "exif": [{"name": name, "value": value} for name, value in (*_said(one), *exposure)],
        "thumb": thumb(one.id, one.content_hash),
        "preview": thumb(one.id, one.content_hash, "large"),
        "original": f"/photos/{one.id}",
    }


def _said(one: Hit) -> list[tuple[str, str]]:
    """Return what the photo says of itself, for a person, by name."""
    position = ""
    if one.latitude is not None and one.longitude is not None:
        position = f"{one.latitude:.5f}, {one.longitude:.5f}"
    said = {
        "Taken": one.when,
        "Camera": one.camera,
        "Lens": one.lens,
        "Position": position,
        "Place": one.place,
        "Size": f"{one.width} × {one.height} pixels",
        "Format": one.format,
        "File size": f"{one.size:,} bytes",
    }
    return [(name, value) for name, value in said.items() if value]


def more_of(info: LibraryInfo) -> dict[str, Any]:
    """Return the files that could not be indexed, with reasons, and what runs leave out."""
    named = [
        {**one.to_dict(), "size": one.file.size, "mtime_ns": one.file.mtime_ns}
        for one in info.failures
    ]
    exclusions = [[one.kind, escape(one.what)] for one in info.exclusions]
    return {"failed_files": named, "exclusions": exclusions}
