"""One path, text or picture where several are expected; paths that are empty or begin with //."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from cli_process import clipsearch

from clipsearch import (
    IndexOptions,
    InvalidInput,
    Library,
    backup_library,
    check_library,
    restore_library,
)
from clipsearch.arguments import as_list
from clipsearch.models.text.encoder import TextEncoder
from clipsearch.settings import absolute, library_folder


@pytest.fixture
def photos(small_library: Path) -> Path:
    return small_library / "photos"


@pytest.fixture
def library(small_library: Path) -> Iterator[Library]:
    with Library(small_library / "library", device="cpu") as library:
        yield library


def names(library: Library) -> set[str]:
    return {hit.path.name for hit in library.query("anything", k=100)}


# One for many


def test_one_path_is_removed_as_one(library: Library, photos: Path) -> None:
    assert library.remove(str(photos / "photo-0.jpg")) == 1
    assert library.remove(photos / "photo-1.jpg") == 1
    assert library.remove(photos / f"photo-{n}.jpg" for n in (2,)) == 1
    assert names(library) == {"photo-3.jpg", "photo-4.jpg"}


def test_one_path_is_indexed_and_updated_as_one(
    library: Library, photos: Path, tmp_path: Path, sample_photos: list[Path]
) -> None:
    shutil.copyfile(sample_photos[6], tmp_path / "single.jpg")
    assert library.index(str(tmp_path / "single.jpg")).added == 1
    shutil.copyfile(sample_photos[7], photos / "new.jpg")
    (photos / "photo-0.jpg").unlink()
    report = library.update(str(photos / "new.jpg"))  # "/" would have brought all up to date
    assert (report.added, report.removed) == (1, 0)
    assert {folder.path for folder in library.folders()} == {photos, tmp_path / "single.jpg"}


def test_no_path_is_no_path_and_not_every_folder(library: Library, photos: Path) -> None:
    shutil.rmtree(photos)
    report = library.index([], options=IndexOptions(prune=True))
    assert (report.removed, report.problems) == (0, ())
    assert library.remove([]) == 0
    assert library.info().photos == 5


def test_one_text_and_one_picture_are_encoded_as_one(library: Library, photos: Path) -> None:
    picture = PIL.Image.open(photos / "photo-0.jpg").convert("RGB")
    pixels, data = np.asarray(picture), (photos / "photo-0.jpg").read_bytes()
    assert np.array_equal(library.encode_text("a dog"), library.encode_text(["a dog"]))
    for one in (photos / "photo-0.jpg", str(photos / "photo-0.jpg"), data, picture, pixels):
        assert np.array_equal(library.encode_images(one), library.encode_images([one]))
    several = library.encode_images(np.stack([pixels, pixels[::-1]]))
    assert np.array_equal(several, library.encode_images([pixels, pixels[::-1]]))
    (hits,) = library.query_batch("a dog", k=2)
    assert hits == library.query("a dog", k=2)
    assert len(library.query_batch(text for text in ("a dog", "a cat"))) == 2
    tower = TextEncoder.open(next((library.folder / "models").iterdir()))
    assert np.array_equal(tower.encode_text("a dog"), tower.encode_text(["a dog"]))


def test_what_is_no_path_changes_nothing(library: Library, photos: Path) -> None:
    (photos / "photo-0.jpg").unlink()
    for wrong in (None, 7, b"/", [None], [b"/"], ["/", None], [""], "", " "):
        for act in (library.remove, library.update, library.index):
            if wrong is not None or act != library.index:
                with pytest.raises(InvalidInput, match="path"):
                    act(wrong)
    assert library.info().photos == 5
    assert [folder.path for folder in library.folders()] == [photos]


def test_what_is_no_text_or_picture_is_refused(library: Library, photos: Path) -> None:
    for texts in (None, 7, b"a dog", [None], ["a dog", photos / "photo-0.jpg"]):
        with pytest.raises(InvalidInput):
            library.encode_text(texts)
    for pictures in (None, "a dog", [photos, None], bytearray(b"x")):
        with pytest.raises(InvalidInput):
            library.encode_images(pictures)
    with pytest.raises(InvalidInput):
        library.query_batch([None])


def test_what_is_one_and_what_is_many() -> None:
    path, array = Path("a"), np.zeros((2, 2, 3), np.uint8)
    for one in ("ab", b"ab", path, 7, None, array, np.array(7)):
        assert as_list(one) == [one]
    for many in (["ab", path], ("ab", path), iter(["ab", path]), {"ab": 1, path: 2}):
        assert as_list(many) == ["ab", path]
    assert len(as_list(np.zeros((4, 2, 2, 3)))) == 4


# All or nothing


def test_remove_forgets_all_or_nothing(library: Library, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_text("no picture")
    library.index()
    before = (library.info().photos, library.folders(), library.failures())
    with pytest.raises(InvalidInput, match=r"none\.jpg is not in the library"):
        library.remove([photos, photos / "broken.jpg", tmp_path / "none.jpg"])
    assert (library.info().photos, library.folders(), library.failures()) == before
    everything = [photos / "trip", photos, photos / "photo-0.jpg", photos / "photo-0.jpg"]
    assert library.remove(everything) == 5  # each counts once
    assert (library.folders(), library.failures()) == ([], [])


def test_the_program_removes_all_or_nothing_and_names_what_it_lacks(
    library: Library, photos: Path
) -> None:
    good, bad = photos / "photo-0.jpg", photos / "none.jpg"
    ended = clipsearch("remove", good, bad, "--library", library.folder)
    assert (ended.code, ended.out) == (2, b"")
    (line,) = ended.err.splitlines()
    assert str(bad) in line
    assert library.info().photos == 5


def test_index_takes_all_paths_or_none(library: Library, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for bad in (tmp_path / "none", tmp_path / "pipe", "/dev/zero", library.folder, ""):
        with pytest.raises(InvalidInput):
            library.index([tmp_path / "more", bad])
    assert tmp_path / "more" not in {folder.path for folder in library.folders()}


# Empty paths


@pytest.mark.parametrize(
    "arguments",
    [
        ("remove", ""),
        ("remove", "photo-0.jpg", ""),
        ("index", ""),
        ("index", ".", "--library", ""),
        ("index", ".", "--library="),
        ("watch", ""),
        ("similar", ""),
        ("query", "--image", ""),
        ("backup", ""),
        ("restore", ""),
        ("train", "--data", "", "--dry-run"),
        ("eval", "retrieval", "--data", ""),
    ],
)
def test_an_empty_argument_is_bad_usage_and_does_nothing(
    library: Library, photos: Path, arguments: tuple[str, ...]
) -> None:
    before = sorted(photos.rglob("*"))
    environment = {"CLIPSEARCH_LIBRARY": str(library.folder)}
    ended = clipsearch(*arguments, cwd=photos, environment=environment)
    assert (ended.code, ended.out) == (2, b"")
    (line,) = ended.err.splitlines()
    assert "empty" in line
    assert sorted(photos.rglob("*")) == before
    assert library.info().photos == 5


def test_an_empty_path_is_refused_from_python_too(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for empty in ("", " ", "\t"):
        for act in (
            Library,
            check_library,
            lambda path: backup_library(None, path),
            lambda path: restore_library(path, None),
            library_folder,
            absolute,
        ):
            with pytest.raises(InvalidInput, match="empty"):
                act(empty)
    assert list(tmp_path.iterdir()) == []
    assert absolute(Path()) == tmp_path  # equal to Path("."), and means the same
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", "")
    assert library_folder(None).name == "library"  # not set: the user's own


# Two slashes


def test_a_folder_has_one_path_however_it_is_written(library: Library, photos: Path) -> None:
    for form in ("/{0}", "//{0}", "{0}/", "{0}/.", "{0}/trip/..", "/{0}//trip/../"):
        written = form.format(photos)
        report = library.index([written])
        assert (report.unchanged, report.embedded) == (5, 0)
        assert [folder.path for folder in library.folders()] == [photos]
        assert library.update([f"{written}/photo-0.jpg"]).unchanged == 1
    assert library.remove(f"/{photos}/photo-0.jpg") == 1


def test_rows_with_two_slashes_join_those_with_one(library: Library, photos: Path) -> None:
    """A library in which an older clipsearch has some photos twice, and others only so."""
    (photos / "broken.jpg").write_text("no picture")
    library.index()
    with sqlite3.connect(library.folder / "catalog.sqlite") as catalog:
        for table in ("folders", "failures"):
            catalog.execute(f"UPDATE {table} SET path = '/' || path")
        catalog.execute("UPDATE photos SET path = '/' || path WHERE path LIKE '%/trip/%'")
        columns = [row[1] for row in catalog.execute("PRAGMA table_info(photos)")][2:]
        catalog.execute(
            f"INSERT INTO photos (path, {', '.join(columns)}) SELECT '/' || path, "
            f"{', '.join(columns)} FROM photos WHERE path NOT LIKE '//%'"
        )
        folder = "INSERT INTO folders VALUES (?, 'folder', '2020-01-01', NULL)"
        catalog.execute(folder, [str(photos)])
    catalog.close()
    assert library.info().photos == 8
    report = library.index()
    assert (report.embedded, report.removed, report.unchanged) == (0, 0, 5)
    assert [folder.path for folder in library.folders()] == [photos]
    assert [failure.file.path for failure in library.failures()] == [photos / "broken.jpg"]
    assert len(library.query("anything", k=100)) == 5


def test_a_library_named_with_two_slashes_is_the_same(library: Library) -> None:
    with Library(f"/{library.folder}", read_only=True) as other:
        assert other.folder == library.folder
