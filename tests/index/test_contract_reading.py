"""What every store that is searched must hold: the first part of index/interface.py."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from every_store import (
    OTHER,
    PHOTOS,
    STRANGE,
    WIDTH,
    Kind,
    Opened,
    every_kind,
    names,
    photo,
    state,
    unit_vectors,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsearch.errors import InvalidInput, LibraryClosed, LibraryError
from clipsearch.index.changes import (
    Change,
    Copied,
    Exclude,
    Failed,
    Gone,
    KeepFolder,
    Moved,
    Scanned,
    SeenMount,
    UseModel,
)
from clipsearch.index.filters import EVERYTHING
from clipsearch.index.interface import SearchableStore, WritableStore
from clipsearch.index.records import RAW, Exclusion, PhotoMetadata
from clipsearch.index.selection import Selection

QUERIES = unit_vectors(3, seed=1000)
pytestmark = every_kind


@pytest.fixture
def opened(kind: Kind, tmp_path: Path) -> Iterator[Opened]:
    with kind.opened(tmp_path / "library") as opened:
        yield opened


@pytest.fixture
def filled(opened: Opened) -> Iterator[SearchableStore]:
    """Return a store of 180 photos in five folders: some moved, some gone, many the same."""
    vectors = unit_vectors(200)
    vectors[::6] = vectors[0]
    photos = [photo(f"{n % 5}/{n}.jpg", vectors[n]) for n in range(200)]
    opened.fill(photos[:120], photos[120:170], photos[170:195], photos[195:])
    opened.fill([Gone(id_) for id_ in range(5, 200, 10)], [Moved(2, state("moved.jpg"))])
    reader = opened.reader()
    yield reader
    reader.close()


def stored(store: SearchableStore) -> tuple[np.ndarray, np.ndarray]:
    ids = store.photos_below(None)
    return ids, store.vectors(1, ids.tolist())


def assert_nearest(
    found: tuple[np.ndarray, np.ndarray],
    ids: np.ndarray,
    vectors: np.ndarray,
    k: int,
    queries: np.ndarray = QUERIES,
) -> None:
    """Compare hits with numpy's over the photos that may be found."""
    scores, hits = found
    assert (scores.dtype, hits.dtype) == (np.float32, np.int64)
    assert scores.shape == hits.shape == (len(queries), k)
    for query, row_scores, row_hits in zip(queries, scores, hits, strict=True):
        cosines = vectors.astype(np.float64) @ query
        best = np.lexsort((ids, -cosines.round(9)))[:k]
        assert row_hits[: len(best)].tolist() == ids[best].tolist()
        np.testing.assert_allclose(row_scores[: len(best)], cosines[best], atol=2e-6)
        assert (row_hits[len(best) :] == -1).all()
        assert np.isneginf(row_scores[len(best) :]).all()


# Searching


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_nearest_of_any_selection_are_found(
    filled: SearchableStore, data: st.DataObject
) -> None:
    ids, vectors = stored(filled)
    named = data.draw(st.lists(st.integers(-3, 260) | st.sampled_from(ids.tolist())))
    k = data.draw(st.sampled_from([1, 2, 9, 50, 300]))
    exact = data.draw(st.booleans())
    keep = np.isin(ids, named)
    for selected, kept in (
        (Selection.only_these(named), keep),
        (Selection.all_but_these(named), ~keep),
        (None, np.full(len(ids), True)),
    ):
        found = filled.search(1, QUERIES, k, selected=selected, exact=exact)
        assert_nearest(found, ids[kept], vectors[kept], k)


def test_photos_that_tie_come_by_id(opened: Opened) -> None:
    vector = unit_vectors(1)[0]
    opened.fill([photo(f"{n}", vector, f"{n}") for n in (3, 1, 2)], [photo("far", -vector)])
    opened.fill([Copied(1, state(f"copy {n}")) for n in range(4)])
    found = opened.reader().search(1, vector[None], 9)[1]
    assert found.tolist() == [[1, 2, 3, 5, 6, 7, 8, 4, -1]]


def test_an_empty_store_finds_nothing(opened: Opened) -> None:
    reader = opened.reader()
    for selected in (None, Selection.only_these([1]), Selection.all_but_these([])):
        scores, ids = reader.search(1, QUERIES, 2, selected=selected)
        assert np.isneginf(scores).all()
        assert (ids == -1).all()
    assert reader.search(1, QUERIES[:0], 2)[1].shape == (0, 2)
    assert reader.photos_below(None).tolist() == []
    assert reader.describe(None).photos == 0


@pytest.mark.parametrize(
    "queries",
    [
        np.full((1, WIDTH), np.nan, np.float32),
        np.full((1, WIDTH), np.inf, np.float32),
        np.ones((1, WIDTH + 1), np.float32),
        np.ones(WIDTH, np.float32),
    ],
    ids=["NaN", "infinite", "another width", "one dimension"],
)
def test_what_is_no_query_is_refused(opened: Opened, queries: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="finite"):
        opened.reader().search(1, queries, 1)


def test_each_model_has_its_own_vectors(opened: Opened) -> None:
    opened.fill([photo("a", unit_vectors(1)[0])])
    small = unit_vectors(1, 5, OTHER.width)
    opened.store.apply([photo("a", small[0]), photo("b", -small[0])], 2)
    reader = opened.reader()
    a, b = names(reader)["a"], names(reader)["b"]
    assert reader.search(1, QUERIES, 2)[1].tolist() == [[a, -1]] * 3
    assert reader.search(2, small, 2)[1].tolist() == [[a, b]]
    np.testing.assert_allclose(reader.vectors(2, [b, a]), [-small[0], small[0]], atol=1e-3)
    assert reader.vectors(1, []).shape == (0, WIDTH)
    with pytest.raises(LibraryError):
        reader.vectors(1, [b])
    with pytest.raises(LibraryError):
        reader.search(3, QUERIES, 2)


# Selecting


def test_photos_below_paths_are_left_out_whatever_their_names(opened: Opened) -> None:
    vectors = unit_vectors(2 * len(STRANGE))
    places = [Path(name) / part for name in STRANGE for part in ("", "inner.jpg")]
    opened.fill([photo(place, vector) for place, vector in zip(places, vectors, strict=True)])
    reader = opened.reader()
    ids, rows = stored(reader)
    known = names(reader)
    assert known.keys() == {str(place) for place in places}
    for name in STRANGE:
        below = sorted(known[str(Path(name) / part)] for part in ("", "inner.jpg"))
        assert reader.photos_below([PHOTOS / name]).tolist() == below
        selected = reader.select(EVERYTHING, [PHOTOS / name])
        keep = ~np.isin(ids, below)
        found = reader.search(1, QUERIES, 50, selected=selected)
        assert_nearest(found, ids[keep], rows[keep], 50)
    for place in places:
        assert [one.photo.id for one in reader.photos_at([PHOTOS / place])] == [known[str(place)]]
    both = [PHOTOS / STRANGE[0], PHOTOS / STRANGE[1] / "inner.jpg", PHOTOS / STRANGE[0]]
    assert len(reader.photos_below(both)) == 3
    everything = reader.select(EVERYTHING, [Path("/")])
    assert (reader.search(1, QUERIES, 3, selected=everything)[1] == -1).all()


def test_a_selection_of_nothing_left_out_finds_all(filled: SearchableStore) -> None:
    assert filled.select(EVERYTHING, []) is None
    selected = filled.select(EVERYTHING, [Path("/nowhere"), PHOTOS / "9"])
    found = filled.search(1, QUERIES, 20, selected=selected)
    np.testing.assert_array_equal(found[1], filled.search(1, QUERIES, 20)[1])


# Looking


def test_photos_are_known_by_id_place_and_content(filled: SearchableStore) -> None:
    known = filled.photos([1, 2, 5, 10**12])
    assert known.keys() == {1, 2}
    assert known[2].file == state("moved.jpg")
    (same,) = filled.photos_with_content("hash of 1/1.jpg")
    assert (same.photo, same.embedded_by) == (known[2], {1})
    assert filled.photos_with_content("no such") == []
    asked = ["no such", "hash of 1/1.jpg", "hash of 0/0.jpg", "'"]
    assert filled.known_content(asked) == {"hash of 1/1.jpg", "hash of 0/0.jpg"}
    assert filled.known_content([]) == set()
    there = [PHOTOS / "moved.jpg", PHOTOS / "1/1.jpg", PHOTOS / "0/0.jpg", PHOTOS / "0/0.jpg"]
    assert [one.photo.id for one in filled.photos_at(there)] == [1, 2]
    assert filled.photos_at(there[:1])[0] == same
    assert filled.photos_at([]) == []
    assert filled.photos_below([PHOTOS / "1", PHOTOS / "moved.jpg"])[:2].tolist() == [2, 7]
    assert filled.photos_below([]).tolist() == []
    assert len(filled.photos_below(None)) == filled.describe(1).photos == 180


def test_photos_are_counted_no_further_than_asked(filled: SearchableStore) -> None:
    for count_to, counted in ((None, 180), (7, 7), (0, 0), (10**12, 180)):
        one, other = filled.models(count_to=count_to)
        assert (one.id, one.photos, one.is_current) == (1, counted, False)
        assert (other.id, other.photos, other.identity) == (2, 0, OTHER)


def test_places_failures_and_the_current_model_are_told(opened: Opened) -> None:
    changes: list[Change] = [UseModel(2), UseModel(1), Scanned(PHOTOS / "none")]
    changes += [KeepFolder(PHOTOS / name, "file") for name in STRANGE]
    changes += [SeenMount(PHOTOS / name) for name in STRANGE]
    changes += [Exclude(Exclusion("path", str(PHOTOS / name))) for name in STRANGE]
    changes += [Exclude(Exclusion("pattern", name)) for name in STRANGE]
    changes += [Failed(state(name), f"{name} is broken") for name in STRANGE]
    opened.fill(changes, [Scanned(PHOTOS / STRANGE[0])])
    reader = opened.reader()
    places = reader.places()
    assert sorted(folder.path for folder in places.folders) == sorted(PHOTOS / n for n in STRANGE)
    assert sorted(places.mounts) == sorted(PHOTOS / name for name in STRANGE)
    whats = [str(PHOTOS / name) for name in STRANGE] + STRANGE
    assert [one.what for one in places.exclusions] == whats
    (scanned,) = (folder for folder in places.folders if folder.scanned_at is not None)
    assert scanned.path == PHOTOS / STRANGE[0]
    assert {failure.reason for failure in reader.failures()} == {f"{n} is broken" for n in STRANGE}
    (failure,) = reader.failures([PHOTOS / "trip"])
    assert failure.file == state("trip")
    assert [row.is_current for row in reader.models()] == [True, False]


def test_it_says_how_large_it_is(filled: SearchableStore) -> None:
    told = filled.describe(1)
    assert told.vectors is not None
    found = told.vectors.vectors + told.vectors.delta - told.vectors.removed
    assert found == told.photos == 180
    assert filled.describe(None).vectors is None


def test_raw_photos_are_told_from_others(opened: Opened) -> None:
    vectors = unit_vectors(4)
    raw = [
        replace(photo(name, vector), metadata=PhotoMetadata(4, 3, RAW))
        for name, vector in zip(("a.nef", "b.cr2"), vectors[:2], strict=True)
    ]
    opened.fill([raw[0], photo("a.jpg", vectors[2]), raw[1], photo("b.jpg", vectors[3])])
    reader = opened.reader()
    ids = names(reader)
    found = reader.raw_photos([ids["b.cr2"], ids["a.jpg"], ids["a.nef"], 10**12])
    assert [one.id for one in found] == sorted([ids["a.nef"], ids["b.cr2"]])
    assert found == [reader.photos([one.id])[one.id] for one in found]
    assert reader.raw_photos([ids["b.jpg"]]) == reader.raw_photos([]) == []


def test_nothing_can_be_asked_of_a_store_that_was_closed(opened: Opened) -> None:
    opened.fill([photo("a", unit_vectors(1)[0])])
    reader = opened.reader()
    reader.search(1, QUERIES, 1)
    reader.close()
    reader.close()
    questions = [
        lambda: reader.search(1, QUERIES, 1),
        lambda: reader.select(EVERYTHING, [PHOTOS]),
        lambda: reader.vectors(1, [1]),
        lambda: reader.photos([1]),
        lambda: reader.raw_photos([1]),
        lambda: reader.photos_with_content("h"),
        lambda: reader.known_content(["h"]),
        lambda: reader.photos_at([PHOTOS / "a"]),
        lambda: reader.photos_below(None),
        reader.models,
        reader.places,
        reader.failures,
        lambda: reader.describe(1),
        lambda: reader.reading().__enter__(),
    ]
    for ask in questions:
        with pytest.raises(LibraryClosed):
            ask()


# Beside a writer


def test_a_block_shows_one_state(opened: Opened) -> None:
    opened.fill([photo(f"{n}", unit_vectors(1, n)[0]) for n in range(30)])
    reader = opened.reader()
    for _ in range(2):  # with vectors that are opened in the block, and with those of before
        with reader.reading():
            before = stored(reader)
            first = reader.search(1, QUERIES, 50)
            gone = int(before[0][0])
            opened.fill([Gone(gone), photo(f"new {gone}", QUERIES[0])])
            with reader.reading():
                assert_nearest(reader.search(1, QUERIES, 50), *before, 50)
            np.testing.assert_array_equal(reader.search(1, QUERIES, 50)[1], first[1])
            assert gone in reader.photos([gone])
        assert reader.photos([gone]) == {}
        assert_nearest(reader.search(1, QUERIES, 50), *stored(reader), 50)


def test_threads_search_selections_of_their_own_while_another_writes(opened: Opened) -> None:
    """Each block of reading is compared with numpy over what it reads itself."""
    opened.fill([photo(f"{n}", unit_vectors(1, n)[0]) for n in range(60)])
    reader = opened.reader()
    done = threading.Event()

    def search(number: int) -> int:
        rounds = 0
        while not done.is_set() or rounds < 3:
            with reader.reading():
                ids, vectors = stored(reader)
                some = ids[number::4]
                keep = np.isin(ids, some)
                found = reader.search(1, QUERIES, 9, selected=Selection.only_these(some))
                assert_nearest(found, ids[keep], vectors[keep], 9)
                selected = reader.select(EVERYTHING, [PHOTOS / f"{number}"])
                keep = ~np.isin(ids, reader.photos_below([PHOTOS / f"{number}"]))
                found = reader.search(1, QUERIES, 9, selected=selected)
                assert_nearest(found, ids[keep], vectors[keep], 9)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(4) as pool:
        searching = [pool.submit(search, number) for number in range(4)]
        try:
            for step in range(12):
                new = [photo(f"{n}", unit_vectors(1, n + step)[0], f"{step}") for n in range(4)]
                more = [photo(f"step {step} {n}", unit_vectors(1, 99 + n)[0]) for n in range(5)]
                opened.fill([*new, *more, Gone(step + 10)])
        finally:
            done.set()
        assert all(rounds.result(timeout=60) >= 3 for rounds in searching)


def test_a_batch_is_seen_whole_or_not_at_all(opened: Opened) -> None:
    """Each gives all photos another content and vector, and there are two more."""
    reader = opened.reader()
    done = threading.Event()
    axes = np.eye(WIDTH, dtype=np.float32)
    query = np.arange(1, WIDTH + 1, dtype=np.float32)[None]

    def look() -> set[int]:
        seen = set()
        while not done.is_set():
            with reader.reading():
                scores, ids = reader.search(1, query, 60)
                photos = reader.photos([int(id_) for id_ in ids[0] if id_ != -1])
            versions = {int(score) for score in scores[0] if np.isfinite(score)}
            assert {one.content_hash for one in photos.values()} == {f"{v}" for v in versions}
            if versions:
                (version,) = versions
                assert len(photos) == 20 + 2 * version
                seen |= versions
        return seen

    with ThreadPoolExecutor(2) as pool:
        looking = [pool.submit(look) for _ in range(2)]
        try:
            for version in range(1, WIDTH + 1):
                count = 20 + 2 * version
                opened.fill([photo(f"{n}", axes[version - 1], f"{version}") for n in range(count)])
        finally:
            done.set()
        for seen in looking:
            assert seen.result(timeout=60) <= set(range(1, WIDTH + 1))


def test_a_store_says_itself_which_parts_it_offers(opened: Opened) -> None:
    assert isinstance(opened.store, WritableStore)
    assert isinstance(opened.reader(), SearchableStore)
    offers_writing = isinstance(opened.reader(), WritableStore)
    assert offers_writing == (opened.kind.name == "sqlite")  # which refuses it when it is asked


def test_vectors_are_those_of_the_state_also_where_they_lie_in_memory(opened: Opened) -> None:
    """They are read from the catalog outside of a block, and in one that has not searched yet."""
    vectors = unit_vectors(60)
    opened.fill([photo(f"{n}.jpg", vectors[n]) for n in range(30)])
    reader = opened.reader()
    chance = np.random.default_rng(1)
    for step in range(6):
        with reader.reading():
            reader.search(1, vectors[:1], 5)
            at = names(reader)
            asked = chance.permutation(list(at.values()))[:20].tolist()
            asked += asked[:2]
            for _ in range(3):
                found = reader.vectors(1, asked)
                assert found.dtype == np.float32
                stored = opened.store.vectors(1, asked)
                np.testing.assert_array_equal(found, stored)
            assert reader.vectors(1, []).shape == (0, WIDTH)
            gone = asked[0]
            opened.fill([Gone(gone)])
            assert len(reader.vectors(1, [gone])) == 1  # the block shows what it showed
        with reader.reading(), pytest.raises(LibraryError):
            reader.search(1, vectors[:1], 5)
            reader.vectors(1, [gone])
        opened.fill(
            [
                photo(f"{step + 1}.jpg", vectors[30 + step], f"changed {step}"),
                photo(f"new {step}.jpg", vectors[40 + step]),
            ]
        )
    reader.close()
