"""What the catalog says after each kind of change, against values worked out by hand."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlite_utils import Database as SqliteUtils

from clipsearch.errors import LibraryError
from clipsearch.index.changes import (
    Copied,
    Embedded,
    Failed,
    ForgetFailure,
    ForgetFolder,
    ForgetMount,
    Gone,
    KeepFolder,
    KnownFile,
    Moved,
    Scanned,
    SeenMount,
    Touched,
    UseModel,
)
from clipsearch.index.migrations import SCHEMA_VERSION
from clipsearch.index.records import (
    Counts,
    FileState,
    ModelIdentity,
    PhotoMetadata,
    PhotoRecord,
)
from clipsearch.index.store import Store

PHOTOS = Path("/photos")
PLAIN = PhotoMetadata(40, 30, "JPEG")
RICH = PhotoMetadata(
    *(4000, 3000, "HEIF", 6, "2021-07-04T12:30:00+02:00", "Maker Model", "50 mm f/1.8"),
    *(-33.8568, 151.2153),
)
SMALL = ModelIdentity("small", "ViT", "aa", '{"size":224}', 4)
WIDE = ModelIdentity("wide", "ViT", "bb", '{"size":224}', 6)


def state(name: str, size: int = 10, mtime_ns: int = 100) -> FileState:
    return FileState(PHOTOS / name, size, mtime_ns)


def unit(axis: int, width: int = 4) -> np.ndarray:
    return np.eye(width, dtype=np.float32)[axis]


def embedded(name: str, content: str, axis: int = 0, width: int = 4) -> Embedded:
    return Embedded(state(name), content, PLAIN, unit(axis, width))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "library", create=True) as store, store.writing():
        assert store.catalog.add_model(SMALL) == 1
        assert store.catalog.add_model(WIDE) == 2
        yield store


def ids(store: Store) -> dict[str, int]:
    rows = store.catalog.known_files(None)
    return {path.name: row.photo_id for path, row in rows.items()}


def contents(store: Store) -> dict[str, str]:
    return {path.name: row.content_hash for path, row in store.catalog.known_files(None).items()}


def axis_of(store: Store, name: str, model_id: int = 1) -> int:
    """Return which unit vector is a photo's embedding."""
    vector = store.vectors(model_id, [ids(store)[name]])[0]
    assert sorted(vector) == [0] * (len(vector) - 1) + [1]
    return int(vector.argmax())


def test_a_photo_comes_back_with_all_its_metadata(store: Store) -> None:
    store.apply([Embedded(state("a.heic"), "h", RICH, unit(2))], 1)
    record = store.catalog.photo_at(PHOTOS / "a.heic")
    assert record is not None
    moment = "2021-07-04T12:30:00", "photo"
    assert record == PhotoRecord(1, state("a.heic"), "h", RICH, record.indexed_at, *moment)
    assert store.catalog.photos([1, 7]) == {1: record}
    assert [known.photo for known in store.photos_with_content("h")] == [record]
    assert store.photos_with_content("other") == []
    assert store.catalog.photo_at(PHOTOS / "b.heic") is None
    assert store.vectors(1, [1]).tolist() == [[0, 0, 1, 0]]


def test_a_name_that_is_not_utf8_comes_back_byte_for_byte(store: Store) -> None:
    path = PHOTOS / os.fsdecode(b"caf\xe9 \xff\nline.jpg")
    store.apply([Embedded(FileState(path, 1, 2), "h", PLAIN, unit(0))], 1)
    assert os.fsencode(next(iter(store.catalog.known_files(1)))) == os.fsencode(path)
    record = store.catalog.photo_at(path)
    assert record is not None
    assert os.fsencode(record.file.path) == os.fsencode(path)


def test_text_that_is_not_utf8_is_kept_wherever_it_stands(store: Store) -> None:
    bad = os.fsdecode(b"caf\xe9")
    metadata = PhotoMetadata(4, 3, "JPEG", camera=bad)
    store.apply([Embedded(state("a"), "h", metadata, unit(0)), Failed(state("b"), bad)], 1)
    assert [failure.reason for failure in store.catalog.failures()] == [bad]
    store.catalog.add_model(ModelIdentity(bad, "ViT", "cc", "{}", 4))
    assert [row.identity.name for row in store.catalog.models()] == ["small", "wide", bad]
    record = store.catalog.photo_at(PHOTOS / "a")
    assert record is not None
    assert record.metadata.camera == "caf\uefe9"


def test_a_time_stamp_far_in_the_future_is_no_obstacle(store: Store) -> None:
    far = 2**63 + 10
    store.apply([Embedded(state("a", mtime_ns=far), "h", PLAIN, unit(0))], 1)
    store.apply([Failed(state("b", mtime_ns=-far), "broken")], 1)
    assert store.catalog.known_files(1)[PHOTOS / "a"].file.mtime_ns == 2**63 - 1
    assert store.catalog.failures()[0].file.mtime_ns == -(2**63)


def test_known_files_say_what_this_model_has_embedded(store: Store) -> None:
    store.apply([embedded("a", "ha")], 1)
    expected = KnownFile(1, state("a"), "ha", True)
    assert store.catalog.known_files(1) == {PHOTOS / "a": expected}
    for other in (2, None):
        assert not store.catalog.known_files(other)[PHOTOS / "a"].embedded
    assert [known.embedded_by for known in store.photos_with_content("ha")] == [{1}]


def test_only_files_at_or_below_the_roots_are_known(store: Store) -> None:
    names = ["b", "b/x", "b/c/y", "bc/z", "b0"]
    store.apply([embedded(name, name) for name in names], 1)
    store.apply([Failed(state(f"{name}!"), "broken") for name in names], None)

    def below(*roots: str) -> list[str]:
        known = store.catalog.known_files(1, [PHOTOS / root for root in roots])
        return sorted(str(path.relative_to(PHOTOS)) for path in known)

    assert below("b") == ["b", "b/c/y", "b/x"]
    assert below("b/c", "b0", "b/c/y") == ["b/c/y", "b0"]
    assert below() == below("nowhere") == []
    assert below("/") == below("/photos") == sorted(names)
    failed = store.catalog.failures([PHOTOS / "b"])
    assert [str(f.file.path.relative_to(PHOTOS)) for f in failed] == ["b/c/y!", "b/x!"]


def test_any_number_of_roots_may_be_asked_for(store: Store) -> None:
    names = [f"{number}.jpg" for number in range(0, 3000, 10)]
    store.apply([embedded(name, name) for name in names], 1)
    store.apply([Failed(state(f"{name}!"), "broken") for name in names], None)
    roots = [PHOTOS / f"{number}.jpg" for number in range(1500)]
    assert len(store.catalog.known_files(1, roots)) == 150
    assert len(store.catalog.failures([Path(f"{root}!") for root in roots])) == 150


def test_an_edited_photo_keeps_its_id_and_loses_the_embeddings_of_all_models(store: Store) -> None:
    store.apply([embedded("a", "old", 0)], 1)
    store.apply([embedded("a", "old", 5, 6)], 2)
    store.apply([embedded("a", "new", 3)], 1)
    assert ids(store) == {"a": 1}
    assert axis_of(store, "a") == 3
    assert [known.embedded_by for known in store.photos_with_content("new")] == [{1}]


def test_the_same_content_under_another_model_keeps_both_embeddings(store: Store) -> None:
    store.apply([embedded("a", "h", 1)], 1)
    store.apply([embedded("a", "h", 5, 6)], 2)
    assert (axis_of(store, "a", 1), axis_of(store, "a", 2)) == (1, 5)
    assert store.catalog.counts(2) == Counts(photos=1, embedded=1, failures=0)


def test_embedding_the_same_content_again_replaces_its_embedding(store: Store) -> None:
    store.apply([embedded("a", "h", 1)], 1)
    store.apply([embedded("a", "h", 2)], 1)
    assert axis_of(store, "a") == 2
    assert store.catalog.counts(1).embedded == 1


def test_a_touched_photo_keeps_everything_but_size_and_time(store: Store) -> None:
    store.apply([embedded("a", "h", 1)], 1)
    store.apply([Touched(1, state("a", mtime_ns=200))], 1)
    expected = KnownFile(1, state("a", mtime_ns=200), "h", True)
    assert store.catalog.known_files(1) == {PHOTOS / "a": expected}


def test_a_moved_photo_keeps_its_id_and_embedding(store: Store) -> None:
    store.apply([embedded("a", "h", 1)], 1)
    store.apply([Moved(1, state("sub/b", mtime_ns=200))], 1)
    assert ids(store) == {"b": 1}
    assert axis_of(store, "b") == 1


def test_a_copied_file_keeps_the_embeddings_of_every_model(store: Store) -> None:
    store.apply([Embedded(state("a"), "h", RICH, unit(1))], 1)
    store.apply([Embedded(state("a"), "h", RICH, unit(5, 6))], 2)
    store.apply([Copied(1, state("b", mtime_ns=200))], 1)
    copy = store.catalog.photo_at(PHOTOS / "b")
    assert copy is not None
    assert (copy.metadata, copy.content_hash) == (RICH, "h")
    assert (axis_of(store, "b", 1), axis_of(store, "b", 2)) == (1, 5)
    assert axis_of(store, "a", 1) == 1


def test_a_photo_that_is_gone_takes_its_embeddings_with_it(store: Store) -> None:
    store.apply([embedded("a", "ha"), embedded("b", "hb")], 1)
    store.apply([Gone(1)], 1)
    assert ids(store) == {"b": 2}
    assert store.catalog.counts(1) == Counts(photos=1, embedded=1, failures=0)
    with pytest.raises(LibraryError, match="photo 1 has no embedding"):
        store.vectors(1, [2, 1])


def test_ids_of_removed_photos_are_never_used_again(store: Store) -> None:
    store.apply([embedded("a", "h")], 1)
    store.apply([Gone(1)], 1)
    store.apply([embedded("a", "h")], 1)
    assert ids(store) == {"a": 2}


def test_a_file_that_fails_is_recorded_and_leaves_its_photo_as_it_was(store: Store) -> None:
    store.apply([embedded("a", "h", 1)], 1)
    store.apply([Failed(state("a", size=0), "is empty"), Failed(state("b"), "is text")], 1)
    store.apply([Failed(state("b"), "is still text")], 1)
    failures = [(f.file, f.reason) for f in store.catalog.failures()]
    assert failures == [(state("a", size=0), "is empty"), (state("b"), "is still text")]
    assert store.catalog.known_files(1)[PHOTOS / "a"].file == state("a")
    assert axis_of(store, "a") == 1
    store.apply([ForgetFailure(PHOTOS / "a")], None)
    assert [f.file.path.name for f in store.catalog.failures()] == ["b"]


@pytest.mark.parametrize("kind", ["embedded", "touched", "moved", "copied"])
def test_a_file_that_is_taken_in_is_no_failure_any_more(store: Store, kind: str) -> None:
    store.apply([embedded("a", "h"), Failed(state("b"), "broken")], 1)
    change = {
        "embedded": embedded("b", "hb"),
        "touched": Touched(1, state("b")),
        "moved": Moved(1, state("b")),
        "copied": Copied(1, state("b")),
    }[kind]
    store.apply([change], 1)
    assert store.catalog.failures() == []


# Several changes of one batch all speak of the catalog before it


def test_two_files_that_were_swapped_keep_their_embeddings(store: Store) -> None:
    store.apply([embedded("a", "ha", 0), embedded("b", "hb", 1)], 1)
    store.apply([Moved(1, state("b")), Moved(2, state("a"))], 1)
    assert ids(store) == {"b": 1, "a": 2}
    assert (axis_of(store, "b"), axis_of(store, "a")) == (0, 1)


def test_two_files_that_took_each_others_content_keep_its_embeddings(store: Store) -> None:
    store.apply([embedded("a", "ha", 0), embedded("b", "hb", 1)], 1)
    store.apply([Copied(1, state("b")), Copied(2, state("a"))], 1)
    assert contents(store) == {"b": "ha", "a": "hb"}
    assert (axis_of(store, "b"), axis_of(store, "a")) == (0, 1)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_a_chain_of_renames_comes_out_right_in_any_order(
    store: Store, order: tuple[int, ...]
) -> None:
    store.apply([embedded("a", "ha", 0), embedded("b", "hb", 1), embedded("c", "hc", 2)], 1)
    moves = [Moved(1, state("b")), Moved(2, state("c")), Moved(3, state("d"))]
    store.apply([moves[i] for i in order], 1)
    assert contents(store) == {"b": "ha", "c": "hb", "d": "hc"}
    assert [axis_of(store, name) for name in "bcd"] == [0, 1, 2]


def test_a_photo_renamed_onto_another_replaces_it(store: Store) -> None:
    store.apply([embedded("a", "ha", 0), embedded("b", "hb", 1)], 1)
    store.apply([Moved(1, state("b"))], 1)
    assert ids(store) == {"b": 1}
    assert axis_of(store, "b") == 0
    assert store.catalog.counts(1) == Counts(photos=1, embedded=1, failures=0)


def test_content_overwritten_by_a_rename_may_live_on_as_a_copy(store: Store) -> None:
    store.apply([embedded("a", "ha", 0), embedded("b", "hb", 1)], 1)
    store.apply([Moved(1, state("b")), Copied(2, state("c"))], 1)  # b -> c, then a -> b
    assert contents(store) == {"b": "ha", "c": "hb"}
    assert (axis_of(store, "b"), axis_of(store, "c")) == (0, 1)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_new_photo_may_take_the_path_that_another_leaves(store: Store, reverse: bool) -> None:
    store.apply([embedded("a", "ha", 0)], 1)
    changes = [Moved(1, state("b")), embedded("a", "new", 3)]
    store.apply(changes[::-1] if reverse else changes, 1)
    assert contents(store) == {"b": "ha", "a": "new"}
    assert (axis_of(store, "b"), axis_of(store, "a")) == (0, 3)
    assert ids(store)["b"] == 1


def test_a_photo_may_move_and_be_copied_at_once(store: Store) -> None:
    store.apply([embedded("a", "ha", 2)], 1)
    store.apply([Moved(1, state("b")), Copied(1, state("c"))], 1)
    assert contents(store) == {"b": "ha", "c": "ha"}
    assert axis_of(store, "c") == 2


def test_a_copy_onto_the_same_content_adds_what_was_missing(store: Store) -> None:
    store.apply([embedded("a", "h", 1), embedded("b", "h", 1)], 1)
    store.apply([embedded("a", "h", 5, 6)], 2)
    store.apply([Copied(1, state("b"))], 2)
    assert ids(store) == {"a": 1, "b": 2}
    assert (axis_of(store, "b", 1), axis_of(store, "b", 2)) == (1, 5)


def test_changes_to_a_photo_that_is_no_longer_there_are_passed_over(store: Store) -> None:
    store.apply([embedded("a", "h")], 1)
    store.apply([Touched(9, state("x")), Moved(9, state("y")), Copied(9, state("z")), Gone(9)], 1)
    assert contents(store) == {"a": "h"}


def test_a_batch_with_a_mistake_changes_nothing(store: Store) -> None:
    store.apply([embedded("a", "h")], 1)
    for wrong in (unit(0, 6), np.full(4, np.nan, np.float32)):
        with pytest.raises(ValueError, match="not an embedding of model 1"):
            store.apply([Gone(1), Embedded(state("b"), "hb", PLAIN, wrong)], 1)
    with pytest.raises(ValueError, match="not an embedding of model None"):
        store.apply([Gone(1), embedded("b", "hb")], None)
    assert contents(store) == {"a": "h"}


def test_a_batch_that_fails_while_it_is_written_changes_nothing(store: Store) -> None:
    store.apply([embedded("a", "h", 1)], 1)
    store._db.write(
        "CREATE TRIGGER full BEFORE INSERT ON failures BEGIN "
        "SELECT RAISE(ABORT, 'database or disk is full'); END"
    )
    with pytest.raises(Exception, match="full"):
        store.apply([Moved(1, state("b")), embedded("a", "new"), Failed(state("c"), "-")], 1)
    assert contents(store) == {"a": "h"}
    assert axis_of(store, "a") == 1


# Folders and models


def test_folders_are_remembered_with_their_last_scan(store: Store) -> None:
    catalog = store.catalog
    store.apply([KeepFolder(PHOTOS, "folder"), KeepFolder(PHOTOS, "folder")])
    store.apply([KeepFolder(Path("/a.jpg"), "file")])
    assert [(f.path, f.kind, f.scanned_at) for f in catalog.folders()] == [
        (Path("/a.jpg"), "file", None),
        (PHOTOS, "folder", None),
    ]
    store.apply([Scanned(PHOTOS)])
    assert [f.scanned_at is None for f in catalog.folders()] == [True, False]
    store.apply([ForgetFolder(PHOTOS)])
    assert [f.path for f in catalog.folders()] == [Path("/a.jpg")]


def test_mount_points_are_remembered(store: Store) -> None:
    strange = PHOTOS / os.fsdecode(b"caf\xe9")
    for path in (strange, PHOTOS / "a", PHOTOS / "a"):
        store.apply([SeenMount(path)])
    assert store.catalog.mounts() == [PHOTOS / "a", strange]
    store.apply([ForgetMount(strange), ForgetMount(PHOTOS / "never there")])
    assert store.catalog.mounts() == [PHOTOS / "a"]


def test_a_model_is_known_by_what_it_computes_not_by_its_name(store: Store) -> None:
    renamed = ModelIdentity("moved", "ViT", "aa", '{"size":224}', 4)
    assert store.catalog.add_model(renamed) == 1
    assert [row.identity for row in store.catalog.models()] == [renamed, WIDE]
    other = ModelIdentity("small", "ViT", "aa", '{"size":256}', 4)
    assert store.catalog.add_model(other) == 3


def test_one_model_is_current(store: Store) -> None:
    assert not any(row.is_current for row in store.models())
    store.apply([embedded("a", "ha"), embedded("b", "hb")], 1)
    store.apply([UseModel(2)])
    store.apply([UseModel(1)])
    (current,) = (row for row in store.models() if row.is_current)
    assert (current.id, current.identity, current.photos) == (1, SMALL, 2)
    assert [(row.photos, row.is_current) for row in store.catalog.models()] == [
        (2, True),
        (0, False),
    ]


# Rows edited by hand


def test_embeddings_are_never_changed_in_place(store: Store) -> None:
    store.apply([embedded("a", "h")], 1)
    db = SqliteUtils(store.folder / "catalog.sqlite")
    with pytest.raises(Exception, match="an embedding is never changed"):
        db["embeddings"].update(1, {"vector": b"\0" * 8})


def test_a_photo_deleted_by_hand_takes_its_embeddings_with_it(store: Store) -> None:
    store.apply([embedded("a", "h")], 1)
    db = SqliteUtils(store.folder / "catalog.sqlite")
    db.execute("PRAGMA foreign_keys = OFF")
    db["photos"].delete(1)
    assert list(db["embeddings"].rows) == []
    assert list(db["removed_embeddings"].rows) == [{"id": 1, "model_id": 1, "embedding_id": 1}]


def test_the_view_of_embedded_photos_reads_well(store: Store) -> None:
    store.apply([Embedded(state("a.heic"), "h", RICH, unit(0))], 1)
    db = SqliteUtils(store.folder / "catalog.sqlite")
    row = next(iter(db["embedded_photos"].rows))
    assert (row["path"], row["model"]) == ("/photos/a.heic", "small")
    assert row["taken_at"] == "2021-07-04T12:30:00+02:00"


def test_the_library_knows_its_age_and_version(store: Store) -> None:
    assert store.catalog.schema_version() == SCHEMA_VERSION
    created = time.strptime(store.catalog.created_at(), "%Y-%m-%dT%H:%M:%S+00:00")
    assert created.tm_year >= 2024
