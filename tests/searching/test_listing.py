"""Photos without a question."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from clipsearch import InvalidInput, Library, LibraryNotFound
from clipsearch.searching import listing


def test_photos_are_listed_by_path_or_date_and_page_by_page(small_library: Path) -> None:
    with Library(small_library / "library", read_only=True) as library:
        everything = library.list(sort="path", k=100)
        paths = [hit.path for hit in everything]
        assert len(paths) == 5
        assert paths == sorted(paths)
        pages = [library.list(sort="path", k=2, offset=start) for start in (0, 2, 4, 6)]
        assert [hit for page in pages for hit in page] == list(everything)
        assert [hit.rank for hit in pages[1]] == [3, 4]
        dates = [hit.taken_at for hit in library.list(k=100)]
        known = [one for one in dates if one]
        assert dates == sorted(known, reverse=True) + [None] * (len(dates) - len(known))


def test_filters_choose_what_is_listed(small_library: Path) -> None:
    with Library(small_library / "library", read_only=True) as library:
        trip = library.list(in_="trip", k=100)
        assert {hit.path.parent.name for hit in trip} == {"trip"}
        assert len(trip) == 2
        assert library.list(in_=small_library / "photos" / "trip") == trip
        assert library.list(min_width=100_000) == []
        assert {(hit.score, hit.why) for hit in trip} == {(0.0, ())}
        with pytest.raises(InvalidInput, match="no date"):
            library.list(after="some day")


@pytest.mark.parametrize("few", [1000, 0])
def test_a_raw_photo_behind_its_picture_is_not_listed(
    few: int, small_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_FEW", few)
    with sqlite3.connect(small_library / "library" / "catalog.sqlite") as catalog:
        (path,) = catalog.execute("SELECT path FROM photos WHERE id = 1").fetchone()
        raw = f"{path.removesuffix('.jpg')}.dng"
        sql = "UPDATE photos SET taken_at = '2021-07-14T10:00:00', camera = 'X' WHERE id IN (1, 2)"
        catalog.execute(sql)
        catalog.execute("UPDATE photos SET path = ?, format = 'RAW' WHERE id = 2", (raw,))
    catalog.close()
    with Library(small_library / "library", read_only=True) as library:
        pages = [library.list(sort="path", k=2, offset=start) for start in (0, 2, 4)]
        assert sorted(hit.id for page in pages for hit in page) == [1, 3, 4, 5]
        assert [len(page) for page in pages] == [2, 2, 0]
        assert [hit.id for hit in library.list(type="raw")] == [2]


def test_folders_that_are_away_are_left_out(small_library: Path) -> None:
    photos, elsewhere = small_library / "photos", small_library / "elsewhere"
    os.rename(photos, elsewhere)  # noqa: PTH104
    with Library(small_library / "library", read_only=True) as library:
        found = library.list()
        assert found == []
        assert [one.path for one in found.left_out] == [photos]
        assert len(library.list(include_away=True)) == 5


def test_a_library_without_photos_says_so(tmp_path: Path) -> None:
    with Library(tmp_path / "library") as library, pytest.raises(LibraryNotFound):
        library.list()
