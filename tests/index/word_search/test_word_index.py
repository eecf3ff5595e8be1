"""The index of words survives whatever happens to it: it is made anew from the rest."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from every_store import ONE as MODEL
from every_store import PHOTOS, photo, unit_vectors

from clipsearch.index.changes import KeepFolder, UseModel
from clipsearch.index.store import Store
from clipsearch.index.upkeep.checking import check_catalog
from clipsearch.index.upkeep.repairing import repair_catalog
from clipsearch.index.word_search.word_index import words_of_path

VECTORS = unit_vectors(4)
NAMES = ("cat.jpg", "dog and cat.jpg", "IMG_1.jpg")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    with Store.open(folder, create=True) as store, store.writing():
        store.add_model(MODEL)
        changes = [photo(name, VECTORS[n]) for n, name in enumerate(NAMES)]
        store.apply([KeepFolder(PHOTOS, "folder"), UseModel(1), *changes], 1)
    return folder


def run_sql(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)) as catalog:
        for sql in statements:
            catalog.execute(sql)


def found(folder: Path, word: str) -> list[int]:
    with Store.open(folder, read_only=True) as store:
        return store.find_words([word]).photo_ids.tolist()


def missing(folder: Path) -> int:
    with Store.open(folder, read_only=True) as store:
        return store.find_words(["cat"]).missing


def write(folder: Path) -> None:
    with Store.open(folder) as store, store.writing():
        pass


OUTER = "DELETE FROM sqlite_master WHERE name = 'word_index'"
DAMAGES = {
    "missing": ["DROP TABLE word_index"],
    "its pages overwritten": ["UPDATE word_index_data SET block = x'0123456789abcdef'"],
    "its pages gone": ["DELETE FROM word_index_data"],
    "a table of it gone": ["DROP TABLE word_index_content"],
    "a table that it needs gone": ["DROP TABLE word_index_data"],
    "its version gone": ["DELETE FROM word_index_config"],
    "another definition": [
        "DROP TABLE word_index",
        "CREATE VIRTUAL TABLE word_index USING fts5(words, path)",
    ],
    "another table": ["DROP TABLE word_index", "CREATE TABLE word_index (words)"],
    "a view": [
        "DROP TABLE word_index",
        "CREATE VIEW word_index AS SELECT id AS rowid, path AS words FROM photos",
    ],
    "a view in place of a table of it": [
        "DROP TABLE word_index_data",
        "CREATE VIEW word_index_data AS SELECT 1 AS id, x'00' AS block",
    ],
    "only its tables": ["PRAGMA writable_schema = ON", OUTER],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_an_index_that_is_no_good_is_made_anew_by_whoever_writes(
    library: Path, damage: list[str]
) -> None:
    run_sql(library, *damage)
    with Store.open(library, read_only=True) as store:
        assert store.find_words(["cat"]).missing in (0, 3)  # it is no reason to fail
        assert store.search(1, VECTORS[:1], 3)[1].tolist()[0][0] == 1
    with Store.open(library) as store, store.writing():
        store.apply([photo("lion.jpg", VECTORS[3])], 1)
        store.make_words_anew()
    assert found(library, "cat") == [1, 2]
    assert found(library, "lion") == [4]
    assert missing(library) == 0
    assert all(not part.problems for part in check_catalog(library).parts)


@pytest.mark.parametrize(
    "damage", [DAMAGES[name] for name in sorted(DAMAGES.keys() - {"missing", "only its tables"})]
)
def test_check_says_what_is_wrong_with_it_and_repair_mends_it(
    library: Path, damage: list[str]
) -> None:
    run_sql(library, *damage)
    said = [problem.what for part in check_catalog(library).parts for problem in part.problems]
    assert said == ["names and texts can't be searched"]
    assert "made the index of words anew" in " ".join(repair_catalog(library).done)
    assert found(library, "cat") == [1, 2]
    assert all(not part.problems for part in check_catalog(library).parts)


def test_one_that_fails_while_it_is_written_to_is_made_anew_at_once(library: Path) -> None:
    with Store.open(library) as store, store.writing():
        run_sql(library, "DELETE FROM word_index_data WHERE id > 10")
        run_sql(library, "UPDATE word_index_data SET block = x'ffff' WHERE id = 10")
        store.apply([photo("lion.jpg", VECTORS[3])], 1)
    assert found(library, "cat") == [1, 2]
    assert found(library, "lion") == [4]


def test_what_other_programs_change_is_not_found_by_words_until_the_next_run(library: Path) -> None:
    run_sql(
        library,
        "UPDATE photos SET path = '/photos/lion.jpg' WHERE id = 1",
        "DELETE FROM photos WHERE id = 2",
        "INSERT INTO words (photo_id, source, field, text) VALUES (3, 'photo', 'title', 'Cats')",
    )
    assert found(library, "cat") == found(library, "lion") == []
    assert missing(library) == 3
    write(library)
    assert found(library, "lion") == [1]
    assert found(library, "cat") == [3]
    assert missing(library) == 0


def test_names_that_are_no_text_any_more_do_not_stop_it(library: Path) -> None:
    run_sql(
        library,
        "UPDATE photos SET path = CAST(x'2f70686f746f732fff636174' AS TEXT) WHERE id = 3",
    )
    write(library)
    assert found(library, "cat") == [1, 2, 3]


def test_without_fts5_all_else_works(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_sql(library, "DROP TABLE word_index")
    monkeypatch.setattr("clipsearch.index.word_search.word_index._FTS5", "SELECT 1 WHERE false")
    with Store.open(library) as store, store.writing():
        store.apply([photo("lion.jpg", VECTORS[3])], 1)
        assert store.find_words(["lion"]).missing == 4
        assert store.search(1, VECTORS[3:], 1)[1].tolist() == [[4]]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/photos/a/Rome.jpg", ["rome"]),
        ("/photos/trip/Rome/x.jpg", ["trip", "rome"]),
        ("/elsewhere/Paris/Rome.jpg", ["rome"]),
        ("/photos/Rome", ["rome"]),
        ("/photos/.Rome", ["rome"]),
        ("/photos/v1.2 Rome/b.tar.gz", ["rome", "tar"]),
        ("Rome", ["rome"]),
        ("", []),
    ],
)
def test_a_path_has_the_words_below_the_outermost_root(path: str, words: list[str]) -> None:
    assert words_of_path(path, ["/photos/", "/photos/trip/"]) == words
