"""Which photos pass filters: SQL, columns in memory and every store agree with plain Python."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from every_store import ONE, Kind, Opened, every_kind
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from made_filters import (
    FOLDERS,
    made_photo,
    made_photos,
    trees,
)
from older_schema import back_to_schema_4
from plain_filters import passes

from clipsearch.errors import InvalidInput
from clipsearch.index import filter_columns
from clipsearch.index.changes import Change, Gone, Moved
from clipsearch.index.database import Database
from clipsearch.index.filter_arrays import passing
from clipsearch.index.filter_columns import CatalogColumns
from clipsearch.index.filters import (
    EVERYTHING,
    And,
    Below,
    Compare,
    Filter,
    Missing,
    Not,
    OneOf,
    Within,
)
from clipsearch.index.interface import SearchableStore
from clipsearch.index.paths import to_text
from clipsearch.index.records import FileState
from clipsearch.index.store import Store

PIXEL = Compare("camera", "has", "pixel")


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
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
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


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=trees())
def test_sql_and_columns_agree(spread: Store, tree: Filter) -> None:
    wanted = expected(spread, tree)
    with spread._db.reading():
        assert sorted(spread._selector._ids_passing(tree).tolist()) == wanted
        columns = CatalogColumns.read(spread._db)
        assert columns.ids[passing(tree, columns)].tolist() == wanted


ASKED: list[Filter] = [
    Compare("path", "has", "a"),
    Below("/p/a"),
    Compare("folder", "=", "é"),
    Compare("moment", ">", "2021-07-14"),
    OneOf("camera", ("pixel 7", "nandu")),
    Within(47.0, 8.0, 100.0),
    Compare("aspect", ">", 1.0),
    Missing("lens"),
]


@pytest.fixture
def spread(tmp_path: Path) -> Iterator[Store]:
    """Return a store, open for writing, whose photos lie in many blocks."""
    with Store.open(tmp_path / "library", create=True) as store, store.writing():
        store.add_model(ONE)
        for block in range(12):
            store._db.write(
                "UPDATE sqlite_sequence SET seq = ? WHERE name = 'photos'", (block << 10,)
            )
            store.apply(made_photos(9, first=100 * block), 1)
        yield store


def passing_now(columns: CatalogColumns) -> list[list[int]]:
    return [columns.ids[passing(tree, columns)].tolist() for tree in ASKED]


def test_columns_follow_all_changes_and_read_no_more_than_the_blocks_that_changed(
    spread: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(5)
    read: list[str] = []
    values = filter_columns._values

    def counted(db: Database, field: str, texts: dict[str, int] | None, where: str) -> np.ndarray:
        read.append(where)
        return values(db, field, texts, where)

    monkeypatch.setattr(filter_columns, "_values", counted)
    columns = CatalogColumns.read(spread._db)
    passing_now(columns)
    for step in range(25):
        ids = spread.photos_below(None).tolist()
        one, other = chance.sample(ids, 2)
        changes: list[list[Change]] = [
            [Gone(one)],
            [Moved(one, FileState(Path(f"/p/a/moved {step}.jpg"), 10, 100)), Gone(other)],
            [made_photo(1000 + step, f"/p/é/new {step}.jpg")],
            [replace(made_photo(2000 + step, "/"), file=spread.photos([one])[one].file)],
        ]
        spread.apply(changes[step % 4], 1)
        read.clear()
        columns = columns.followed()
        assert "" not in read, "all photos were read again"
        assert len(set(read)) <= 2
        assert passing_now(columns) == [expected(spread, tree) for tree in ASKED]
        assert "" not in read


def test_another_state_has_other_photos_whoever_committed_it(spread: Store) -> None:
    with Store.open(spread.folder, read_only=True) as reader:
        for step in range(6):
            for tree in ASKED[:4]:
                assert ids_of(reader, tree) == expected(spread, tree)
            spread.apply([made_photo(step, f"/p/a/{step} a.jpg"), Gone(step + 3)], 1)


def test_a_block_shows_one_state_to_filters_too(spread: Store) -> None:
    tree = Below("/p/a")
    with Store.open(spread.folder, read_only=True) as reader:
        for _ in range(2):  # by SQL, then by columns
            with reader.reading():
                before = ids_of(reader, tree)
                spread.apply([Gone(before[0])], 1)
                assert ids_of(reader, tree) == before
                assert ids_of(reader, Not(tree)) == expected(reader, Not(tree))
            assert ids_of(reader, tree) == before[1:]


def test_a_library_of_an_older_schema_is_filtered_as_it_is(spread: Store, tmp_path: Path) -> None:
    folder = tmp_path / "older"
    folder.mkdir()
    spread._db.copy_to(folder / "catalog.sqlite")
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as older:
        older.execute("PRAGMA recursive_triggers = ON")
        back_to_schema_4(older)
        older.commit()
    with Store.open(folder, read_only=True) as store:
        for _ in range(2):
            for tree in ASKED:
                assert ids_of(store, tree) == ids_of(spread, tree)
            assert ids_of(store, Missing("place")) == spread.photos_below(None).tolist()
            assert ids_of(store, Compare("tag", "=", "beach")) == []


def test_only_a_few_selections_are_kept(spread: Store) -> None:
    for width in range(100):
        assert ids_of(spread, Compare("width", ">", width)) == expected(
            spread, Compare("width", ">", width)
        )
    assert len(spread._selector._known.selections) <= 16


def test_what_passes_is_named_by_the_smaller_part(spread: Store) -> None:
    spread.select(PIXEL)
    few, many = spread.select(PIXEL), spread.select(~PIXEL)
    assert few is not None
    assert many is not None
    assert (few.all_but, many.all_but) == (False, True)
    assert few.ids.tolist() == many.ids.tolist()
    assert spread.select(Compare("width", ">", 0)) is None
    assert spread.select(EVERYTHING) is None


def test_threads_select_in_states_of_their_own_while_another_commits(spread: Store) -> None:
    with Store.open(spread.folder, read_only=True) as reader:

        def select(number: int) -> None:
            for step in range(6):
                tree = ASKED[(number + step) % len(ASKED)]
                with reader.reading():
                    assert ids_of(reader, tree) == expected(reader, tree)
                    assert ids_of(reader, ~tree) == expected(reader, ~tree)

        with ThreadPoolExecutor(5) as pool:
            running = [pool.submit(select, number) for number in range(5)]
            for step in range(20):
                spread.apply(
                    [made_photo(step, f"/p/a/{step}.jpg"), Gone(1 + 1024 * (step % 12))], 1
                )
            for one in running:
                one.result()


@every_kind
def test_only_the_librarys_own_store_knows_sql(opened: Opened) -> None:
    opened.fill(made_photos(5))
    if opened.kind.name == "memory":
        with pytest.raises(InvalidInput, match="no SQL"):
            opened.store.select(EVERYTHING, [], "width > 0")
    else:
        selected = opened.store.select(EVERYTHING, [], "id = 2")
        assert selected is not None
        assert selected.ids.tolist() == [2]


@pytest.mark.parametrize("without", [[], [Path("/p/a")]])
@pytest.mark.parametrize(
    "tree",
    [~PIXEL, ~PIXEL & ~Missing("lens"), ~PIXEL & Missing("lens"), ~(~PIXEL & Missing("lens"))],
)
def test_a_single_question_names_what_must_not_pass(
    spread: Store, tree: Filter, without: list[Path]
) -> None:
    with Store.open(spread.folder, read_only=True) as reader:
        kept = And((tree, *(Not(Below(to_text(path))) for path in without)))
        assert ids_of(reader, tree, without) == expected(spread, kept)
        selected = reader.select(tree, without)
        assert selected is not None
        assert selected.all_but == (tree != ~PIXEL & Missing("lens"))


def test_tags_are_what_a_photo_has_any_number_of(spread: Store) -> None:
    ids = spread.photos_below(None).tolist()
    tagged = {"Rex": ids[::3], "café": ids[::4], "beach": ids[5:9], "nothing": []}
    for number, (name, photos) in enumerate(tagged.items(), 1):
        spread._db.write("INSERT INTO tags (id, name, kind) VALUES (?, ?, 'word')", (number, name))
        for id_ in photos:
            columns = "(tag_id, photo_id, score, said_by)"
            sql = f"INSERT INTO photo_tags {columns} VALUES (?, ?, 1, 'model')"
            spread._db.write(sql, (number, id_))
    tags = {id_: frozenset(name for name in tagged if id_ in tagged[name]) for id_ in ids}
    photos_now = spread.photos(ids)
    for tree in (
        Compare("tag", "=", "rex"),
        Compare("tag", "has", "CAF"),
        OneOf("tag", ("cafe", "beach")),
        Compare("tag", "=", "rex") & ~Compare("tag", "=", "beach"),
        Missing("tag"),
        Compare("tag", "=", "nothing"),
    ):
        wanted = [id_ for id_ in ids if passes(tree, photos_now[id_], tags[id_])]
        with Store.open(spread.folder, read_only=True) as reader:
            assert ids_of(reader, tree) == wanted
            reader.select(PIXEL)
            assert ids_of(reader, And((tree,))) == wanted
    spread._db.write("DELETE FROM photo_tags WHERE photo_id = ?", (ids[0],))
    assert ids[0] not in ids_of(spread, Compare("tag", "=", "rex"))
    selected = spread.select(where="tags LIKE '%Rex%' AND tags LIKE '%café%'")
    assert selected is not None
    assert selected.ids.tolist() == ids[12::12]
