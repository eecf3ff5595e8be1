"""Places are named by `index`, where a gazetteer is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from clipsearch import Library
from clipsearch.asking import gazetteer
from clipsearch.asking.gazetteer import Town, TownFinder

TOWNS = (
    Town("Prague", "CZ", 50.088, 14.42, 1_200_000),
    Town("Paris", "FR", 48.85, 2.35, 2_000_000),
)


@pytest.fixture
def with_positions(small_library: Path) -> Path:
    """Return a library in which three photos know where they were taken."""
    with sqlite3.connect(small_library / "library" / "catalog.sqlite") as catalog:
        for id_, position in ((1, (50.1, 14.4)), (2, (48.9, 2.3)), (3, (30.0, -40.0))):
            sql = "UPDATE photos SET latitude = ?, longitude = ?, place = NULL WHERE id = ?"
            catalog.execute(sql, (*position, id_))
    catalog.close()
    return small_library / "library"


def named(library: Path) -> dict[int, str | None]:
    with Library(library, read_only=True) as opened:
        return {hit.id: hit.place for hit in opened.list(k=100)}


def test_a_photo_gets_its_place_without_being_opened(
    with_positions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []

    def finder() -> TownFinder:
        made.append(None)
        return TownFinder(TOWNS)

    monkeypatch.setattr(gazetteer, "is_installed", lambda: True)
    monkeypatch.setattr(gazetteer, "town_finder", finder)
    with Library(with_positions) as library:
        report = library.index()
        assert (report.embedded, report.failed, len(made)) == (0, 0, 1)
        assert {hit.id for hit in library.list(near=(50.1, 14.4))} == {1}
        assert len(library.list(missing="place", k=100)) == 3
        library.index()
        assert len(made) == 1  # that there is no name at sea is known
    assert named(with_positions) == {1: "Prague, CZ", 2: "Paris, FR", 3: None, 4: None, 5: None}


def test_without_a_gazetteer_places_have_no_names_until_it_comes(
    with_positions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gazetteer, "is_installed", lambda: False)
    with Library(with_positions) as library:
        library.index()
    assert set(named(with_positions).values()) == {None}
    monkeypatch.setattr(gazetteer, "is_installed", lambda: True)
    monkeypatch.setattr(gazetteer, "town_finder", lambda: TownFinder(TOWNS))
    with Library(with_positions) as library:
        library.index()
    assert named(with_positions)[1] == "Prague, CZ"
