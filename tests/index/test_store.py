"""Catalog and vectors stay in step: through changes, crashes, damage, and other processes."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlite_utils import Database as SqliteUtils

from clipsearch.errors import (
    InvalidInput,
    LibraryDamaged,
    LibraryError,
    LibraryLocked,
    LibraryReadOnly,
)
from clipsearch.index.changes import Change, Copied, Embedded, Gone, Moved
from clipsearch.index.database import Database
from clipsearch.index.embeddings import embeddings_at_or_below
from clipsearch.index.records import FileState, ModelIdentity, PhotoMetadata
from clipsearch.index.store import Store
from clipsearch.index.vectors import model_vectors, segments
from clipsearch.index.vectors.vector_files import checksum

WIDTH = 16
MODEL = ModelIdentity("one", "ViT", "aa", "{}", WIDTH)
OTHER = ModelIdentity("two", "ViT", "bb", "{}", WIDTH)


def unit_vectors(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


QUERIES = unit_vectors(5, seed=1000)


def embedded(number: int, vector: np.ndarray, content: str = "") -> Embedded:
    file = FileState(Path(f"/photos/{number}.jpg"), 10, 100)
    return Embedded(file, f"hash {number} {content}", PhotoMetadata(4, 3, "JPEG"), vector)


def photos(count: int, seed: int = 0) -> list[Change]:
    return [embedded(i, vector) for i, vector in enumerate(unit_vectors(count, seed))]


def stored_vectors(folder: Path, model_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Return photo ids and vectors of a model, read with nothing but sqlite-utils and numpy."""
    rows = list(
        SqliteUtils(folder / "catalog.sqlite").query(
            "SELECT photo_id, vector FROM embeddings WHERE model_id = ?", [model_id]
        )
    )
    vectors = [np.frombuffer(row["vector"], "<f2").astype(np.float64) for row in rows]
    return np.array([row["photo_id"] for row in rows]), np.array(vectors).reshape(-1, WIDTH)


def is_hidden(path: Path, without: Sequence[Path]) -> bool:
    return any(path == hidden or hidden in path.parents for hidden in without)


def assert_search_is_exact(
    store: Store, model_id: int = 1, k: int = 7, without: Sequence[Path] = ()
) -> None:
    photo_ids, vectors = stored_vectors(store.folder, model_id)
    if without:
        rows = SqliteUtils(store.folder / "catalog.sqlite")["photos"].rows
        hidden = [row["id"] for row in rows if is_hidden(Path(row["path"]), without)]
        kept = ~np.isin(photo_ids, hidden)
        photo_ids, vectors = photo_ids[kept], vectors[kept]
    scores, found = store.search(model_id, QUERIES, k, without=without)
    assert scores.shape == found.shape == (len(QUERIES), k)
    for query, row_scores, row_ids in zip(QUERIES, scores, found, strict=True):
        expected = query @ vectors.T
        best = np.lexsort((photo_ids, -expected.round(9)))[:k]
        np.testing.assert_array_equal(row_ids[: len(best)], photo_ids[best])
        np.testing.assert_allclose(row_scores[: len(best)], expected[best], atol=2e-6)
        assert (row_ids[len(best) :] == -1).all()
        assert np.isneginf(row_scores[len(best) :]).all()


def index_files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "vectors").iterdir())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "library", create=True) as store, store.writing():
        assert store.catalog.add_model(MODEL) == 1
        assert store.catalog.add_model(OTHER) == 2
        yield store


# Search


def test_a_stored_embedding_is_numpys_float16(store: Store) -> None:
    vector = np.resize([1 / 3, 2**-24, 2**-25, -0.9997559, 1e-8], WIDTH).astype(np.float32)
    store.apply([embedded(1, vector)], 1)
    blob = next(iter(SqliteUtils(store.folder / "catalog.sqlite")["embeddings"].rows))["vector"]
    assert blob == vector.astype(np.float16).astype("<f2").tobytes()
    expected = vector.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(store.vectors(1, [1]), expected[None])


def test_vectors_come_in_the_order_asked_for(store: Store) -> None:
    store.apply(photos(5), 1)
    expected = unit_vectors(5, 0).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(store.vectors(1, [4, 1, 4]), expected[[3, 0, 3]])
    assert store.vectors(1, []).shape == (0, WIDTH)


@pytest.mark.parametrize("count", [0, 1, 5, 7, 8, 200])
@pytest.mark.parametrize("with_file", [True, False])
def test_search_equals_brute_force(store: Store, count: int, with_file: bool) -> None:
    store.apply(photos(count), 1)
    if with_file:
        store.refresh_vectors(1)
    assert_search_is_exact(store)


def test_search_is_exact_through_a_long_history(store: Store) -> None:
    """Random batches and rebuilds, watched by a second reader that stays open throughout."""
    random = np.random.default_rng(7)
    vectors = iter(unit_vectors(4000, seed=8))
    with Store.open(store.folder, read_only=True) as reader:
        for step in range(60):
            known = [row.photo_id for row in store.catalog.known_files(1).values()]
            gone = random.permutation(known)[: random.integers(0, 15)]
            changes: list[Change] = [Gone(int(id_)) for id_ in gone]
            numbers = random.choice(300, size=random.integers(0, 20), replace=False)
            changes += [embedded(int(n), next(vectors), f"version {step}") for n in numbers]
            store.apply(changes, 1)
            assert_search_is_exact(store)
            assert_search_is_exact(reader)
            if random.random() < 0.2:
                store.refresh_vectors(1)
                assert_search_is_exact(reader)


FOLDERS = [Path(f"/photos/{letter}") for letter in "abcde"]


def in_folder(number: int, vector: np.ndarray, version: str = "") -> Embedded:
    change = embedded(number, vector, version)
    path = FOLDERS[number % 5] / f"sub {number % 3}" / f"{number}.jpg"
    return replace(change, file=FileState(path, 10, 100))


WITHOUT = [
    [],
    [Path("/nowhere"), Path("/photos/a/sub")],
    [FOLDERS[0]],
    [FOLDERS[1], FOLDERS[1] / "sub 0", FOLDERS[3]],
    [FOLDERS[2] / "sub 2", FOLDERS[4] / "sub 0" / "9.jpg"],
    FOLDERS,
    [Path("/")],
]


@pytest.mark.parametrize("without", WITHOUT, ids=lambda paths: f"{len(paths)} paths")
@pytest.mark.parametrize("newer", [0, 60, 200])
def test_what_is_hidden_makes_place_for_the_next_best(
    store: Store, without: list[Path], newer: int
) -> None:
    """For any share of the photos that is not in the index file yet, and any k."""
    vectors = unit_vectors(200, 0)
    store.apply([in_folder(i, vectors[i]) for i in range(200 - newer)], 1)
    store.refresh_vectors(1)
    store.apply([in_folder(i, vectors[i]) for i in range(200 - newer, 200)], 1)
    store.apply([Gone(id_) for id_ in range(1, 200, 9)], 1)
    for k in (1, 7, 150, 500):
        assert_search_is_exact(store, k=k, without=without)
        assert_search_is_exact(store, k=k)


def test_hiding_is_exact_through_a_long_history(store: Store) -> None:
    """Photos come, go and move between folders; two readers hide now this, now that."""
    random = np.random.default_rng(11)
    vectors = iter(unit_vectors(4000, seed=12))
    with Store.open(store.folder, read_only=True) as reader:
        for step in range(60):
            known = [row.photo_id for row in store.catalog.known_files(1).values()]
            chosen = [int(id_) for id_ in random.permutation(known)[: random.integers(0, 20)]]
            moved_to = FOLDERS[step % 5] / "moved"
            changes: list[Change] = [Gone(id_) for id_ in chosen[::2]]
            changes += [
                Moved(id_, FileState(moved_to / f"{step} {id_}.jpg", 10, 100))
                for id_ in chosen[1::2]
            ]
            numbers = random.choice(300, size=random.integers(0, 20), replace=False)
            changes += [in_folder(int(n), next(vectors), f"version {step}") for n in numbers]
            store.apply(changes, 1)
            for without in (WITHOUT[step % 7], WITHOUT[step % 7], WITHOUT[step % 5]):
                assert_search_is_exact(store, without=without)
                assert_search_is_exact(reader, without=without)
            if random.random() < 0.2:
                store.refresh_vectors(1)
                assert_search_is_exact(reader, without=WITHOUT[step % 7])


def test_hidden_copies_do_not_crowd_out_those_in_sight(store: Store) -> None:
    """All tie, and only the last ones by id are in sight: half in the file, half newer."""
    store.apply(photos(50), 1)
    away = [FileState(Path(f"/away/{n}.jpg"), 10, 100) for n in range(300)]
    here = [FileState(Path(f"/here/{n}.jpg"), 10, 100) for n in range(40)]
    store.apply([Copied(3, name) for name in away + here[:20]], 1)
    store.refresh_vectors(1)
    store.apply([Copied(3, name) for name in here[20:]], 1)
    rows = store.catalog.known_files(1, [Path("/here"), Path("/photos/2.jpg")]).values()
    expected = sorted(row.photo_id for row in rows)
    for k in (1, 10, 41):
        found = store.search(1, store.vectors(1, [3]), k, without=[Path("/away")])[1]
        assert found[0].tolist() == expected[:k]


def test_what_is_hidden_is_worked_out_once_for_each_state(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.apply(photos(50), 1)
    asked: list[object] = []

    def count(db: Database, model_id: int, paths: Sequence[Path]) -> np.ndarray:
        asked.append(paths)
        return embeddings_at_or_below(db, model_id, paths)

    monkeypatch.setattr(model_vectors, "embeddings_at_or_below", count)
    for _ in range(3):
        assert_search_is_exact(store, without=[Path("/photos/7.jpg")])
    assert len(asked) == 1
    store.apply([Gone(1)], 1)
    assert_search_is_exact(store, without=[Path("/photos/7.jpg")])
    assert len(asked) == 2


@pytest.mark.parametrize("with_file", [True, False])
def test_copies_tie_exactly_and_come_in_order_of_their_ids(store: Store, with_file: bool) -> None:
    """Half of the copies are in the index file, half are newer."""
    store.apply(photos(50), 1)
    names = [FileState(Path(f"/copies/{n}.jpg"), 10, 100) for n in range(60)]
    store.apply([Copied(3, name) for name in names[:30]], 1)
    if with_file:
        store.refresh_vectors(1)
    store.apply([Copied(3, name) for name in names[30:]], 1)
    copies = [p.id for p in store.catalog.photos_by_hash("hash 2 ")]
    assert len(copies) == 61
    for k in (1, 10, 61):
        scores, found = store.search(1, store.vectors(1, [3]), k)
        assert found[0].tolist() == copies[:k]
        assert len(set(scores[0].tolist())) == 1


def test_models_are_never_mixed(store: Store) -> None:
    store.apply(photos(40, seed=1), 1)
    store.apply(photos(30, seed=2), 2)
    store.refresh_vectors(1)
    store.apply(photos(35, seed=2), 2)
    for model_id in (1, 2):
        assert_search_is_exact(store, model_id, k=50)
    store.refresh_vectors(2)
    store.apply([Gone(5)], None)
    for model_id in (1, 2):
        assert_search_is_exact(store, model_id, k=50)
    assert len(index_files(store.folder)) == 2


def test_a_moved_photo_is_found_under_its_id(store: Store) -> None:
    store.apply(photos(10), 1)
    store.refresh_vectors(1)
    store.apply([Moved(3, FileState(Path("/photos/7.jpg"), 10, 100))], 1)
    assert_search_is_exact(store)
    _, found = store.search(1, store.vectors(1, [3]), 10)
    assert found[0][0] == 3
    assert 8 not in found  # the photo that the move replaced


def test_rows_deleted_by_hand_leave_the_results(store: Store) -> None:
    store.apply(photos(30), 1)
    store.refresh_vectors(1)
    store.apply([embedded(77, unit_vectors(1, 77)[0])], 1)
    by_hand = SqliteUtils(store.folder / "catalog.sqlite")
    for table, id_ in [("photos", 4), ("embeddings", 9), ("photos", 31)]:
        assert id_ in store.search(1, QUERIES, 40)[1]
        by_hand[table].delete(id_)
        assert id_ not in store.search(1, QUERIES, 40)[1]
    assert_search_is_exact(store, k=40)


@pytest.mark.parametrize(
    "queries",
    [
        np.ones((2, WIDTH + 1), np.float32),
        np.ones(WIDTH, np.float32),
        np.full((1, WIDTH), np.nan, np.float32),
    ],
)
def test_queries_that_are_no_vectors_of_the_model_are_refused(
    store: Store, queries: np.ndarray
) -> None:
    store.apply(photos(3), 1)
    with pytest.raises(InvalidInput, match=r"finite numbers of shape \[n, 16\]"):
        store.search(1, queries, 3)


def test_a_model_that_is_not_there_is_an_error(store: Store) -> None:
    with pytest.raises(LibraryError, match="no model 9"):
        store.search(9, QUERIES, 3)


def test_an_embedding_cut_short_is_called_damage(store: Store) -> None:
    store.apply(photos(3), 1)
    by_hand = SqliteUtils(store.folder / "catalog.sqlite")
    by_hand["photos"].insert({**next(iter(by_hand["photos"].rows)), "id": 9, "path": "/x"})
    by_hand["embeddings"].insert({"photo_id": 9, "model_id": 1, "vector": b"\0" * 10})
    with pytest.raises(LibraryDamaged, match="wrong length"):
        store.search(1, QUERIES, 3)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("with_file", [True, False])
def test_an_embedding_that_is_not_finite_is_called_damage(
    store: Store, bad: float, with_file: bool
) -> None:
    store.apply(photos(3), 1)
    by_hand = SqliteUtils(store.folder / "catalog.sqlite")
    vector = np.array([1, bad, *[0] * (WIDTH - 2)], "<f2").tobytes()
    by_hand["embeddings"].delete(2)
    by_hand["embeddings"].insert({"photo_id": 2, "model_id": 1, "vector": vector})
    with pytest.raises(LibraryDamaged, match="not of finite numbers; `clipsearch check --repair`"):
        store.refresh_vectors(1) if with_file else store.search(1, QUERIES, 3)


def test_an_embedding_that_is_not_of_unit_length_is_searched_as_it_is(store: Store) -> None:
    store.apply([embedded(1, 3 * np.eye(WIDTH, dtype=np.float32)[0])], 1)
    assert store.search(1, np.eye(WIDTH, dtype=np.float32)[:1], 1)[0].tolist() == [[3.0]]


# The index file


def test_an_index_file_exists_after_a_run_over_a_few_photos(store: Store) -> None:
    store.apply(photos(50), 1)
    before = store.index_info(1)
    assert (before.vectors, before.delta, before.path) == (0, 50, None)
    store.refresh_vectors(1)
    info = store.index_info(1)
    assert info.path is not None
    assert index_files(store.folder) == [info.path.name]
    assert (info.kind, info.vectors, info.delta, info.removed) == ("exact float16", 50, 0, 0)
    assert (info.bytes, info.note) == (info.path.stat().st_size, None)


def test_nothing_is_written_when_nothing_changed(store: Store) -> None:
    store.apply(photos(50), 1)
    store.refresh_vectors(1)
    path = store.index_info(1).path
    assert path is not None
    before = path.stat()
    store.refresh_vectors(1)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_library_without_embeddings_has_no_index_file(store: Store) -> None:
    store.refresh_vectors(1)
    assert store.index_info(1).path is None
    store.apply(photos(3), 1)
    store.refresh_vectors(1)
    store.apply([Gone(1), Gone(2), Gone(3)], 1)
    store.refresh_vectors(1)
    assert store.index_info(1).path is None
    assert index_files(store.folder) == []
    assert_search_is_exact(store)


def test_a_large_library_keeps_its_file_until_enough_has_changed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "NEWEST", 100)
    store.apply(photos(1000), 1)
    store.refresh_vectors(1)
    first = index_files(store.folder)
    store.apply([Gone(1), *photos(1100)[-100:]], 1)
    store.refresh_vectors(1)
    info = store.index_info(1)
    assert (info.files, info.vectors, info.delta, info.removed) == (1, 1000, 100, 1)
    assert index_files(store.folder) == first
    assert_search_is_exact(store)
    store.apply([embedded(5000, unit_vectors(1, 5)[0])], 1)  # more than 100 are newer
    store.refresh_vectors(1)
    info = store.index_info(1)
    assert (info.files, info.vectors, info.delta, info.removed) == (2, 1101, 0, 1)
    assert set(first) < set(index_files(store.folder))
    assert_search_is_exact(store)
    store.apply([Gone(id_) for id_ in range(2, 52)], 1)  # with the first, more than one in twenty
    store.refresh_vectors(1)
    info = store.index_info(1)
    assert (info.files, info.vectors, info.delta, info.removed) == (2, 1050, 0, 0)
    assert not set(first) & set(index_files(store.folder))
    assert_search_is_exact(store)


def remove(path: Path) -> None:
    path.unlink()


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def put_another_in_place(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def put_a_folder_in_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [
    *(remove, remove_folder, truncate, empty, flip_a_byte, put_another_in_place),
    put_a_folder_in_place,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_index_file_costs_nothing_but_its_making(
    store: Store, damage: Callable[[Path], None]
) -> None:
    store.apply(photos(60), 1)
    store.refresh_vectors(1)
    store.apply([Gone(3), embedded(99, unit_vectors(1, 5)[0])], 1)
    path = store.index_info(1).path
    assert path is not None
    damage(path)
    with Store.open(store.folder, read_only=True) as reader:
        assert_search_is_exact(reader)
        assert reader.index_info(1).note is not None
    store.refresh_vectors(1)
    assert_search_is_exact(store)
    with Store.open(store.folder, read_only=True) as reader:
        assert_search_is_exact(reader)
        info = reader.index_info(1)
        assert (info.vectors, info.note) == (60, None)
        assert info.path is not None


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_index_file_is_made_anew_though_nothing_changed(
    store: Store, damage: Callable[[Path], None]
) -> None:
    store.apply(photos(60), 1)
    store.refresh_vectors(1)
    path = store.index_info(1).path
    assert path is not None
    good = path.read_bytes()
    damage(path)
    if path.is_dir():
        path.rmdir()
    store.refresh_vectors(1)
    assert path.read_bytes() == good


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE vector_indexes SET watermark = 10",
        "UPDATE vector_indexes SET vectors = 59",
        "UPDATE vector_indexes SET file = 'nowhere.faiss'",
        "UPDATE vector_indexes SET checksum = '00000000'",
        "DELETE FROM vector_indexes",
    ],
)
def test_a_record_that_does_not_fit_the_file_is_not_believed(store: Store, edit: str) -> None:
    store.apply(photos(60), 1)
    store.refresh_vectors(1)
    SqliteUtils(store.folder / "catalog.sqlite").execute(edit)
    assert_search_is_exact(store)
    store.refresh_vectors(1)
    assert_search_is_exact(store)
    assert len(index_files(store.folder)) == 1
    assert store.index_info(1).vectors == 60


def test_a_row_that_the_file_should_hold_but_does_not_is_taken_in(store: Store) -> None:
    """As after a repair by hand: a row put back under the id that it had."""
    store.apply(photos(60), 1)
    by_hand = SqliteUtils(store.folder / "catalog.sqlite")
    row = by_hand["embeddings"].get(5)
    by_hand["embeddings"].delete(5)
    store.refresh_vectors(1)
    by_hand["embeddings"].insert(row)
    store.refresh_vectors(1)
    assert_search_is_exact(store, k=60)


def foreign_ids(path: Path, folder: Path) -> None:
    """Let the file speak of photos that were never there, with the checksum in order."""
    data = bytearray(path.read_bytes())
    ids = np.frombuffer(bytes(data[-60 * 16 :]), "<i8").reshape(-1, 2).copy()
    ids[:, 1] += 1000
    data[-60 * 16 :] = ids.tobytes()
    path.write_bytes(data)
    db = SqliteUtils(folder / "catalog.sqlite")
    db.execute("UPDATE vector_indexes SET checksum = ?", [checksum(path)])


def test_a_file_that_speaks_of_other_photos_is_left_aside(store: Store) -> None:
    store.apply(photos(60), 1)
    store.refresh_vectors(1)
    path = store.index_info(1).path
    assert path is not None
    foreign_ids(path, store.folder)
    with Store.open(store.folder, read_only=True) as reader:
        for _ in range(2):
            assert_search_is_exact(reader)
        hidden = [Path("/photos/5.jpg")]
        assert_search_is_exact(reader, without=hidden)
        note = reader.index_info(1).note
        assert note == "the index file holds what the catalog does not; searched from the catalog"
        store.apply([Gone(1), embedded(99, unit_vectors(1, 5)[0])], 1)
        assert_search_is_exact(reader)
        store.refresh_vectors(1)
        assert_search_is_exact(reader)
        assert reader.index_info(1).note is None


@pytest.mark.parametrize(
    "name", ["../../mine.txt", "/etc/passwd", "mine.txt", "", ".", "model-1-60-00000000.faiss\0x"]
)
def test_a_file_name_that_is_none_of_ours_is_not_opened(store: Store, name: str) -> None:
    store.apply(photos(60), 1)
    store.refresh_vectors(1)
    mine = [store.folder.parent / "mine.txt", store.folder / "vectors" / "mine.txt"]
    for path in mine:
        path.write_text("mine")
    SqliteUtils(store.folder / "catalog.sqlite").execute(
        "UPDATE vector_indexes SET file = ?", [name]
    )
    assert_search_is_exact(store)
    assert store.index_info(1).path is None
    store.refresh_vectors(1)
    assert_search_is_exact(store)
    assert store.index_info(1).path is not None
    assert [path.read_text() for path in mine] == ["mine", "mine"]


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_a_folder_of_vectors_that_is_a_link_costs_nothing_that_lies_there(
    store: Store, tmp_path: Path
) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "letter.txt").write_text("mine")
    (documents / "book.faiss").write_text("mine")
    (store.folder / "vectors").symlink_to(documents)
    store.apply(photos(60), 1)
    store.refresh_vectors(1)
    store.apply([Gone(1)], 1)
    store.refresh_vectors(1)
    assert_search_is_exact(store)
    assert {"letter.txt", "book.faiss"} < set(index_files(store.folder))


@pytest.mark.parametrize("width", [-1, 0, 2**31, 2**63 - 1])
def test_a_model_of_absurd_width_is_called_damage(store: Store, width: int) -> None:
    store.apply(photos(3), 1)
    SqliteUtils(store.folder / "catalog.sqlite").execute("UPDATE models SET width = ?", [width])
    with pytest.raises(LibraryDamaged, match="has vectors of length"):
        store.search(1, QUERIES, 3)


DIE_AT = {
    "while the file is written": "segments.write_file = write_half",
    "before the file is put in place": "segments.write_file = then_die(segments.write_file)",
    "before it is recorded": "segments.put_in_place = then_die(segments.put_in_place)",
    "before the old file is removed": "segments._record = then_die(segments._record)",
    "after all": "segments.remove_litter = then_die(segments.remove_litter)",
}


@pytest.mark.parametrize("step", DIE_AT)
def test_a_crash_while_the_index_file_is_replaced_loses_nothing(store: Store, step: str) -> None:
    store.apply(photos(60), 1)
    store.refresh_vectors(1)
    store.apply([Gone(3), *photos(90)[60:]], 1)
    folder = store.folder
    store.close()
    program = f"""
import os
from pathlib import Path
from clipsearch.index.vectors import segments
from clipsearch.index.store import Store

def die():
    os._exit(7)

def write_half(path, *arguments, **options):
    path.write_bytes(b"half")
    die()

def then_die(function):
    return lambda *arguments, **options: (function(*arguments, **options), die())

{DIE_AT[step]}
folder = Path({str(folder)!r})
segments.refresh(Store.open(folder)._db, folder / "vectors", 1, {WIDTH})
"""
    assert run(program).returncode == 7
    with Store.open(folder, read_only=True) as reader:
        assert_search_is_exact(reader)
        assert reader.catalog.counts(1).embedded == 89
    with Store.open(folder) as writer:
        # The former test process still holds the lock; the dead one holds nothing.
        writer._writer = threading.get_ident()
        writer.refresh_vectors(1)
        assert_search_is_exact(writer)
        info = writer.index_info(1)
        assert (info.vectors, info.delta, info.removed) == (89, 0, 0)
        assert info.path is not None
        writer.apply([Gone(4)], 1)
        writer.refresh_vectors(1)
        assert len(index_files(folder)) == 1  # and no litter


def test_a_full_disk_while_the_index_file_is_written_loses_nothing(store: Store) -> None:
    store.apply(photos(2000), 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # bytes; Python ignores SIGXFSZ
    try:
        with pytest.raises(LibraryError, match="the vector index can't be written"):
            store.refresh_vectors(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert index_files(store.folder) == []
    assert_search_is_exact(store)
    store.refresh_vectors(1)
    assert store.index_info(1).vectors == 2000


# Other processes


def run(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


READER = """
import json, sys
from pathlib import Path
import numpy as np
from clipsearch.index.store import Store

folder = Path(sys.argv[1])
queries = np.arange(1, 17, dtype=np.float32)[None]  # the version of a photo is its score
seen, torn = set(), []
with Store.open(folder, read_only=True) as store:
    print("ready", flush=True)
    while not seen or max(seen) < 16:
        with store.reading():
            scores, ids = store.search(1, queries, 500)
            records = store.catalog.photos(ids[0][ids[0] > 0].tolist())
        found = scores[0][np.isfinite(scores[0])]
        versions = set(found.tolist())
        names = {record.content_hash.split()[-1] for record in records.values()}
        if versions:
            seen |= versions
            version = max(versions)
            whole = {"versions": len(versions) == 1, "photos": len(found) == 20 + 10 * version,
                     "rows": len(records) == len(found) and names == {f"v{version:.0f}"}}
            torn += [whole] if not all(whole.values()) else []
print(json.dumps({"seen": sorted(seen), "torn": torn}))
"""


def test_readers_see_whole_batches_only_while_another_process_writes(store: Store) -> None:
    """Each batch gives all photos another vector, removes ten and adds twenty."""
    command = [sys.executable, "-c", READER, str(store.folder)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
        for version in range(1, 17):
            vector = np.eye(WIDTH, dtype=np.float32)[version - 1]
            rows = store.catalog.known_files(1)
            old = sorted(rows.values(), key=lambda row: row.photo_id)[: 10 if rows else 0]
            kept = range(10 * (version - 1), 10 * (version - 1) + 20 + 10 * version)
            changes: list[Change] = [Gone(row.photo_id) for row in old]
            changes += [embedded(number, vector, f"v{version}") for number in kept]
            store.apply(changes, 1)
            if version % 3 == 0:
                store.refresh_vectors(1)
        results = [json.loads(reader.communicate(timeout=60)[0]) for reader in readers]
    finally:
        for reader in readers:
            reader.kill()
    for result in results:
        assert result["torn"] == []
        assert len(result["seen"]) > 1


def test_a_commit_in_the_middle_of_reading_is_seen_whole_or_not_at_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.apply(photos(20), 1)
    store.refresh_vectors(1)
    with Store.open(store.folder, read_only=True) as reader:
        before = reader.search(1, QUERIES, 30)[1]
        store.apply([embedded(50, unit_vectors(1, 50)[0])], 1)

        def commit_after(db: Database, model_id: int) -> object:
            found = segments.segments_of(db, model_id)
            if db is reader._db:
                store.apply([Gone(int(before[0][0])), *photos(40, seed=4)[20:]], 1)
                store.refresh_vectors(1)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(model_vectors, "segments_of", commit_after)
            found = reader.search(1, QUERIES, 30)[1]
        assert (np.sort(found[0])[-21:] == range(1, 22)).all()  # the first twenty and the one
        assert_search_is_exact(reader, k=30)


def test_a_block_of_reading_sees_one_state(store: Store) -> None:
    store.apply(photos(5), 1)
    with Store.open(store.folder, read_only=True) as reader:
        with reader.reading():
            before = reader.search(1, QUERIES, 10)[1]
            store.apply([Gone(1)], 1)
            store.refresh_vectors(1)
            np.testing.assert_array_equal(reader.search(1, QUERIES, 10)[1], before)
            assert 1 in reader.catalog.photos([1])
        assert 1 not in reader.search(1, QUERIES, 10)[1]
        assert reader.catalog.photos([1]) == {}


HOLDER = """
import sys, time
from pathlib import Path
from clipsearch.index.store import Store

with Store.open(Path(sys.argv[1])) as store, store.writing():
    print("locked", flush=True)
    time.sleep(60)
"""


def test_the_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store:
        command = [sys.executable, "-c", HOLDER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "locked\n"
            with pytest.raises(LibraryLocked, match=f"process {holder.pid} is writing"):
                store.writing().__enter__()
            assert store.catalog.folders() == []  # reading goes on
            holder.kill()
        with store.writing():
            store.apply([], None)
        with store.writing():
            pass


def test_nothing_is_applied_without_the_lock(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store:
        with pytest.raises(RuntimeError, match="only inside"):
            store.apply([], None)
        with pytest.raises(RuntimeError, match="only inside"):
            store.refresh_vectors(1)


def test_a_library_opened_for_reading_is_not_written_to(store: Store) -> None:
    with Store.open(store.folder, read_only=True) as reader:
        with pytest.raises(LibraryReadOnly), reader.writing():
            pass
        with pytest.raises(LibraryReadOnly):
            reader.catalog.add_folder(Path("/photos"), "folder")


def test_a_catalog_held_by_another_program_is_called_locked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store._db.write("PRAGMA busy_timeout = 50")
    editor = SqliteUtils(store.folder / "catalog.sqlite")
    editor.execute("BEGIN IMMEDIATE")
    with pytest.raises(LibraryLocked, match="another program holds the catalog"):
        store.apply(photos(1), 1)
    editor.execute("ROLLBACK")
    store.apply(photos(1), 1)


# All is imported before: the interpreter may lie where only its owner may read.
UNPRIVILEGED = """
import os, sys, urllib.parse
from pathlib import Path
import faiss, numpy as np
from clipsearch.errors import LibraryReadOnly
from clipsearch.index.store import Store

folder = Path(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)
try:
    with Store.open(folder, read_only=True) as store:
        queries = np.eye(16, dtype=np.float32)[:1]
        print(store.search(1, queries, 3)[1][0].tolist(), store.index_info(1).path is not None)
    Store.open(folder)
except LibraryReadOnly as error:
    print(error)
"""


@pytest.fixture
def read_only_folder() -> Iterator[Callable[[Path], Path]]:
    """Copy a library to where nobody may write; not in tmp_path, which only its owner may enter."""
    folder = Path(tempfile.mkdtemp()) / "library"

    def copy(library: Path) -> Path:
        shutil.copytree(library, folder)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        folder.parent.chmod(0o555)
        return folder

    yield copy
    for path in (folder.parent, folder, *folder.rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(folder.parent)


def run_unprivileged(folder: Path) -> str:
    command = [sys.executable, "-c", UNPRIVILEGED, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
@pytest.mark.parametrize("with_file", [True, False])
def test_a_library_on_read_only_media_is_searched(
    store: Store, read_only_folder: Callable[[Path], Path], with_file: bool
) -> None:
    store.apply(photos(30), 1)
    if with_file:
        store.refresh_vectors(1)
    expected = store.search(1, np.eye(WIDTH, dtype=np.float32)[:1], 3)[1][0].tolist()
    store.close()
    folder = read_only_folder(store.folder)
    assert run_unprivileged(folder) == (
        f"{expected} {with_file}\n{folder}: the library can't be written to\n"
    )


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_library_left_unfinished_on_read_only_media_says_so(
    store: Store, read_only_folder: Callable[[Path], Path]
) -> None:
    store.apply(photos(30), 1)
    folder = read_only_folder(store.folder)  # with the changes still beside the catalog
    (folder / "catalog.sqlite-shm").unlink()
    assert run_unprivileged(folder).startswith(f"{folder}: its last writer did not finish")


def test_a_library_may_have_any_utf8_path(tmp_path: Path) -> None:
    folder = tmp_path / "q?a=1#b%41 'Ünï'"
    with Store.open(folder, create=True) as store, store.writing():
        store.catalog.add_model(MODEL)
        store.apply(photos(10), 1)
        store.refresh_vectors(1)
        assert_search_is_exact(store)
        assert store.index_info(1).note is None
    with pytest.raises(LibraryError, match="FAISS needs a folder whose name is UTF-8"):
        Store.open(tmp_path / os.fsdecode(b"caf\xe9"), create=True)


def test_a_library_moved_to_a_path_that_is_not_utf8_works_on(
    tmp_path: Path,
) -> None:
    with Store.open(tmp_path / "library", create=True) as store, store.writing():
        store.catalog.add_model(MODEL)
        store.apply(photos(10), 1)
        store.refresh_vectors(1)
    folder = (tmp_path / "library").rename(tmp_path / os.fsdecode(b"caf\xe9"))
    with Store.open(folder) as moved, moved.writing():
        assert_search_is_exact(moved)
        moved.apply([Gone(1)], 1)
        moved.refresh_vectors(1)
        assert_search_is_exact(moved)
        assert moved.index_info(1).note is None


def test_the_store_is_opened_without_loading_faiss(store: Store) -> None:
    store.apply(photos(3), 1)
    program = f"""
import sys
from pathlib import Path
from clipsearch.index.store import Store

with Store.open(Path({str(store.folder)!r}), read_only=True) as store:
    print(store.index_info(1).delta, store.catalog.counts(1).photos)
print([name for name in ("faiss", "torch", "PIL", "onnxruntime") if name in sys.modules])
"""
    assert run(program).stdout == "3 3\n[]\n"
