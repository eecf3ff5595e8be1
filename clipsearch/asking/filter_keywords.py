"""The filters as people give them, by keyword: `after="2021"`, `--camera Pixel`, `in:holidays`.

One table for Python's keywords, the command line's options and what a question holds. All that are
given must hold at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from clipsearch.arguments import as_list, shown, whole
from clipsearch.asking import dates
from clipsearch.asking.keywords import MISSING, ORIENTATIONS
from clipsearch.errors import InvalidInput
from clipsearch.index.filters import (
    And,
    Below,
    Compare,
    Field,
    Filter,
    Missing,
    OneOf,
    Operator,
    Or,
)
from clipsearch.index.paths import to_text
from clipsearch.near_names import did_you_mean, near_name
from clipsearch.settings import absolute

# The ratio of width to height, compared with 1.
_ASPECTS: dict[str, Operator] = {"landscape": ">", "portrait": "<", "square": "="}
_MISSING_FIELDS: dict[str, Field] = {"date": "moment", "position": "latitude"}


class Meant(NamedTuple):
    """A filter, and how it was understood."""

    filter: Filter
    said: str  # for a person


def meant(keyword: str, value: object, now: datetime) -> Meant:
    """Return the filter that a keyword of FilterKeywords and its value stand for.

    `now` is the clock that "last summer" is reckoned from. Raises InvalidInput for what can't be
    meant, MissingPackages for a place's name without a gazetteer.
    """
    return _READ[keyword](value, now)


def all_of(given: Mapping[str, Any], now: datetime) -> Filter:
    """Return what holds where all of some keywords do; None as a value asks for nothing."""
    parts = (meant(name, value, now).filter for name, value in given.items() if value is not None)
    return And(tuple(parts))


def folder_called(value: object, *, from_here: bool = True) -> Meant:
    """Return the photos in any folder of a name, or, where a path is written, below that.

    Of whoever is not `from_here`, the path must be whole. Raises InvalidInput.
    """
    if isinstance(value, str) and value.strip() and not _is_path(value):
        return Meant(Compare("folder", "=", value.strip()), f"in any folder {value.strip()}")
    if not isinstance(value, str | Path):
        raise InvalidInput(f"a folder must be a path or a name, not {shown(value)}")
    if not from_here and not str(value).startswith(os.sep):
        raise InvalidInput(f"in takes the name of a folder, or its whole path, not {shown(value)}")
    path = absolute(value)
    return Meant(Below(to_text(path)), f"in {path}")


def _is_path(text: str) -> bool:
    separators = tuple(filter(None, (os.sep, os.altsep)))
    return text in (".", "..") or text.startswith("~") or any(one in text for one in separators)


def _in(value: object, now: datetime) -> Meant:
    """Return the same, but for a name that a folder here has: then that one is meant."""
    if isinstance(value, str) and value.strip() and absolute(value).is_dir():
        value = absolute(value)
    return folder_called(value)


def _after(value: Any, now: datetime) -> Meant:
    return _within(dates.after(value, now))


def _before(value: Any, now: datetime) -> Meant:
    return _within(dates.before(value, now))


def _within(span: dates.Span) -> Meant:
    parts: list[Filter] = []
    if span.first is not None:
        parts.append(Compare("moment", ">=", dates.iso(span.first)))
    if span.behind is not None:
        parts.append(Compare("moment", "<", dates.iso(span.behind)))
    return Meant(parts[0] if len(parts) == 1 else And(tuple(parts)), str(span))


def _text(field: Field) -> Callable[[Any, datetime], Meant]:
    """Return what reads a part of a name, such as a camera's."""

    def read(value: object, now: datetime) -> Meant:
        text = _written(value, field)
        return Meant(Compare(field, "has", text), f"{field} {text}")

    return read


def _written(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{name} must be a text, not {shown(value)}")
    return value.strip()


def _near(value: Any, now: datetime) -> Meant:
    from clipsearch.asking.places import near

    found = near(value)
    return Meant(found.filter, found.said)


def _type(value: Any, now: datetime) -> Meant:
    names = [name.strip() for one in as_list(value) for name in _written(one, "type").split(",")]
    parts = tuple(map(_of_type, names))
    said = f"type {' or '.join(names)}"
    return Meant(parts[0] if len(parts) == 1 else Or(parts), said)


def _of_type(name: str) -> Filter:
    """Return the photos of a format, by its name or a suffix; of raw files by theirs."""
    from clipsearch.index.records import RAW
    from clipsearch.photos.formats import formats_called, type_names

    name = name.lower().lstrip(".")
    found = formats_called(name)
    if not found:
        near = near_name(name, type_names())
        hint = did_you_mean(near) or "; there are jpeg, png, heic, raw, webp, tiff, gif and more"
        raise InvalidInput(f"there is no type {shown(name)} of photo{hint}")
    of_format = OneOf("format", found)
    if found != (RAW,) or name == RAW.lower():
        return of_format
    return of_format & Compare("path", "has", f".{name}")


def _min_width(value: object, now: datetime) -> Meant:
    try:
        pixels = whole(int(value) if isinstance(value, str) else value, "a width", least=1)
    except ValueError:
        raise InvalidInput(f"a width must be a whole number, not {shown(value)}") from None
    return Meant(Compare("width", ">=", pixels), f"at least {pixels} pixels wide")


def _orientation(value: object, now: datetime) -> Meant:
    name = _one_of(value, ORIENTATIONS, "orientation")
    return Meant(Compare("aspect", _ASPECTS[name], 1), name)


def _tag(value: Any, now: datetime) -> Meant:
    tags = [_written(one, "tag") for one in as_list(value)]
    parts = tuple(Compare("tag", "=", tag) for tag in tags)
    return Meant(parts[0] if len(parts) == 1 else And(parts), f"tag {' and '.join(tags)}")


def _missing(value: Any, now: datetime) -> Meant:
    names = [_one_of(one, MISSING, "missing") for one in as_list(value)]
    parts = tuple(Missing(_MISSING_FIELDS.get(name, name)) for name in names)  # type: ignore[arg-type]
    said = f"naming no {' or '.join(names)}"
    return Meant(parts[0] if len(parts) == 1 else And(parts), said)


def _one_of(value: object, names: Sequence[str], what: str) -> str:
    name = _written(value, what).lower()
    if name not in names:
        hint = did_you_mean(near_name(name, names))
        raise InvalidInput(f"{what} must be one of {', '.join(names)}, not {shown(value)}{hint}")
    return name


_READ: dict[str, Callable[[Any, datetime], Meant]] = {
    "in_": _in,
    "after": _after,
    "before": _before,
    "camera": _text("camera"),
    "lens": _text("lens"),
    "near": _near,
    "type": _type,
    "min_width": _min_width,
    "orientation": _orientation,
    "tag": _tag,
    "missing": _missing,
}
