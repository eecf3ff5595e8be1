"""What a library leaves out for good, and how it is taken in again."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipsearch import (
    IndexOptions,
    IndexReport,
    InvalidInput,
    Library,
    backup_library,
    restore_library,
)
from clipsearch.photos.exclusions import IGNORE_FILE
from clipsearch.upkeep import check_library

pytestmark = pytest.mark.usefixtures("tiny_model_used")


@pytest.fixture
def library(small_library: Path) -> Iterator[Library]:
    with Library(small_library / "library", device="cpu") as library:
        yield library


@pytest.fixture
def photos(small_library: Path) -> Path:
    return small_library / "photos"


def known(library: Library) -> set[str]:
    """Return the names of the photos in the library."""
    ids = library._store.photos_below(None).tolist()
    return {photo.file.path.name for photo in library._store.photos(ids).values()}


def counts(report: IndexReport) -> dict[str, int]:
    names = ("added", "changed", "moved", "removed", "left_out", "unchanged", "failed")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def left_out(library: Library) -> list[tuple[str, str]]:
    return [(one.kind, one.what) for one in library.info().exclusions]


ALL = {f"photo-{number}.jpg" for number in range(5)}
TRIP = {"photo-3.jpg", "photo-4.jpg"}


def test_what_was_removed_stays_out_until_it_is_named(library: Library, photos: Path) -> None:
    assert library.remove([photos / "photo-0.jpg", photos / "trip"]) == 3
    assert left_out(library) == [
        ("path", str(photos / "photo-0.jpg")),
        ("path", str(photos / "trip")),
    ]
    for run in (library.index, lambda: library.index(photos), lambda: library.update(photos)):
        assert counts(run()) == {"unchanged": 2}
    assert library.update([photos / "photo-0.jpg", photos / "trip" / "photo-3.jpg"]).added == 0
    assert counts(library.index(photos.parent, options=IndexOptions(retry_failed=True))) == {
        "unchanged": 2
    }
    assert counts(library.index(photos / "trip")) == {"added": 2}
    assert counts(library.index(photos / "photo-0.jpg")) == {"added": 1}
    assert left_out(library) == []
    assert [folder.path for folder in library.folders()] == [photos.parent]
    assert known(library) == ALL


def test_naming_something_in_what_is_left_out_takes_in_that_alone(
    library: Library, photos: Path
) -> None:
    library.remove(photos / "trip")
    assert counts(library.index(photos / "trip" / "photo-3.jpg")) == {"added": 1}
    assert left_out(library) == [("path", str(photos / "trip"))]
    assert counts(library.index()) == {"unchanged": 4}
    assert counts(library.index(photos)) == {"unchanged": 4}
    assert library.remove(photos / "trip") == 1
    assert len(library.folders()) == 1
    assert counts(library.index()) == {"unchanged": 3}
    library.index(photos / "trip" / "photo-4.jpg")
    assert counts(library.index(photos / "trip")) == {"added": 1, "unchanged": 1}
    assert [folder.path for folder in library.folders()] == [photos]  # found from there again
    assert counts(library.index()) == {"unchanged": 5}


def test_to_forget_is_not_to_leave_out(library: Library, photos: Path) -> None:
    assert library.remove(photos / "trip", forget=True) == 2
    assert left_out(library) == []
    assert counts(library.index()) == {"added": 2, "unchanged": 3}
    library.remove(photos / "trip")
    with pytest.raises(InvalidInput, match="left out already; `clipsearch index PATH`"):
        library.remove(photos / "trip")
    assert library.remove(photos / "trip", forget=True) == 0
    assert counts(library.index()) == {"added": 2, "unchanged": 3}
    library.remove([photos / "trip" / "photo-3.jpg", photos / "photo-0.jpg"])
    assert library.remove([photos, photos / "trip"]) == 3
    assert left_out(library) == [("path", str(photos))]  # which holds the others
    assert library.folders() == []


def test_patterns_hold_for_all_folders_until_they_are_taken_back(
    library: Library, photos: Path, sample_photos: list[Path]
) -> None:
    other = photos.parent / "other" / "trip"
    other.mkdir(parents=True)
    shutil.copyfile(sample_photos[6], other / "b.jpg")
    report = library.index(other.parent, options=IndexOptions(exclude=["trip/", "photo-0.*"]))
    assert counts(report) == {"left_out": 3, "unchanged": 2}  # in the other folder, too
    assert left_out(library) == [("pattern", "trip/"), ("pattern", "photo-0.*")]
    assert counts(library.index()) == {"unchanged": 2}
    options = IndexOptions(exclude="!trip/", no_exclude=["photo-0.*"])
    assert counts(library.index(other.parent, options=options)) == {"added": 4, "unchanged": 2}
    assert left_out(library) == [("pattern", "trip/"), ("pattern", "!trip/")]
    with pytest.raises(InvalidInput, match="no pattern trip is in force; did you mean trip/"):
        library.index(options=IndexOptions(no_exclude=["trip"]))
    with pytest.raises(InvalidInput, match="no pattern that could match"):
        IndexOptions(exclude=["# a comment"])


def test_naming_what_a_pattern_or_file_leaves_out_takes_it_in(
    library: Library, photos: Path
) -> None:
    (photos / IGNORE_FILE).write_text("photo-0.jpg\n")
    assert counts(library.index(options=IndexOptions(exclude=["trip"]))) == {
        "left_out": 3,
        "unchanged": 2,
    }
    named = [photos / "trip" / "photo-3.jpg", photos / "photo-0.jpg"]
    assert counts(library.index(named)) == {"added": 2}
    assert counts(library.index()) == {"unchanged": 4}
    assert {folder.path for folder in library.folders()} == {photos, *named}
    (photos / IGNORE_FILE).unlink()
    assert counts(library.index(photos, options=IndexOptions(no_exclude=["trip"]))) == {
        "added": 1,
        "unchanged": 4,
    }
    assert [folder.path for folder in library.folders()] == [photos]


def test_ignore_files_are_followed_and_listed(library: Library, photos: Path) -> None:
    file, below = photos / IGNORE_FILE, photos / "trip" / IGNORE_FILE
    (photos / "photo-0.jpg").rename(photos / "broken.jpg")
    (photos / "broken.jpg").write_text("text")
    assert library.index().failed == 1
    below.write_text("*-3.jpg\n")
    file.write_text("*-1.jpg\nbroken.jpg\n")
    assert counts(library.index()) == {"left_out": 2, "unchanged": 2}
    assert library.failures() == []
    assert left_out(library) == [("ignore file", str(file)), ("ignore file", str(below))]
    assert counts(library.index()) == {"unchanged": 2}
    file.write_text("trip/\n")
    assert counts(library.index()) == {"added": 1, "left_out": 1, "unchanged": 1, "failed": 1}
    assert left_out(library) == [("ignore file", str(file))]
    file.unlink()
    assert library.update(photos).added == 1
    assert left_out(library) == [("ignore file", str(below))]


def test_what_is_away_or_can_not_be_read_keeps_its_photos(library: Library, photos: Path) -> None:
    library.index(options=IndexOptions(exclude=["nothing"]))
    elsewhere = photos.rename(photos.parent / "elsewhere")
    report = library.index(options=IndexOptions(exclude=["trip"]))
    assert (report.removed, report.left_out) == (0, 0)
    elsewhere.rename(photos)
    (photos / "trip" / IGNORE_FILE).mkdir()
    report = library.index(options=IndexOptions(no_exclude=["trip"]))
    assert counts(report) == {"unchanged": 3}
    (problem,) = report.problems
    assert problem.path == photos / "trip"
    assert known(library) == ALL


def test_a_photo_that_was_moved_into_what_is_left_out_is_gone(
    library: Library, photos: Path
) -> None:
    library.remove(photos / "trip")
    (photos / "photo-0.jpg").rename(photos / "trip" / "photo-0.jpg")
    assert counts(library.index()) == {"removed": 1, "unchanged": 2}
    (photos / "trip" / "photo-3.jpg").rename(photos / "back.jpg")  # another path: another photo
    assert counts(library.index()) == {"added": 1, "unchanged": 2}


def test_another_model_embeds_no_more_than_the_library_has(
    library: Library, photos: Path, other_model_folder: Path
) -> None:
    library.remove(photos / "trip")
    assert counts(library.index(model=other_model_folder)) == {"changed": 3}
    assert known(library) == ALL - TRIP


def test_a_backup_carries_what_is_left_out_and_a_check_counts_it(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    library.remove(photos / "trip")
    library.index(options=IndexOptions(exclude=["*.png"]))
    before = left_out(library)
    assert check_library(library.folder, files=True).ok
    backup_library(library.folder, tmp_path / "backup.tar")
    restore_library(tmp_path / "backup.tar", tmp_path / "again")
    with Library(tmp_path / "again", device="cpu") as again:
        assert left_out(again) == before
        assert counts(again.index()) == {"unchanged": 3}


def test_a_repair_keeps_what_is_left_out(library: Library, photos: Path) -> None:
    library.remove(photos / "trip")
    before = left_out(library)
    folder = library.folder
    library.close()
    catalog = sqlite3.connect(folder / "catalog.sqlite")
    page = catalog.execute("PRAGMA page_size").fetchone()[0]
    sql = "SELECT rootpage FROM sqlite_master WHERE name = 'photos_content_hash'"
    root = catalog.execute(sql).fetchone()[0]
    catalog.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    catalog.close()
    with (folder / "catalog.sqlite").open("r+b") as file:
        file.seek(page * (root - 1))
        file.write(b"\xa5" * page)
    assert check_library(folder, repair=True).ok
    with Library(folder, device="cpu") as repaired:
        assert left_out(repaired) == before


# Files that are no pictures


def test_a_named_file_that_is_no_picture_is_refused_before_anything_is_done(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("no picture")
    shutil.copyfile(photos / "photo-0.jpg", photos.parent / "no suffix")
    with pytest.raises(InvalidInput, match=r"notes\.md is no picture"):
        library.index([photos.parent / "no suffix", notes])
    new = tmp_path / "new" / "library"
    with pytest.raises(InvalidInput, match=r"notes\.md is no picture"):
        Library.for_indexing(new, [notes])
    assert not new.exists()
    assert [folder.path for folder in library.folders()] == [photos]
    assert counts(library.index(photos.parent / "no suffix")) == {"added": 1}
    (photos.parent / "raw.x").write_bytes(b"FUJIFILMCCD-RAW 0201" + bytes(100))
    library.index(photos.parent / "raw.x")  # a picture, whether it can be opened or not


def test_what_an_older_version_took_in_is_let_go_of(library: Library, tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("no picture")
    catalog = sqlite3.connect(library.folder / "catalog.sqlite", isolation_level=None)
    catalog.execute("INSERT INTO folders VALUES (?, 'file', 'then', NULL)", (str(notes),))
    catalog.execute("INSERT INTO failures VALUES (?, 10, 0, 'text', 'then')", (str(notes),))
    catalog.close()
    with pytest.raises(InvalidInput, match="is no picture"):
        library.index(notes)
    report = library.index()
    assert report.notes == (f"{notes} is no picture: it is no longer looked at",)
    assert (counts(report), library.failures()) == ({"unchanged": 5}, [])
    assert len(library.folders()) == 1
