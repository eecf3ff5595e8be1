"""Folders whose disk is away: kept, out of results, and back at once when the disk is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_process import clipsearch

from clipsearch import Library
from clipsearch.away import EMPTY, MISSING, NO_ANSWER, NOT_MOUNTED, away_folders
from clipsearch.index.records import Folder
from clipsearch.results import IndexOptions


@pytest.fixture
def album(tmp_path: Path, sample_photos: list[Path]) -> Path:
    """Return a folder of four photos beside one of two."""
    for name, photos in {"usb": sample_photos[:4], "home": sample_photos[4:6]}.items():
        (tmp_path / name).mkdir()
        for photo in photos:
            shutil.copy2(photo, tmp_path / name)
    return tmp_path


@pytest.fixture
def library(album: Path, tiny_model_folder: Path) -> Iterator[Library]:
    with Library(album / "library") as library:
        library.index([album / "usb", album / "home"], model=str(tiny_model_folder))
        yield library


def folders_of(hits) -> set[str]:
    return {hit.path.parent.name for hit in hits}


def rows(library: Library) -> list[tuple[int, Path]]:
    return sorted((hit.id, hit.path) for hit in library.query("a dog", include_away=True))


def unmount_by_renaming(album: Path) -> None:
    (album / "usb").rename(album / "elsewhere")


def unmount_by_emptying(album: Path) -> None:
    unmount_by_renaming(album)
    (album / "usb").mkdir()


@pytest.mark.parametrize(
    ("unmount", "reason"), [(unmount_by_renaming, MISSING), (unmount_by_emptying, EMPTY)]
)
def test_photos_of_a_disk_that_is_away_are_no_hits_until_it_is_back(
    library: Library, album: Path, unmount, reason: str
) -> None:
    before = rows(library)
    unmount(album)

    assert folders_of(library.query("a dog", k=6)) == {"home"}
    assert [(f.path, f.reason, f.photos) for f in library.away()] == [(album / "usb", reason, 4)]
    assert library.info().away == tuple(library.away())
    report = library.index()
    assert (report.removed, report.embedded) == (0, 0)
    assert [problem.path for problem in report.problems] == [album / "usb"]
    assert folders_of(library.query("a dog", k=6)) == {"home"}
    assert rows(library) == before

    if (album / "usb").exists():
        (album / "usb").rmdir()
    (album / "elsewhere").rename(album / "usb")
    assert len(library.query("a dog", k=6)) == 6  # at once, before any index run
    report = library.index()
    assert (report.embedded, report.unchanged, report.problems) == (0, 6, ())
    assert rows(library) == before


def test_other_photos_take_the_places_of_those_that_are_away(library: Library, album: Path) -> None:
    every = library.query("a dog", k=6)
    unmount_by_renaming(album)
    left = [hit.path for hit in every if hit.path.parent.name == "home"]
    assert [hit.path for hit in library.query("a dog", k=2)] == left
    found = library.similar(album / "home" / left[0].name, k=6)
    assert [hit.path for hit in found] == left[1:]
    _, ids = library.search_vectors(library.encode_text(["a dog"]), k=6)
    assert (ids[0] >= 0).sum() == 2


def test_prune_forgets_what_is_away(library: Library, album: Path) -> None:
    unmount_by_renaming(album)
    report = library.index(options=IndexOptions(prune=True))
    assert (report.removed, report.unchanged, report.problems) == (4, 2, ())
    assert [folder.path for folder in library.info().folders] == [album / "home"]
    assert library.away() == []


def test_remove_forgets_what_is_away(library: Library, album: Path) -> None:
    unmount_by_renaming(album)
    assert library.remove([album / "usb"]) == 4
    assert library.away() == []
    assert library.info().photos == 2


def test_a_deleted_photo_of_a_folder_that_vanishes_in_mid_run_is_not_forgotten(
    library: Library, album: Path, sample_photos: list[Path]
) -> None:
    before = rows(library)
    next((album / "usb").iterdir()).unlink()  # looks deleted, and then the disk goes
    shutil.copy2(sample_photos[6], album / "home")

    def stop() -> bool:
        if (album / "usb").exists():
            unmount_by_renaming(album)
        return False

    report = library.index(stop=stop)
    assert (report.added, report.removed) == (1, 0)
    assert set(before) < set(rows(library))


def test_a_single_file_is_away_with_its_folder_but_deleted_alone(
    tmp_path: Path, sample_photos: list[Path], tiny_model_folder: Path
) -> None:
    (tmp_path / "usb").mkdir()
    photos = [Path(shutil.copy2(photo, tmp_path / "usb")) for photo in sample_photos[:2]]
    with Library(tmp_path / "library") as library:
        library.index(photos, model=str(tiny_model_folder))
        (tmp_path / "usb").rename(tmp_path / "elsewhere")
        assert library.query("a dog") == []
        assert library.index().removed == 0
        (tmp_path / "elsewhere").rename(tmp_path / "usb")
        photos[0].unlink()
        assert library.index().removed == 1
        assert [hit.path for hit in library.query("a dog")] == [photos[1]]


# A disk mounted below a folder of the library


@pytest.fixture
def mounted(tmp_path: Path, sample_photos: list[Path]) -> Iterator[Path]:
    """Return a folder with two photos of its own and two on a disk mounted at `usb`."""
    disk = Path("/dev/shm") / f"clipsearch-{os.getpid()}"
    album = tmp_path / "album"
    (album / "usb").mkdir(parents=True)
    for photo in sample_photos[:2]:
        shutil.copy2(photo, album)
    if not disk.parent.is_dir() or disk.parent.stat().st_dev == album.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    disk.mkdir()
    try:
        for photo in sample_photos[2:4]:
            shutil.copy2(photo, disk)
        if subprocess.run(["mount", "--bind", disk, album / "usb"], capture_output=True).returncode:
            pytest.skip("needs the right to mount")
        yield album
        subprocess.run(["umount", album / "usb"], capture_output=True)
    finally:
        shutil.rmtree(disk)


def test_a_disk_mounted_below_a_folder_may_come_and_go(
    mounted: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    disk = f"/dev/shm/clipsearch-{os.getpid()}"
    with Library(tmp_path / "library") as library:
        library.index([mounted], model=str(tiny_model_folder))
        before = rows(library)
        assert len(before) == 4

        subprocess.run(["umount", mounted / "usb"], check=True)
        assert len(library.query("a dog")) == 2
        (away,) = library.away()
        assert (away.path, away.reason, away.photos) == (mounted / "usb", NOT_MOUNTED, 2)
        report = library.index()
        assert (report.removed, report.unchanged) == (0, 2)
        (mounted / "usb" / "note.txt").write_text("the folder below the mount point is not empty")
        assert library.index().removed == 0

        subprocess.run(["mount", "--bind", disk, mounted / "usb"], check=True)
        assert rows(library) == before
        assert len(library.query("a dog")) == 4
        assert library.index().embedded == 0

        subprocess.run(["umount", mounted / "usb"], check=True)
        assert library.index(options=IndexOptions(prune=True)).removed == 2
        assert library.away() == []


# The parts


def test_a_place_that_does_not_answer_is_away_and_delays_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    hanging, fine = tmp_path / "hanging", tmp_path / "fine"
    for folder in (hanging, fine):
        folder.mkdir()
        (folder / "photo.jpg").touch()
    stat, for_ever = Path.stat, threading.Event()

    def stat_like_a_dead_server(path: Path, **options: bool) -> os.stat_result:
        if path == hanging:
            for_ever.wait(30)
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", stat_like_a_dead_server)
    monkeypatch.setattr("clipsearch.away.PATIENCE", 0.2)
    folders = [Folder(folder, "folder", "") for folder in (hanging, fine)]
    assert away_folders(folders, []) == {hanging: NO_ANSWER}
    for_ever.set()


def test_the_program_says_what_is_away(
    library: Library, album: Path, tiny_model_folder: Path
) -> None:
    unmount_by_renaming(album)
    place = ("--library", str(album / "library"))
    done = clipsearch("query", "a dog", "--paths", *place)
    assert done.code == 0
    assert {Path(line).parent.name for line in done.lines} == {"home"}
    line = f"{album / 'usb'} is not there now: 4 photos left out (--include-away shows them)"
    assert line in done.err.splitlines()
    everything = clipsearch("query", "a dog", "--paths", "--include-away", *place)
    assert len(everything.lines) == 6
    assert f"{album / 'usb'} is not there now: 4 photos kept" in clipsearch("info", *place).text
    done = clipsearch("index", "--prune", *place)
    assert (done.code, "4 removed" in done.text) == (0, True)


# Updating single paths


def test_update_follows_single_paths(
    library: Library, album: Path, sample_photos: list[Path]
) -> None:
    before = {path: id_ for id_, path in rows(library)}
    gone, moved, *_ = sorted((album / "home").iterdir())
    target = album / "usb" / "moved.jpg"
    gone.unlink()
    moved.rename(target)
    new = Path(shutil.copy2(sample_photos[7], album / "home"))
    report = library.update([gone, moved, target, new, album / "not ours" / "x.jpg"])
    assert (report.added, report.moved, report.removed, report.embedded) == (1, 1, 1, 1)
    after = {path: id_ for id_, path in rows(library)}
    assert after[target] == before[moved]
    assert set(after) == set(before) - {gone, moved} | {target, new}


def test_update_keeps_what_is_away(library: Library, album: Path) -> None:
    before = rows(library)
    photo = next((album / "usb").iterdir())
    unmount_by_renaming(album)
    report = library.update([photo, album / "usb"])
    assert report.removed == 0
    assert rows(library) == before


def test_update_of_a_deleted_folder_forgets_its_photos(library: Library, album: Path) -> None:
    (album / "usb" / "day").mkdir()
    for photo in list((album / "usb").glob("*.jpg"))[:2]:
        photo.rename(album / "usb" / "day" / photo.name)
    assert library.update([album / "usb"]).moved == 2
    shutil.rmtree(album / "usb" / "day")
    report = library.update([album / "usb" / "day"])
    assert (report.removed, len(rows(library))) == (2, 4)
