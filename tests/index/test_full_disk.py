"""A full disk: each write ends in one clear line, loses nothing, and goes on once there is room."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_upgrading import content, unpack, version

from clipsearch.errors import LibraryError
from clipsearch.index.changes import Embedded
from clipsearch.index.migrations import SCHEMA_VERSION
from clipsearch.index.records import FileState, ModelIdentity, PhotoMetadata
from clipsearch.index.store import Store

WIDTH = 64
FULL = "no space left on the disk of the library"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a disk of its own with 2 MB; skip where this process may not mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs mount")
    if done.returncode:
        pytest.skip(f"can't mount a tmpfs: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def leave_free(disk: Path, count: int) -> None:
    """Fill a disk up to some free bytes."""
    free = shutil.disk_usage(disk).free
    with (disk / "filler").open("ab", buffering=0) as file:
        file.write(bytes(max(0, free - count)))


def photos(first: int, count: int) -> list[Embedded]:
    vectors = np.random.default_rng(first).normal(size=(count, WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    metadata = PhotoMetadata(4, 3, "JPEG")
    return [
        Embedded(FileState(Path(f"/photos/{n}.jpg"), 1, 1), f"hash {n}", metadata, vector)
        for n, vector in enumerate(vectors, first)
    ]


def make_library(folder: Path) -> int:
    with Store.open(folder, create=True) as store, store.writing():
        return store.catalog.add_model(ModelIdentity("m", "ViT", "aa", "{}", WIDTH))


@pytest.mark.parametrize("free", [0, 4096, 16_384, 100_000])
def test_a_library_that_can_not_be_made_leaves_nothing_in_the_way(
    small_disk: Path, free: int
) -> None:
    leave_free(small_disk, free)
    with pytest.raises(LibraryError, match=f"{small_disk}.*: {FULL}"):
        make_library(small_disk / "library")
    (small_disk / "filler").unlink()
    make_library(small_disk / "library")
    assert sorted(path.name for path in (small_disk / "library").iterdir()) == [
        "catalog.sqlite",
        "lock",
    ]


def test_batches_committed_before_the_disk_was_full_stay(small_disk: Path) -> None:
    folder = small_disk / "library"
    model = make_library(folder)
    with Store.open(folder) as store, store.writing():
        leave_free(small_disk, 400_000)
        committed = 0
        with pytest.raises(LibraryError, match=FULL):
            for first in range(0, 10_000, 50):
                store.apply(photos(first, 50), model)
                committed += 50
        assert committed > 0
        assert store.catalog.counts(model).embedded == committed
        with Store.open(folder, read_only=True) as reader:  # beside the writer
            assert reader.catalog.counts(model).embedded == committed
    with Store.open(folder, read_only=True) as reader:  # without one
        assert reader.search(model, np.eye(WIDTH, dtype=np.float32)[:1], 5)[1].min() > 0
    (small_disk / "filler").unlink()
    with Store.open(folder) as store, store.writing():
        store.apply(photos(committed, 50), model)
        assert store.catalog.counts(model).embedded == committed + 50


def test_an_index_file_without_room_leaves_the_former_one(small_disk: Path) -> None:
    folder = small_disk / "library"
    model = make_library(folder)
    with Store.open(folder) as store, store.writing():
        store.apply(photos(0, 300), model)
        store.refresh_vectors(model)
        store.apply(photos(300, 300), model)
        before = [path.name for path in (folder / "vectors").iterdir()]
        leave_free(small_disk, 20_000)
        with pytest.raises(LibraryError, match=f"the vector index can't be written: {FULL}"):
            store.refresh_vectors(model)
        assert [path.name for path in (folder / "vectors").iterdir()] == before
        assert (store.search(model, np.eye(WIDTH, dtype=np.float32), 600)[1] > 0).all()
        (small_disk / "filler").unlink()
        store.refresh_vectors(model)
        assert store.index_info(model).vectors == 600


@pytest.mark.parametrize("free", [0, 4096, 40_000])
def test_a_library_on_a_full_disk_is_read(small_disk: Path, free: int) -> None:
    folder = small_disk / "library"
    model = make_library(folder)
    with Store.open(folder) as store, store.writing():
        store.apply(photos(0, 300), model)
        store.refresh_vectors(model)
    leave_free(small_disk, free)
    with Store.open(folder, read_only=True) as reader:
        assert (reader.search(model, np.eye(WIDTH, dtype=np.float32), 300)[1] > 0).all()
    if free < 10_000:
        with pytest.raises(LibraryError, match=FULL):
            Store.open(folder)


@pytest.mark.parametrize("free", [0, 4096, 40_000, 100_000, 220_000])  # the last: after the copy
def test_a_disk_without_room_for_the_copy_leaves_the_old_library(
    small_disk: Path, free: int
) -> None:
    folder = unpack(small_disk / "library")
    before = content(folder / "catalog.sqlite")
    leave_free(small_disk, free)
    with pytest.raises(LibraryError, match="no space left on the disk of the library") as caught:
        Store.open(folder)
    if 40_000 <= free <= 100_000:
        assert "needs room for a copy of its catalog meanwhile (0.2 MB)" in str(caught.value)
    (small_disk / "filler").unlink()
    assert content(folder / "catalog.sqlite") == before
    assert version(folder) == 1
    assert not list(folder.glob("*schema-1*"))
    with Store.open(folder) as store:
        assert store.catalog.schema_version() == SCHEMA_VERSION
