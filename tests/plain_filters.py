"""What filters mean, photo by photo in plain Python: all engines agree with it."""

from __future__ import annotations

import math
import operator
from pathlib import PurePosixPath
from typing import Any
from unicodedata import category, normalize

from clipsearch.index.filters import (
    And,
    Below,
    Compare,
    Filter,
    Missing,
    Not,
    OneOf,
    Or,
    Within,
)
from clipsearch.index.paths import to_text
from clipsearch.index.records import PhotoRecord

ORDER = {
    **{"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge},
    **{"=": operator.eq, "has": operator.contains},
}
NEVER_MISSING = ("path", "folder")


def passes(tree: Filter, photo: PhotoRecord, tags: frozenset[str] = frozenset()) -> bool:
    """Tell whether a photo with these tags passes."""
    match tree:
        case And(parts):
            return all(passes(part, photo, tags) for part in parts)
        case Or(parts):
            return any(passes(part, photo, tags) for part in parts)
        case Not(part):
            return not passes(part, photo, tags)
        case Compare(field, op, value):
            return any(ORDER[op](said, plain(field, value)) for said in says(field, photo, tags))
        case OneOf(field, values):
            wanted = [plain(field, value) for value in values]
            return any(said in wanted for said in says(field, photo, tags))
        case Below(path):
            at, folder = PurePosixPath(to_text(photo.file.path)), PurePosixPath(path)
            return at == folder or folder in at.parents
        case Within():
            return is_within(tree, photo)
        case Missing(field):
            return field not in NEVER_MISSING and not says(field, photo, tags)


def says(field: str, photo: PhotoRecord, tags: frozenset[str]) -> list[Any]:
    """Return what a photo says, as it is compared; nothing if it doesn't say."""
    at, known = PurePosixPath(to_text(photo.file.path)), photo.metadata
    if field == "path":
        return [plain(field, at.name)]
    if field == "folder":
        return [plain(field, parent.name) for parent in at.parents if parent.name]
    if field == "tag":
        return [plain(field, tag) for tag in tags]
    if field == "aspect":
        return [known.width / known.height] if known.height else []
    said = photo.moment if field == "moment" else getattr(known, field)
    return [] if said is None or said == "" else [plain(field, said)]


def plain(field: str, value: Any) -> Any:
    """Return a value in the form in which values of its field are compared."""
    if not isinstance(value, str):
        return value
    if field == "moment":
        return (value if "T" in value else f"{value}T00:00:00")[:19]
    letters = normalize("NFKD", normalize("NFKD", value).casefold())
    return "".join(one for one in letters if category(one) != "Mn")


def is_within(place: Within, photo: PhotoRecord) -> bool:
    """Measure along the great circle, by the angle between two vectors from the earth's centre."""
    known = photo.metadata
    if known.latitude is None or known.longitude is None:
        return False
    here, there = (
        on_earth(known.latitude, known.longitude),
        on_earth(place.latitude, place.longitude),
    )
    across = (
        here[1] * there[2] - here[2] * there[1],
        here[2] * there[0] - here[0] * there[2],
        here[0] * there[1] - here[1] * there[0],
    )
    along = sum(a * b for a, b in zip(here, there, strict=True))
    return 6371.0088 * math.atan2(math.hypot(*across), along) <= place.km


def on_earth(latitude: float, longitude: float) -> tuple[float, float, float]:
    north, east = math.radians(latitude), math.radians(longitude)
    return math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north)
