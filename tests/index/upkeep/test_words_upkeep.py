"""Words, sidecars and moments are checked, mended, saved from damage and backed up, too."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from older_schema import back_to_schema_4
from well_library import run_sql, table_pages

from clipsearch import backup_library, check_library, restore_library
from clipsearch.index.changes import Embedded, SidecarsRead
from clipsearch.index.records import FACTS, FileState, ModelIdentity, PhotoMetadata, Word
from clipsearch.index.store import Store

COUNT = 600
PAGE = 8192


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "library"
    vectors = np.random.default_rng(0).normal(size=(COUNT, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    seen = PhotoMetadata(4, 3, "JPEG", perceptual_hash="0f" * 8, place="Nizza", facts=FACTS)
    with Store.open(folder, create=True) as store, store.writing():
        model = store.add_model(ModelIdentity("one", "ViT", "aa", '{"size": 8}', 8))
        store.apply(
            [
                Embedded(
                    FileState(Path(f"/made/up/IMG_20190102_03{n // 60:02}{n % 60:02}.jpg"), n, n),
                    f"{n:064x}",
                    seen,
                    vector,
                    (Word("title", f"Title {n}"), Word("keyword", "sea " * 30)),
                )
                for n, vector in enumerate(vectors)
            ],
            model,
        )
        beside = (FileState(Path("/made/up/a.xmp"), 1, 2),)
        store.apply([SidecarsRead(1, beside, (Word("person", "Anna"),))])
        store.refresh_vectors(model)
    return folder


@pytest.fixture
def library(_made: Path, tmp_path: Path) -> Path:
    source = sqlite3.connect(_made / "catalog.sqlite")
    (tmp_path / "library").mkdir()
    copy = sqlite3.connect(tmp_path / "library" / "catalog.sqlite")
    source.backup(copy)
    copy.close()
    source.close()
    with Store.open(tmp_path / "library") as store, store.writing():
        store.refresh_vectors(1)
    return tmp_path / "library"


def known(library: Path) -> dict[int, object]:
    """Return what is known of each photo beside its vector."""
    with Store.open(library, read_only=True) as store:
        ids = store.photos_below(None).tolist()
        words = store.words(ids)
        return {
            id_: (photo.metadata, photo.moment, photo.moment_from, words.get(id_))
            for id_, photo in store.photos(ids).items()
        }


def problems(library: Path) -> list[str]:
    """Return what is wrong, but for the text tower, which this library does without."""
    found = [problem.what for part in check_library(library).parts for problem in part.problems]
    return [what for what in found if not what.startswith("text models")]


def test_what_is_well_is_called_so_and_comes_back_from_a_backup(
    library: Path, tmp_path: Path
) -> None:
    assert problems(library) == []
    backup_library(library, tmp_path / "backup.tar")
    restore_library(tmp_path / "backup.tar", tmp_path / "again")
    assert known(tmp_path / "again") == known(library)
    assert len(known(library)) == COUNT
    assert known(library)[1] == (
        *(known(library)[2][0], "2019-01-02T03:00:00", "name"),  # type: ignore[index]
        (Word("person", "Anna"), Word("title", "Title 0"), Word("keyword", "sea " * 30)),
    )


def test_words_of_photos_that_are_gone_are_found_and_taken_out(library: Path) -> None:
    run_sql(
        library,
        "DROP TRIGGER words_removed",
        "INSERT INTO words (photo_id, source, field, text) VALUES (9999, 'photo', 'title', 'x')",
    )
    before = known(library)
    assert problems(library)
    assert check_library(library, repair=True).lost == ()
    assert problems(library) == []
    assert known(library) == before


def test_photos_deleted_by_hand_take_their_words_along(library: Path) -> None:
    run_sql(library, "PRAGMA foreign_keys = OFF", "DELETE FROM photos WHERE id = 1")
    connection = sqlite3.connect(library / "catalog.sqlite")
    for table in ("words", "sidecars"):
        count = connection.execute(f"SELECT count(*) FROM {table} WHERE photo_id = 1").fetchone()
        assert count == (0,)
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE words SET text = CAST(x'ff' AS TEXT) WHERE id = 7",
        "UPDATE sidecars SET path = CAST(x'ff' AS TEXT)",
    ],
)
def test_words_that_are_no_text_are_read_again_by_the_next_run(
    library: Path, statement: str
) -> None:
    triggers = _without_triggers(library, "words")
    run_sql(library, statement)
    _again(library, triggers)
    assert problems(library)
    repaired = check_library(library, repair=True)
    assert repaired.lost == ()
    assert any("`clipsearch index` reads them again" in line for line in repaired.repaired)
    assert problems(library) == []
    with Store.open(library, read_only=True) as store:
        assert store.incomplete() == COUNT
        assert store.words(store.photos_below(None).tolist()) == {}


def test_a_moment_or_place_that_is_no_text_costs_no_photo(library: Path) -> None:
    before = known(library)
    triggers = _without_triggers(library, "photos")
    for column in ("moment", "place", "perceptual_hash"):
        run_sql(library, f"UPDATE photos SET {column} = CAST(x'ff' AS TEXT) WHERE id = 7")
    _again(library, triggers)
    assert problems(library)
    repaired = check_library(library, repair=True)
    assert sorted(repaired.lost) == [
        "the moment of photo 7",
        "the perceptual hash of photo 7",
        "the place of photo 7",
    ]
    assert problems(library) == []
    assert known(library).keys() == before.keys()


def _without_triggers(library: Path, table: str) -> list[str]:
    connection = sqlite3.connect(library / "catalog.sqlite", isolation_level=None)
    sql = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
    found = connection.execute(sql, (table,)).fetchall()
    for name, _ in found:
        connection.execute(f"DROP TRIGGER [{name}]")
    connection.close()
    return [sql for _, sql in found]


def _again(library: Path, triggers: list[str]) -> None:
    run_sql(library, *triggers)


def test_a_damaged_page_of_words_costs_words_only_and_they_are_read_again(library: Path) -> None:
    _overwrite(library, table_pages(library, "words")[1])
    before = {id_: said[:3] for id_, said in known_without_words(library).items()}
    assert problems(library)
    repaired = check_library(library, repair=True)
    assert any(line.startswith("some rows of words") for line in repaired.lost)
    after = known_without_words(library)
    assert after.keys() == before.keys()
    assert {id_: said[1:3] for id_, said in after.items()} == {
        id_: said[1:] for id_, said in before.items()
    }
    with Store.open(library, read_only=True) as store:
        assert store.incomplete() == COUNT
    assert problems(library) == []


def known_without_words(library: Path) -> dict[int, tuple[object, ...]]:
    with Store.open(library, read_only=True) as store:
        photos = store.photos(store.photos_below(None).tolist())
        return {id_: (p.metadata, p.moment, p.moment_from) for id_, p in photos.items()}


def test_a_damaged_catalog_of_schema_4_is_saved_as_one_of_today(library: Path) -> None:
    """And rows written before a column came, with fewer values, are read out of their pages."""
    connection = sqlite3.connect(library / "catalog.sqlite", isolation_level=None)
    back_to_schema_4(connection)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    _overwrite(library, table_pages(library, "failures")[0])
    repaired = check_library(library, repair=True)
    assert any("saved 600 photos" in line for line in repaired.repaired)
    found = known_without_words(library)
    assert len(found) == COUNT
    assert found[1][1:] == ("2019-01-02T03:00:00", "name")
    with Store.open(library, read_only=True) as store:
        assert store.incomplete() == COUNT
    assert problems(library) == []


def _overwrite(library: Path, at: int) -> None:
    with (library / "catalog.sqlite").open("r+b") as file:
        file.seek(at)
        file.write(b"\xee" * PAGE)
