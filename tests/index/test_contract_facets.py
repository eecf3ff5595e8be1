"""What every store must hold: what its photos say, counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from every_store import PHOTOS, Kind, Opened, every_kind, photo, unit_vectors
from hypothesis import HealthCheck, given, settings
from made_filters import made_photos, trees
from plain_facets import facets_of

from clipsearch.index.changes import Embedded, Gone, KeepFolder
from clipsearch.index.facets import FacetCount, Facets
from clipsearch.index.interface import SearchableStore
from clipsearch.index.selection import Selection

pytestmark = every_kind


@pytest.fixture
def opened(kind: Kind, tmp_path: Path) -> Iterator[Opened]:
    with kind.opened(tmp_path / "library") as opened:
        yield opened


def saying(name: str, **said: object) -> Embedded:
    one = photo(name, unit_vectors(1)[0])
    return replace(one, metadata=replace(one.metadata, **said))


def expected(store: SearchableStore, ids: list[int]) -> Facets:
    roots = [one.path for one in store.places().folders if one.kind == "folder"]
    return facets_of(list(store.photos(ids).values()), roots)


def test_photos_are_counted_by_all_that_they_say(opened: Opened) -> None:
    opened.fill(
        [
            KeepFolder(PHOTOS, "folder"),
            KeepFolder(PHOTOS / "single.jpg", "file"),
            saying("a/b/1.jpg", taken_at="2021-07-14T10:00:00", camera="Pixel 7", lens="50mm"),
            saying("a/b/2.jpg", taken_at="2021-07-31", camera="Pixel 7", width=3, height=4),
            saying("a/3.jpg", taken_at="2020-12-31T23:59:59", format="MPO", place="Zürich"),
            saying("single.jpg", format="RAW", width=3, height=3, camera="D750"),
            saying("/elsewhere/4.heic", format="HEIF", place=""),
        ]
    )
    found = opened.store.facets(None)
    assert (found.total, found.undated, found.others) == (5, 2, {})
    assert found.dates == (FacetCount("2020-12", 1), FacetCount("2021-07", 2))
    assert found.cameras == (FacetCount("Pixel 7", 2), FacetCount("D750", 1))
    assert found.lenses == (FacetCount("50mm", 1),)
    assert found.places == (FacetCount("Zürich", 1),)
    assert found.types == (FacetCount("jpeg", 3), FacetCount("heif", 1), FacetCount("raw", 1))
    assert found.orientations == (
        FacetCount("landscape", 3),
        FacetCount("portrait", 1),
        FacetCount("square", 1),
    )
    assert found.folders == (
        FacetCount("/photos", 4),
        FacetCount("/photos/a", 3),
        FacetCount("/photos/a/b", 2),
        FacetCount("/elsewhere", 1),
    )
    assert opened.store.facets(Selection.only_these([])) == Facets()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=trees())
def test_what_passes_filters_is_counted_alone(opened: Opened, tree) -> None:
    store = opened.store
    if not len(store.photos_below(None)):
        opened.fill([KeepFolder(Path("/p"), "folder"), *made_photos(70)])
    selected = store.select(tree, [])
    ids = store.photos_below(None)
    passing = ids if selected is None else ids[selected.holds(ids)]
    wanted = expected(store, passing.tolist())
    for _ in range(2):  # what is kept is the same
        assert store.facets(selected) == wanted


def test_what_is_committed_is_counted(opened: Opened) -> None:
    reader = opened.reader()
    opened.fill(made_photos(30))
    for step in range(4):
        ids = reader.photos_below(None).tolist()
        assert reader.facets(None) == expected(reader, ids)
        opened.fill([Gone(ids[0]), *made_photos(3, first=100 + step)])
    reader.close()


def test_a_hundred_values_of_each_kind_are_told_and_all_months(opened: Opened) -> None:
    day = date(2000, 1, 1)
    opened.fill(
        [
            saying(
                f"{n}/a.jpg",
                camera=f"camera {n:03}",
                taken_at=f"{day + timedelta(31 * n)}",
            )
            for n in range(130)
        ]
        + [saying("129/b.jpg", camera="camera 129")]
    )
    found = opened.store.facets(None)
    assert found == expected(opened.store, opened.store.photos_below(None).tolist())
    assert found.others == {"cameras": 30, "folders": 30}
    assert found.cameras[:2] == (FacetCount("camera 129", 2), FacetCount("camera 000", 1))
    assert len(found.dates) == 130


def test_facets_go_through_json(opened: Opened) -> None:
    opened.fill(made_photos(40))
    found = opened.store.facets(None)
    told = json.loads(json.dumps(found.to_dict()))
    assert Facets.from_dict(told) == found
    assert told["dates"][0].keys() == {"month", "count"}
    assert {"path": "/p/a/b", "name": "b"}.items() <= next(
        one for one in told["folders"] if one["path"] == "/p/a/b"
    ).items()
    assert {"value", "count"} == told["cameras"][0].keys()
