"""What some photos say, counted: how many there are of each month, camera, folder and so on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

MOST = 100  # values of each kind
MOST_MONTHS = 1200  # a hundred years
_SAME_TYPE = {"mpo": "jpeg"}  # several JPEGs in one file: the filter by type takes both


class FacetCount(NamedTuple):
    """How many photos say something."""

    value: str
    photos: int


@dataclass(frozen=True)
class Facets:
    """What some photos say, with how many say it: each kind by count, dates by month.

    Values are as the filters of a search take them. Raw photos count as others do, also where a
    list shows the picture beside them alone.
    """

    total: int = 0  # photos
    dates: tuple[FacetCount, ...] = ()  # by month, "2021-07", rising
    undated: int = 0  # photos
    cameras: tuple[FacetCount, ...] = ()
    lenses: tuple[FacetCount, ...] = ()
    places: tuple[FacetCount, ...] = ()
    # Paths of the folders that were indexed, and of those that photos lie in: each with all below.
    folders: tuple[FacetCount, ...] = ()
    types: tuple[FacetCount, ...] = ()
    tags: tuple[FacetCount, ...] = ()
    orientations: tuple[FacetCount, ...] = ()  # landscape, portrait, square
    # By kind, how many more values there are: the most frequent 100 are given, of dates the last
    # hundred years.
    others: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, total: int, undated: int, counts: Mapping[str, Iterable[tuple[str, int]]]
    ) -> Facets:
        """Return the facets of what was counted of each kind, in whatever order; noughts are none.

        `counts` has the kinds by the names of the fields, a value once; types as records name them.
        """
        kinds: dict[str, tuple[FacetCount, ...]] = {}
        others = {}
        for kind, found in counts.items():
            every = [FacetCount(*one) for one in found if one[1]]
            if kind == "dates":
                kinds[kind] = tuple(sorted(every)[-MOST_MONTHS:])
            else:
                every = _types(every) if kind == "types" else every
                kinds[kind] = tuple(sorted(every, key=lambda one: (-one.photos, one.value))[:MOST])
            if len(every) > len(kinds[kind]):
                others[kind] = len(every) - len(kinds[kind])
        return cls(total=total, undated=undated, others=others, **kinds)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        made: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, tuple):
                value = [_in_json(one.name, count) for count in value]
            made[one.name] = dict(value) if one.name == "others" else value
        return made

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Facets:
        """Return the facets that `to_dict` wrote; KeyError, TypeError or ValueError for others."""
        values = {one.name: given[one.name] for one in fields(cls)}
        for name, value in values.items():
            if isinstance(value, list):
                key = _KEYS.get(name, "value")
                values[name] = tuple(FacetCount(str(one[key]), int(one["count"])) for one in value)
        return cls(**values)


_KEYS = {"dates": "month", "folders": "path"}


def _in_json(kind: str, said: FacetCount) -> dict[str, Any]:
    made: dict[str, Any] = {_KEYS.get(kind, "value"): said.value}
    if kind == "folders":
        made["name"] = said.value.rpartition(os.sep)[2] or said.value
    return {**made, "count": said.photos}


def _types(formats: Iterable[FacetCount]) -> list[FacetCount]:
    """Return formats, as records name them, as the types that filters take."""
    types: dict[str, int] = {}
    for value, count in formats:
        name = _SAME_TYPE.get(value.lower(), value.lower())
        types[name] = types.get(name, 0) + count
    return [FacetCount(*one) for one in types.items()]
