"""Which photos pass filters: SQL, columns in memory and every store agree with plain Python."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from every_store import ONE, Kind, Opened, every_kind, unit_vectors
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from made_filters import (
    CAMERAS,
    FOLDERS,
    FORMATS,
    LATITUDES,
    LONGITUDES,
    MOMENTS,
    NAMES,
    SIZES,
    trees,
)
from plain_filters import passes

from clipsearch.index.changes import Change, Embedded
from clipsearch.index.filter_arrays import passing
from clipsearch.index.filter_columns import CatalogColumns
from clipsearch.index.filters import (
    And,
    Below,
    Compare,
    Filter,
    Not,
    Within,
)
from clipsearch.index.interface import SearchableStore
from clipsearch.index.paths import to_text
from clipsearch.index.records import FileState, PhotoMetadata
from clipsearch.index.store import Store

PIXEL = Compare("camera", "has", "pixel")


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
        longitude=maybe(LONGITUDES),  # type: ignore[arg-type]
    )
    vector = unit_vectors(1, seed=number)[0]
    return Embedded(FileState(Path(path), 10, 100), f"hash {number}", metadata, vector)


def made_photos(count: int, first: int = 0) -> list[Change]:
    """Return photos at paths of all sorts."""
    chance = random.Random(first)
    paths = {f"{chance.choice(FOLDERS).rstrip('/')}/{chance.choice(NAMES)}" for _ in range(count)}
    return [made_photo(first + number, path) for number, path in enumerate(sorted(paths))]


@pytest.fixture
def opened(kind: Kind, tmp_path: Path) -> Iterator[Opened]:
    with kind.opened(tmp_path / "library") as opened:
        yield opened


def ids_of(store: SearchableStore, tree: Filter, without: list[Path] | None = None) -> list[int]:
    """Return the ids that a store selects."""
    selected = store.select(tree, without or [])
    ids = store.photos_below(None)
    return (ids if selected is None else ids[selected.holds(ids)]).tolist()


def expected(store: SearchableStore, tree: Filter) -> list[int]:
    photos = store.photos(store.photos_below(None).tolist())
    return sorted(id_ for id_, photo in photos.items() if passes(tree, photo))


@every_kind
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=trees(), without=st.lists(st.sampled_from(FOLDERS[1:]).map(Path), max_size=2))
@example(tree=~PIXEL, without=[])
@example(tree=And([Compare("width", ">", 0)] * 900), without=[])  # type: ignore[arg-type]
@example(tree=Within(90.0, 0.0, 12.0), without=[])
@example(tree=Within(0.0, 180.0, 30.0), without=[])
def test_what_passes_is_what_plain_python_says(
    opened: Opened, tree: Filter, without: list[Path]
) -> None:
    store = opened.store
    if not len(store.photos_below(None)):
        opened.fill(made_photos(70))
    kept = And((tree, *(Not(Below(to_text(path))) for path in without)))
    assert ids_of(store, tree, without) == expected(store, kept)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=trees())
def test_sql_and_columns_agree(tmp_path: Path, tree: Filter) -> None:
    with Store.open(tmp_path / "library", create=True) as store:
        if not len(store.photos_below(None)):
            with store.writing():
                store.add_model(ONE)
                store.apply(made_photos(70), 1)
        wanted = expected(store, tree)
        with store._db.reading():
            assert sorted(store._selector._ids_passing(tree).tolist()) == wanted
            columns = CatalogColumns.read(store._db)
            assert columns.ids[passing(tree, columns)].tolist() == wanted
