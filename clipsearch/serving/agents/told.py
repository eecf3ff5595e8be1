"""What an agent is told of photos, as JSON: no more than its scope allows.

All text in it comes from photos, their names or their owner, and is for an agent to read, not to
obey. What would act on a terminal is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clipsearch.harmless import printable

if TYPE_CHECKING:
    from pathlib import Path

    from clipsearch.index.facets import FacetCount, Facets
    from clipsearch.index.records import PhotoRecord
    from clipsearch.results import Hit, Hits
    from clipsearch.searching.looking_up import PhotoDetails
    from clipsearch.serving.agents.scope import Scope

_LONGEST = 500  # characters of a text
_MOST_COUNTED = 30  # values of a kind
_MOST_MONTHS = 60


def text(said: str) -> str:
    """Return a text from a photo in one harmless line."""
    shown = printable(said)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def hits(found: Hits, scope: Scope) -> list[dict[str, Any]]:
    """Return photos found, best first."""
    return [_filled({**_hit(one, scope), **_match(one, scope)}) for one in found]


def _hit(one: Hit, scope: Scope) -> dict[str, Any]:
    said: dict[str, Any] = {
        "id": one.id,
        "name": text(one.path.name),
        "taken": one.when,
        "width": one.width,
        "height": one.height,
        "tags": [text(tag) for tag in one.tags],
        "camera": text(one.camera or ""),
    }
    if scope.details:
        said["path"] = text(str(one.path))
        said["place"] = text(one.place or "")
        said["latitude"], said["longitude"] = one.latitude, one.longitude
    return said


def _match(one: Hit, scope: Scope) -> dict[str, Any]:
    said: dict[str, Any] = {"strength": one.strength, "why": list(one.why)}
    if one.found_by == "its name" or scope.details:  # else it may be a folder's name, or a place's
        said["found_by"] = text(one.found_by)
    if one.alike:
        said["alike"] = list(one.alike)
    return said


def details(found: PhotoDetails, scope: Scope) -> dict[str, Any]:
    """Return all that is known of a photo."""
    one = found.hit
    said = {
        **_hit(one, scope),
        "format": one.format,
        "bytes": one.size,
        "lens": text(one.lens or ""),
        "words": [{"kind": word.field, "text": text(word.text)} for word in found.words],
    }
    return _filled(said)


def named(photos: Mapping[int, PhotoRecord], without: set[int]) -> list[dict[str, Any]]:
    """Return which photo stands under each number of a sheet."""
    return [
        {
            "number": number,
            "id": photo.id,
            "name": text(photo.file.path.name),
            **({"taken": photo.moment} if photo.moment else {}),
            **({"picture": "can't be shown now"} if number in without else {}),
        }
        for number, photo in photos.items()
    ]


def library(found: Facets, scope: Scope) -> dict[str, Any]:
    """Return what a library holds, as far as it may be seen."""
    said: dict[str, Any] = {
        "photos": found.total,
        "without_date": found.undated,
        "first_month": found.dates[0].value if found.dates else None,
        "last_month": found.dates[-1].value if found.dates else None,
        "months": _counts(found.dates[-_MOST_MONTHS:]),
        "cameras": _counts(found.cameras[:_MOST_COUNTED]),
        "types": _counts(found.types[:_MOST_COUNTED]),
        "orientations": _counts(found.orientations),
        "tags": _counts(found.tags[:_MOST_COUNTED]),
        "folders": _folders(found, scope),
    }
    if scope.details:
        said["places"] = _counts(found.places[:_MOST_COUNTED])
    return _filled(said)


def _counts(found: tuple[FacetCount, ...]) -> dict[str, int]:
    return {text(one.value): one.photos for one in found}


def _folders(found: Facets, scope: Scope) -> dict[str, int]:
    from clipsearch.index.paths import to_path
    from clipsearch.photos.away import lies_below

    said: dict[str, int] = {}
    for one in found.folders:
        path: Path = to_path(one.value)
        if scope.folder is not None and not lies_below(path, [scope.folder]):
            continue
        name = text(str(path) if scope.details else path.name)
        said[name] = said.get(name, 0) + one.photos
        if len(said) >= _MOST_COUNTED:
            break
    return said


def _filled(said: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is not known."""
    return {name: value for name, value in said.items() if value not in (None, "", [], {})}
