"""A catalog is made whole, and a file that is not ours to touch is not touched."""

import os
import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database as SqliteUtils

from clipsearch.errors import (
    LibraryDamaged,
    LibraryError,
    LibraryIncompatible,
    LibraryNotFound,
)
from clipsearch.index import migrations
from clipsearch.index.changes import SeenMount, UseModel
from clipsearch.index.migrations import APPLICATION_ID, SCHEMA_VERSION, TABLES, migrate
from clipsearch.index.store import Store

MODES = [{"create": True}, {}, {"read_only": True}]


def all_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def make_library(folder: Path) -> Path:
    Store.open(folder, create=True).close()
    return folder / "catalog.sqlite"


def test_a_new_catalog_says_whose_it_is_and_which_version(tmp_path: Path) -> None:
    connection = sqlite3.connect(make_library(tmp_path / "deep" / "library"))
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_schema_version_is_the_number_of_steps(tmp_path: Path) -> None:
    db = SqliteUtils(make_library(tmp_path))
    steps = [row["name"] for row in db["_sqlite_migrations"].rows]
    assert [step[:4] for step in steps] == [f"m{n:03}" for n in range(1, SCHEMA_VERSION + 1)]


def test_every_table_is_strict(tmp_path: Path) -> None:
    db = SqliteUtils(make_library(tmp_path))
    ours = [table for table in db.tables if not table.name.startswith(("sqlite_", "_"))]
    assert {table.name for table in ours} == {name for name in TABLES if name[0] != "_"}
    assert all(table.strict for table in ours)


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    catalog = make_library(tmp_path)
    before = catalog.read_bytes()
    db = SqliteUtils(catalog)
    migrate(db)
    db.close()
    assert catalog.read_bytes() == before


def test_a_step_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def m999_fails(db: SqliteUtils) -> None:
        db.execute("CREATE TABLE half_done (id INTEGER)")
        db.execute("PRAGMA user_version = 999")
        raise RuntimeError("the power went")

    catalog = make_library(tmp_path)
    steps = list(migrations._steps._migrations)
    monkeypatch.setattr(migrations._steps, "_migrations", steps)
    migrations._steps()(m999_fails)
    db = SqliteUtils(catalog)
    with pytest.raises(RuntimeError, match="the power went"):
        migrate(db)
    assert not db["half_done"].exists()
    assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    names = [row["name"][:4] for row in db["_sqlite_migrations"].rows]
    assert names == ["m001", "m002", "m003", "m004", "m005"]


def test_a_catalog_whose_making_was_interrupted_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite.new").write_bytes(b"SQLite format 3\0 and then nothing")
    (tmp_path / "catalog.sqlite").touch()
    with Store.open(tmp_path, create=True) as store:
        assert store.catalog.folders() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["catalog.sqlite", "lock"]


@pytest.mark.parametrize("mode", MODES)
def test_a_library_of_a_newer_clipsearch_is_left_untouched(
    tmp_path: Path, mode: dict[str, bool]
) -> None:
    connection = sqlite3.connect(make_library(tmp_path))
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = all_files(tmp_path)
    with pytest.raises(LibraryIncompatible, match="made by a newer clipsearch"):
        Store.open(tmp_path, **mode)
    assert all_files(tmp_path) == before


@pytest.mark.parametrize("mode", MODES)
def test_another_programs_database_is_left_untouched(tmp_path: Path, mode: dict[str, bool]) -> None:
    connection = sqlite3.connect(tmp_path / "catalog.sqlite")
    connection.execute("CREATE TABLE photos (id INTEGER)")
    connection.close()
    before = all_files(tmp_path)
    with pytest.raises(LibraryIncompatible, match="not the catalog of a clipsearch library"):
        Store.open(tmp_path, **mode)
    assert all_files(tmp_path) == before


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("content", [b"a shopping list\n", b"x" * 5000, b"SQLite format 3\0"])
def test_a_file_that_is_no_database_is_left_untouched(
    tmp_path: Path, mode: dict[str, bool], content: bytes
) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(content)
    with pytest.raises(LibraryIncompatible, match="not the catalog of a clipsearch library"):
        Store.open(tmp_path, **mode)
    assert all_files(tmp_path) == {"catalog.sqlite": content}


@pytest.mark.parametrize("mode", [{}, {"read_only": True}])
@pytest.mark.parametrize("what", ["nothing", "an empty folder", "an empty file", "a file"])
def test_where_there_is_no_library_none_is_made_unasked(
    tmp_path: Path, mode: dict[str, bool], what: str
) -> None:
    folder = tmp_path / "library"
    if what == "a file":
        folder.touch()
    elif what != "nothing":
        folder.mkdir()
    if what == "an empty file":
        (folder / "catalog.sqlite").touch()
    before = sorted(tmp_path.rglob("*"))
    instead = ", but a file$" if what == "a file" else "; make one with"
    with pytest.raises(LibraryNotFound, match=f"no library here{instead}"):
        Store.open(folder, **mode)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_library_is_not_made_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "library").write_text("mine")
    with pytest.raises(LibraryIncompatible, match="a file, not a library folder"):
        Store.open(tmp_path / "library", create=True)
    assert (tmp_path / "library").read_text() == "mine"


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_catalog_is_called_damaged(tmp_path: Path, keep: float) -> None:
    catalog = make_library(tmp_path)
    data = catalog.read_bytes()
    catalog.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(LibraryDamaged, match="the catalog is damaged"):
        check_every_table(tmp_path)


def test_an_overwritten_catalog_is_called_damaged(tmp_path: Path) -> None:
    catalog = make_library(tmp_path)
    data = catalog.read_bytes()
    catalog.write_bytes(data[:100] + b"\xa5" * (len(data) - 100))
    with pytest.raises(LibraryDamaged, match="the catalog is damaged"):
        check_every_table(tmp_path)


def check_every_table(folder: Path) -> None:
    with Store.open(folder) as store:
        store.catalog.counts(None)
        store.catalog.folders()
        store.catalog.models()
        store.catalog.known_files(None)


def test_no_sqlite_error_leaves_the_library_untranslated(tmp_path: Path) -> None:
    with Store.open(make_library(tmp_path).parent) as store:
        store._db.write("DROP TABLE failures")
        with pytest.raises(LibraryError, match="no such table: failures"):
            store.catalog.failures()


# A catalog from elsewhere


def planted(folder: Path, *statements: str) -> Path:
    connection = sqlite3.connect(make_library(folder))
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return folder


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW folders AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i FROM n) "
        "SELECT i AS path, i AS kind, i AS added_at, i AS scanned_at FROM n",
        "CREATE VIRTUAL TABLE folders USING fts5 (path, kind, added_at, scanned_at)",
    ],
    ids=["a view without end", "a virtual table"],
)
def test_what_stands_in_place_of_a_table_is_not_read(
    tmp_path: Path, mode: dict[str, bool], statement: str
) -> None:
    planted(tmp_path, "DROP TABLE folders", statement)
    with pytest.raises(LibraryDamaged, match="folders is not a table"):
        Store.open(tmp_path, **mode)


def test_a_planted_trigger_reaches_nothing_beyond_the_catalog(tmp_path: Path) -> None:
    """No function or table that SQLite does not call innocent runs from within the file."""
    planted(
        tmp_path,
        "CREATE TRIGGER bad AFTER INSERT ON mounts BEGIN "
        "SELECT load_extension('/tmp/none.so'); END",
    )
    with Store.open(tmp_path) as store, store.writing():
        with pytest.raises(LibraryError, match="unsafe use of load_extension"):
            store.apply([SeenMount(Path("/photos/disk"))])
        assert store.catalog.mounts() == []


@pytest.mark.parametrize("kind", ["value", "text"])
def test_a_value_of_the_wrong_type_is_called_damage(tmp_path: Path, kind: str) -> None:
    """As a flipped bit makes it, which no rule of SQLite's keeps out."""
    wrong = {"value": "x'ff'", "text": "CAST(x'ff' AS TEXT)"}[kind]
    planted(
        tmp_path,
        "DROP TABLE mounts",
        "CREATE TABLE mounts (path)",
        f"INSERT INTO mounts VALUES ({wrong})",
    )
    with (
        Store.open(tmp_path) as store,
        pytest.raises(LibraryDamaged, match="the catalog is damaged"),
    ):
        store.catalog.mounts()


def test_a_batch_that_breaks_a_rule_of_the_catalog_is_called_damage(tmp_path: Path) -> None:
    with (
        Store.open(make_library(tmp_path).parent) as store,
        store.writing(),
        pytest.raises(LibraryDamaged, match="the catalog does not fit together"),
    ):
        store.apply([UseModel(77)])


# What can be in the way


@pytest.mark.parametrize("name", ["catalog.sqlite", "catalog.sqlite.new", "lock"])
def test_a_folder_in_place_of_a_file_is_an_error_of_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").touch()
    with pytest.raises(LibraryError) as caught:
        Store.open(tmp_path, create=True)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert (tmp_path / name / "mine").exists()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_a_folder_in_place_of_sqlites_files_loses_nothing(
    tmp_path: Path, mode: dict[str, bool], suffix: str
) -> None:
    with Store.open(make_library(tmp_path).parent) as store, store.writing():
        store.apply([SeenMount(Path("/photos/disk"))])
    place = tmp_path / f"catalog.sqlite{suffix}"
    place.mkdir()
    try:
        with Store.open(tmp_path, **mode) as store:
            assert store.catalog.mounts() == [Path("/photos/disk")]
    except LibraryError as error:
        assert "\n" not in str(error)
    place.rmdir()
    with Store.open(tmp_path) as store:
        assert store.catalog.mounts() == [Path("/photos/disk")]


@pytest.mark.parametrize("mode", MODES)
def test_garbage_beside_the_catalog_is_no_obstacle(tmp_path: Path, mode: dict[str, bool]) -> None:
    with Store.open(make_library(tmp_path).parent) as store, store.writing():
        store.apply([SeenMount(Path("/photos/disk"))])
    (tmp_path / "catalog.sqlite-wal").write_bytes(b"\xa5" * 50_000)
    (tmp_path / "catalog.sqlite-shm").write_bytes(b"\x5a" * 32_768)
    with Store.open(tmp_path, **mode) as store:
        assert store.catalog.mounts() == [Path("/photos/disk")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("mode", MODES)
def test_a_pipe_in_place_of_the_catalog_keeps_nobody_waiting(
    tmp_path: Path, mode: dict[str, bool]
) -> None:
    os.mkfifo(tmp_path / "catalog.sqlite")
    with pytest.raises(LibraryError):
        Store.open(tmp_path, **mode)


def test_every_commit_is_synced(tmp_path: Path) -> None:
    with Store.open(make_library(tmp_path).parent) as store:
        assert store._db.value("PRAGMA synchronous") == 2  # FULL
        assert store._db.value("PRAGMA journal_mode") == "wal"


def test_a_catalog_that_lost_its_journal_mode_gets_it_back(tmp_path: Path) -> None:
    connection = sqlite3.connect(make_library(tmp_path))
    assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    connection.close()
    with Store.open(tmp_path, read_only=True) as store:
        assert store.catalog.folders() == []
    with Store.open(tmp_path) as store:
        assert store._db.value("PRAGMA journal_mode") == "wal"
