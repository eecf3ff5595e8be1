"""Places as people write them: `48.85,2.35`, `48.85 N, 2.35 E, 5 km`, `Prague`, `Paris, US`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from clipsearch.arguments import shown
from clipsearch.errors import InvalidInput
from clipsearch.index.filters import Compare, Filter, Within

_LONGEST = 200  # characters: no place is called so, and patterns take long for nonsense
USUAL_KM = 10.0  # around a place for which nobody says how far

_NUMBER = r"[+-]?\d+(?:\.\d+)?"
# 48.85, N 48.85, 48.85° N, 48°51'24"N
_DEGREES = (
    rf"(?P<before{{0}}>[NSEW])?\s*(?P<degrees{{0}}>{_NUMBER})\s*°?"
    r"(?:\s*(?P<minutes{0}>\d+(?:\.\d+)?)['′’](?:\s*(?P<seconds{0}>\d+(?:\.\d+)?)[\"″”])?)?"
    r"\s*(?P<after{0}>[NSEW])?"
)
_DISTANCE = r"(?P<far>\d+(?:\.\d+)?)\s*(?P<unit>km|m|)"
_POSITION = re.compile(
    rf"{_DEGREES.format(1)}\s*[,;\s]\s*{_DEGREES.format(2)}(?:\s*[,;]\s*{_DISTANCE})?",
    re.IGNORECASE,
)
_NAME_AND_DISTANCE = re.compile(rf"(?P<name>.*?)(?:\s*[,;]\s*{_DISTANCE})?", re.IGNORECASE)
_WRITTEN = "LAT,LON or LAT,LON,KM, such as 48.85,2.35 (north and east positive), or a place's name"


class Near(NamedTuple):
    """Where photos are looked for."""

    filter: Filter
    said: str  # what was understood, for a person


def near(given: str | Sequence[float]) -> Near:
    """Return what `--near` asks for: around a position or a place of this name.

    Raises InvalidInput for what is no place, and MissingPackages for a name where no gazetteer is
    installed.
    """
    if not isinstance(given, str):
        return _around(*_numbers(given))
    if len(given) > _LONGEST:
        raise InvalidInput(f"near must be {_WRITTEN}, not {shown(given)}")
    position = _POSITION.fullmatch(given.strip())
    if position is not None:
        latitude, longitude = _degrees(position, 1), _degrees(position, 2)
        if _axis(position, 1) in ("E", "W") or _axis(position, 2) in ("N", "S"):
            latitude, longitude = longitude, latitude
        return _around(latitude, longitude, _km(position))
    return _called(given)


def _numbers(given: object) -> list[float]:
    if not isinstance(given, Sequence) or len(given) not in (2, 3):
        raise InvalidInput(f"near must be {_WRITTEN}, not {shown(given)}")
    return list(given)


def _around(latitude: float, longitude: float, km: float = USUAL_KM) -> Near:
    """Return the photos around a position; Within refuses what is none on earth."""
    within = Within(latitude, longitude, km)
    where = f"{within.latitude:g}, {within.longitude:g}"
    return Near(within, f"within {within.km:g} km of {where}")


def _axis(found: re.Match[str], which: int) -> str:
    return (found[f"before{which}"] or found[f"after{which}"] or "").upper()


def _degrees(found: re.Match[str], which: int) -> float:
    degrees = float(found[f"degrees{which}"])
    parts = (float(found[f"{part}{which}"] or 0) for part in ("minutes", "seconds"))
    minutes, seconds = parts
    size = abs(degrees) + minutes / 60 + seconds / 3600
    south_or_west = found[f"degrees{which}"].startswith("-") or _axis(found, which) in ("S", "W")
    return -size if south_or_west else size


def _km(found: re.Match[str]) -> float:
    if found["far"] is None:
        return USUAL_KM
    return float(found["far"]) / (1000 if found["unit"].lower() == "m" else 1)


def _called(given: str) -> Near:
    """Return the photos around the largest place of a name, or in a country."""
    from clipsearch.asking import gazetteer

    named = _NAME_AND_DISTANCE.fullmatch(given.strip())
    name = named["name"].strip() if named else ""
    if not any(letter.isalpha() for letter in name):
        raise InvalidInput(f"near must be {_WRITTEN}, not {shown(given)}")
    assert named is not None
    if country := gazetteer.country_called(name):
        # Photos know their country by the town that the gazetteer names for them.
        return Near(Compare("place", "has", f", {country.code}"), f"in {country.name}")
    town, others = gazetteer.town_called(name)
    km = _km(named)
    within = Within(town.latitude, town.longitude, km)
    position = f"{town.latitude:.2f}, {town.longitude:.2f}"
    said = f"within {km:g} km of {town} ({position})"
    if others:
        said += f"; also called so: {'; '.join(map(str, others))}"
    return Near(within | Compare("place", "has", str(town)), said)
