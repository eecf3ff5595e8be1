"""What the photos of a library say, counted: whatever filters, tags and absent folders leave."""

from __future__ import annotations

from pathlib import Path

import pytest
from plain_facets import facets_of

from clipsearch import FacetCount, Facets, InvalidInput, Library, LibraryNotFound, SearchOptions
from clipsearch.photos.formats import type_names


def expected(library: Library, ids: list[int]) -> Facets:
    photos = library.photos(ids)
    tags = {hit.id: hit.tags for hit in library.list(k=1000, include_away=True)}
    return facets_of(photos, [one.path for one in library.folders()], tags)


def test_what_filters_leave_is_counted_with_its_tags(small_library: Path) -> None:
    with Library(small_library / "library", device="cpu") as library:
        library.tag(["dog", "boat"])
        everything = [hit.id for hit in library.list(k=100)]
        found = library.facets()
        assert found == expected(library, everything)
        assert found.total == 5
        assert sum(one.photos for one in found.tags) >= 5
        trip = SearchOptions.of(None, {"in_": "trip", "k": 100})
        assert library.facets(trip) == expected(library, [hit.id for hit in library.list(trip)])
        assert library.facets(in_="trip").total == 2
        assert library.facets(k=1, offset=3, sort="path", relevant=True) == found
        library.tag(off=True)
        assert library.facets().tags == ()
        with pytest.raises(InvalidInput, match="no date"):
            library.facets(after="some day")


def test_each_value_finds_as_many_photos_by_its_filter(small_library: Path) -> None:
    with Library(small_library / "library", device="cpu") as library:
        found = library.facets()
        for keyword, counts in (
            ("in_", found.folders),
            ("type", found.types),
            ("orientation", found.orientations),
        ):
            assert counts
            for value, photos in counts:
                assert len(library.list(k=100, **{keyword: value})) == photos
        assert {one.value for one in found.types} <= set(type_names())


def test_folders_that_are_away_count_only_where_they_are_asked_for(small_library: Path) -> None:
    photos = small_library / "photos"
    photos.rename(small_library / "elsewhere")
    with Library(small_library / "library", read_only=True) as library:
        assert library.facets() == Facets()
        found = library.facets(include_away=True)
        assert found.folders == (FacetCount(f"{photos}", 5), FacetCount(f"{photos / 'trip'}", 2))


def test_a_library_without_photos_says_so(tmp_path: Path) -> None:
    with Library(tmp_path / "library") as library, pytest.raises(LibraryNotFound):
        library.facets()
