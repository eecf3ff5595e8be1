"""Conditions in SQL: what they find, and that they can do nothing but compare, and not for long."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from every_store import ONE, unit_vectors

from clipsearch.errors import InvalidInput, LibraryDamaged
from clipsearch.index import where
from clipsearch.index.changes import Embedded
from clipsearch.index.filters import EVERYTHING, Compare
from clipsearch.index.records import FileState, PhotoMetadata
from clipsearch.index.store import Store


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("where") / "library"
    vectors = unit_vectors(4)
    photos = [
        (
            "/p/a/IMG_1.jpg",
            PhotoMetadata(4000, 3000, "JPEG", taken_at="2021-07-14", camera="Pixel"),
        ),
        ("/p/a/b.c/é'\"%.png", PhotoMetadata(300, 400, "PNG", latitude=47.0, longitude=8.0)),
        ("/top.jpg", PhotoMetadata(400, 0, "JPEG", taken_at="2022-01-01T10:00:00")),
        ("/p/IMG_2.jpg", PhotoMetadata(4000, 2000, "JPEG", camera="NIKON")),
    ]
    with Store.open(folder, create=True) as store, store.writing():
        store.add_model(ONE)
        files = [FileState(Path(path), 10, 100) for path, _ in photos]
        known = zip(files, photos, vectors, strict=True)
        store.apply([Embedded(file, str(file.path), of[1], one) for file, of, one in known], 1)
    return folder


@pytest.fixture
def store(library: Path) -> Iterator[Store]:
    with Store.open(library, read_only=True) as store:
        yield store


def found(store: Store, condition: str, **given: object) -> list[int]:
    selected = store.select(where=condition, **given)  # type: ignore[arg-type]
    assert selected is not None
    assert not selected.all_but
    return selected.ids.tolist()


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        ("width > 3000", [1, 4]),
        ("width > 3000 AND camera LIKE 'pix%'", [1]),
        ("width > 3000 -- only the large ones", [1, 4]),
        ("name = 'IMG_1.jpg' OR name = 'é''\"%.png'", [1, 2]),
        ("folder = '/p/a'", [1]),
        ("folder = '/'", [3]),
        ("path GLOB '/p/*'", [1, 2, 4]),
        ("moment < '2022'", [1]),
        ("moment = '2021-07-14T00:00:00'", [1]),
        ("moment IS NULL", [2, 4]),
        ("NOT camera = 'Pixel'", [4]),
        ("aspect > 1.5", [4]),
        ("width > (SELECT avg(width) FROM photo)", [1, 4]),
        ("latitude BETWEEN 46 AND 48", [2]),
        ("tags IS NULL AND words IS NULL AND place IS NULL AND bytes = 10", [1, 2, 3, 4]),
        ("0", []),
    ],
)
def test_a_condition_selects_photos(store: Store, condition: str, ids: list[int]) -> None:
    assert found(store, condition) == ids


def test_a_condition_goes_with_filters_and_folders_that_are_away(store: Store) -> None:
    large = Compare("width", ">", 350)
    assert found(store, "format = 'JPEG'", filters=large, without=[Path("/p/a")]) == [3, 4]
    assert found(store, "format = 'PNG'", filters=large) == []


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("colour = 1", "no such column: colour; a photo has id, path,"),
        ("width >", "syntax error"),
        ("", "syntax error"),
        ("1; DELETE FROM photos", "syntax error"),
        ("1) UNION SELECT (1", "syntax error"),
        ("1) THEN 1 END UNION SELECT CASE WHEN (1", "one condition"),
        ("width = ?", "no parameters"),
        ("width = :a", "no parameters"),
        ("a\0b", "one condition"),
        ("name = '\udcff'", "one condition"),
        ("load_extension('x')", "load_extension"),
        ("length(zeroblob(1000000000))", "zeroblob"),
        ("id IN (SELECT photo_id FROM embeddings)", "embeddings"),
        ("id IN (SELECT 1 FROM sqlite_master)", "compare what the catalog says|not authorized"),
        ("id IN (SELECT 1 FROM pragma_table_info('photos'))", "not authorized"),
        (
            "id IN (WITH RECURSIVE n AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT 1 FROM n)",
            "only",
        ),
        ("count(*) > 1", "misuse of aggregate"),
        ("abs(-9223372036854775808)", "integer overflow"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(store: Store, condition: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as raised:
        store.select(where=condition)
    assert "\n" not in str(raised.value)
    assert found(store, "width > 3000") == [1, 4]
    assert len(store.photos([1, 2, 3, 4])) == 4, "the connection does the rest as before"


def test_a_condition_that_takes_long_is_given_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, "SECONDS", 0.05)
    long = " CROSS JOIN ".join(f"photo AS p{number}" for number in range(14))
    with pytest.raises(InvalidInput, match=r"longer than 0\.05 seconds"):
        store.select(where=f"EXISTS (SELECT 1 FROM {long} WHERE p1.width + p9.width < 0)")
    assert found(store, "width > 3000") == [1, 4]


def test_a_damaged_catalog_is_no_mistake_in_the_condition(library: Path, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    with closing(sqlite3.connect(library / "catalog.sqlite")) as whole:
        page = whole.execute("SELECT rootpage FROM sqlite_master WHERE name = 'photos'").fetchone()[
            0
        ]
        size = whole.execute("PRAGMA page_size").fetchone()[0]
        with closing(sqlite3.connect(folder / "catalog.sqlite")) as copy:
            whole.backup(copy)
    with (folder / "catalog.sqlite").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    with Store.open(folder, read_only=True) as store, pytest.raises(LibraryDamaged):
        store.select(EVERYTHING, where="width > 1")
