"""Filters of every kind for property tests, about photos that may say anything or nothing."""

import random
from pathlib import Path

from every_store import unit_vectors
from hypothesis import strategies as st

from clipsearch.index.changes import Change, Embedded
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
from clipsearch.index.records import FileState, PhotoMetadata

# Few of each, so that filters and photos meet.
FOLDERS = ["/", "/p", "/p/a", "/p/a/b", "/p/ab", "/p/é", "/p/A"]
NAMES = ["a.jpg", "ab.jpg", "É b.jpg", "IMG_1.png", "a", "b%_.jpg"]
CAMERAS = ["Pixel 7", "pixel 7", "NIKON D750", "Ñandú", "ﬁne"]
PLACES = ["Zürich", "Zurich", "Rome"]
FORMATS = ["JPEG", "PNG"]
TAGS = ["beach", "Rex", "café"]
MOMENTS = ["2021-07-14", "2021-07-14T00:00:00", "2021-07-14T10:30:00", "2022-01-01T23:59:59"]
SIZES = [1, 2, 640, 4000]
LATITUDES = [-90.0, -45.5, 0.0, 47.37, 89.9, 90.0]
LONGITUDES = [-180.0, -179.9, 0.0, 8.54, 179.9, 180.0]

ORDER = st.sampled_from(["<", "<=", ">", ">=", "="])
TEXT_ORDER = st.sampled_from(["=", "has"])
_VALUES = {
    "camera": [*CAMERAS, "PIXEL", "nandu", "fi"],
    "lens": ["50", "mm", "50mm"],
    "place": [*PLACES, "ri"],
    "format": [*FORMATS, "pe"],
    "tag": [*TAGS, "ea", "cafe"],
    "folder": ["p", "a", "ab", "e", "A", "b"],
}
_NUMBERS = {
    "width": SIZES,
    "height": SIZES,
    "aspect": [0.5, 1.0, 2.0, 640.0],
    "latitude": LATITUDES,
    "longitude": LONGITUDES,
}
FIELDS = ["path", "moment", *_VALUES, *_NUMBERS]


def _compare(fields: dict[str, list[str]] | dict[str, list[float]]) -> st.SearchStrategy[Filter]:
    order = TEXT_ORDER if fields is _VALUES else ORDER
    return st.one_of(
        st.builds(Compare, st.just(name), order, st.sampled_from(values))
        for name, values in fields.items()
    )


def leaves() -> st.SearchStrategy[Filter]:
    """Return a strategy of parts that hold no others."""
    one_of = st.one_of(
        st.builds(OneOf, st.just(name), st.lists(st.sampled_from(values), max_size=3))
        for name, values in {**_VALUES, **_NUMBERS, "moment": MOMENTS}.items()
    )
    return st.one_of(
        _compare(_VALUES),
        _compare(_NUMBERS),
        st.builds(Compare, st.just("moment"), ORDER, st.sampled_from(MOMENTS)),
        st.builds(
            Compare, st.just("path"), st.just("has"), st.sampled_from(["A", "b%", "É", ".j"])
        ),
        one_of,
        st.builds(Below, st.sampled_from([*FOLDERS, "/p/a/a.jpg", "/q"])),
        st.builds(
            Within,
            st.sampled_from(LATITUDES),
            st.sampled_from(LONGITUDES),
            st.sampled_from([0.1, 12.0, 30.0, 5000.0, 20100.0]),
        ),
        st.builds(Missing, st.sampled_from(FIELDS)),
    )


def trees() -> st.SearchStrategy[Filter]:
    """Return a strategy of whole trees."""
    return st.recursive(
        leaves(),
        lambda inner: (
            st.builds(And, st.lists(inner, max_size=4))
            | st.builds(Or, st.lists(inner, max_size=4))
            | st.builds(Not, inner)
        ),
        max_leaves=12,
    )


def made_photo(number: int, path: str) -> Embedded:
    """Return a photo that says this and that, or nothing, as its number has it."""
    chance = random.Random(number)

    def maybe(values: list[str] | list[float]) -> object:
        return chance.choice([None, *values])

    metadata = PhotoMetadata(
        chance.choice(SIZES),
        chance.choice(SIZES),
        chance.choice(FORMATS),
        taken_at=maybe(MOMENTS),  # type: ignore[arg-type]
        camera=maybe(CAMERAS),  # type: ignore[arg-type]
        lens=maybe(["50mm", "35 mm"]),  # type: ignore[arg-type]
        latitude=maybe(LATITUDES),  # type: ignore[arg-type]
        place=maybe(PLACES),  # type: ignore[arg-type]
        longitude=maybe(LONGITUDES),  # type: ignore[arg-type]
    )
    vector = unit_vectors(1, seed=number)[0]
    return Embedded(FileState(Path(path), 10, 100), f"hash {number}", metadata, vector)


def made_photos(count: int, first: int = 0) -> list[Change]:
    """Return photos at paths of all sorts."""
    chance = random.Random(first)
    paths = {f"{chance.choice(FOLDERS).rstrip('/')}/{chance.choice(NAMES)}" for _ in range(count)}
    return [made_photo(first + number, path) for number, path in enumerate(sorted(paths))]
