"""The list of a photo's columns and the schema on the disk are the same."""

from pathlib import Path

import numpy as np
import pytest
from sqlite_utils import Database as SqliteUtils

from clipsearch.index import photo_columns
from clipsearch.index.changes import Embedded
from clipsearch.index.records import SCHEMA_VERSION, FileState, ModelIdentity, PhotoMetadata
from clipsearch.index.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with Store.open(tmp_path / "library", create=True):
        return Store.open(tmp_path / "library")


def test_the_schema_has_these_columns_and_no_others(store: Store) -> None:
    rows = SqliteUtils(store.folder / "catalog.sqlite").execute("PRAGMA table_info(photos)")
    there = {name: kind + " NOT NULL" * needed for _, name, kind, needed, *_ in rows.fetchall()}
    assert there.keys() == set(photo_columns.ALL)
    assert {column.name: column.sql for column in photo_columns.METADATA}.items() <= there.items()
    assert set(photo_columns.dispensable(SCHEMA_VERSION)) >= {"taken_at", "lens", "moment"}
    assert set(photo_columns.dispensable(4)) == {"taken_at", "camera", "lens"}


def test_every_column_comes_back_as_it_was_written(store: Store) -> None:
    values = {int: 7, str: "it's 50 % ü", float: 1.5}
    full = PhotoMetadata(
        **{column.name: values[column.kind] for column in photo_columns.METADATA}  # type: ignore[arg-type]
    )
    bare = PhotoMetadata(4, 3, "JPEG")
    with store, store.writing():
        model = store.catalog.add_model(ModelIdentity("one", "ViT", "aa", "{}", 2))
        vector = np.array([1, 0], np.float32)
        files = [FileState(Path(f"/photos/{n}.jpg"), 10, 100) for n in range(2)]
        changes = [
            Embedded(file, f"hash {n}", metadata, vector)
            for n, (file, metadata) in enumerate(zip(files, (full, bare), strict=True))
        ]
        store.apply(changes, model)
        photos = store.catalog.photos([1, 2])
        assert [photos[id_].metadata for id_ in (1, 2)] == [full, bare]
        assert [photos[id_].file for id_ in (1, 2)] == files
