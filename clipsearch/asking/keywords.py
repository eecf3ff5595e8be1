"""The names of the filters, and what each takes. Light: every search imports it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TypedDict


class FilterKeywords(TypedDict, total=False):
    """What the photos found must be like, as keywords of the methods that search; all of it."""

    in_: str | Path
    after: str | date
    before: str | date
    camera: str
    lens: str
    near: str | Sequence[float]
    type: str | Sequence[str]
    min_width: int
    orientation: str
    tag: str | Sequence[str]
    missing: str | Sequence[str]


KEYWORDS = tuple(FilterKeywords.__annotations__)
ORIENTATIONS = ("landscape", "portrait", "square")
# What may be asked for as missing.
MISSING = ("date", "camera", "lens", "position", "place", "tag")
