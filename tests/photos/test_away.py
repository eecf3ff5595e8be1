"""Folders whose disk is away: kept, out of results, and back at once when the disk is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_process import clipsearch

from clipsearch import Library, check_library
from clipsearch.index.records import Folder
from clipsearch.options import IndexOptions
from clipsearch.photos.away import (
    A_FILE,
    A_FOLDER,
    EMPTY,
    MISSING,
    NO_ANSWER,
    NOT_MOUNTED,
    away_folders,
)

pytestmark = pytest.mark.usefixtures("tiny_model_used")


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
    monkeypatch.setattr("clipsearch.photos.away.PATIENCE", 0.2)
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


# Folders that are files now, and files that are folders


@pytest.fixture
def usb(small_library: Path) -> Path:
    return small_library / "photos"


@pytest.fixture
def small(small_library: Path) -> Iterator[Library]:
    with Library(small_library / "library", device="cpu") as library:
        yield library


def became_a_text_file(folder: Path) -> None:
    """As a link does in a checkout, or on a disk, that knows no links."""
    folder.rename(folder.parent / "elsewhere")
    folder.write_text("../disk/photos\n")


def became_a_photo(folder: Path) -> None:
    first = next(folder.rglob("*.jpg")).read_bytes()
    folder.rename(folder.parent / "elsewhere")
    folder.write_bytes(first)


def became_a_link_to_nothing(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to("/nowhere/at/all")


def back(folder: Path) -> None:
    folder.unlink()
    (folder.parent / "elsewhere").rename(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [(became_a_text_file, A_FILE), (became_a_photo, A_FILE), (became_a_link_to_nothing, MISSING)],
)
def test_a_folder_that_is_something_else_now_is_away(
    small: Library, usb: Path, change, reason: str
) -> None:
    before = rows(small)
    change(usb)
    assert small.query("a dog") == []
    assert [(f.path, f.reason, f.photos) for f in small.away()] == [(usb, reason, 5)]
    for run in (small.index, lambda: small.index([usb]), lambda: small.update([usb])):
        report = run()
        assert (report.added, report.removed, report.failed) == (0, 0, 0)
        assert [(p.path, p.reason) for p in report.problems] == [
            (usb, f"{reason}: its photos are kept")
        ]
    (files,) = (p for p in check_library(small.folder, files=True).parts if "photo" in p.part)
    assert (files.problems, files.notes) == ((), (f"5 photos are away: {usb} {reason}",))
    assert rows(small) == before
    back(usb)
    assert len(small.query("a dog")) == 5
    assert small.index().embedded == 0
    assert rows(small) == before


def test_prune_forgets_a_folder_that_is_a_file_now(small: Library, usb: Path) -> None:
    became_a_photo(usb)
    report = small.index(options=IndexOptions(prune=True))
    assert (report.removed, report.problems, small.folders()) == (5, (), [])
    assert small.index([usb]).added == 1  # as what it is now
    assert [folder.kind for folder in small.folders()] == ["file"]


@pytest.mark.parametrize("change", [became_a_text_file, became_a_photo, became_a_link_to_nothing])
@pytest.mark.parametrize("name", ["trip", "trip 2.1", "trip.jpg"])
def test_photos_of_a_folder_inside_that_is_something_else_now_are_kept(
    small: Library, usb: Path, change, name: str
) -> None:
    (usb / "trip").rename(usb / name)
    small.index()
    before = {row for row in rows(small) if name in row[1].parts}
    change(usb / name)
    shutil.move(usb / "elsewhere", usb.parent / "elsewhere")
    report = small.index()
    assert report.removed == 0
    assert usb / name in {problem.path for problem in report.problems}
    assert before < set(rows(small))
    small.update([usb / name])
    assert before <= set(rows(small))
    shutil.move(usb.parent / "elsewhere", usb / "elsewhere")
    back(usb / name)
    small.index()
    assert {row for row in rows(small) if name in row[1].parts} == before
    shutil.rmtree(usb / name)
    assert small.index().removed == 2  # deleted, in a folder that is there


def test_photos_that_moved_from_a_folder_that_is_a_file_now_are_not_doubled(
    small: Library, usb: Path
) -> None:
    before = {id_ for id_, _ in rows(small)}
    became_a_text_file(usb / "trip")  # and they are in `elsewhere`, beside it
    assert small.index().moved == 2
    assert {id_ for id_, _ in rows(small)} == before


def test_a_single_photo_that_is_a_folder_now_is_kept(
    small: Library, usb: Path, tmp_path: Path
) -> None:
    photo = tmp_path / "single.jpg"
    (usb / "photo-0.jpg").rename(photo)
    small.index([photo])
    photo.unlink()
    photo.mkdir()
    (usb / "photo-1.jpg").rename(photo / "inside.jpg")
    report = small.index([photo.parent / "photos" / "trip"])
    report = small.index()
    assert [(p.path, p.reason) for p in report.problems] == [
        (photo, f"{A_FOLDER}: its photo is kept")
    ]
    assert photo in {path for _, path in rows(small)}
    assert photo / "inside.jpg" not in {path for _, path in rows(small)}
    assert small.index([photo]).added == 1  # named as what it is now
    assert photo not in {path for _, path in rows(small)}


@pytest.mark.parametrize("change", [became_a_text_file, unmount_by_renaming, unmount_by_emptying])
def test_what_is_away_stays_when_the_folder_above_it_is_indexed(
    small: Library, usb: Path, change
) -> None:
    above = usb.parent / "above"
    above.mkdir()
    small.remove(usb)
    usb.rename(above / "usb")
    small.index([above / "usb"])
    before = rows(small)
    change(above / "usb") if change is became_a_text_file else change(above)
    shutil.move(next(above.glob("elsewhere")), usb.parent / "elsewhere")
    for _ in range(2):
        assert small.index([above]).removed == 0
        assert small.index().removed == 0
        assert small.update([above]).removed == 0
    assert rows(small) == before
    assert small.query("a dog") == []


def test_what_a_scan_from_above_passes_over_stays(small: Library, usb: Path) -> None:
    """Hidden folders and files without a photo's name, which were indexed by themselves."""
    (usb / "trip").rename(usb / ".trip")
    (usb / "photo-0.jpg").rename(usb / "scan.dat")
    kept = [usb / ".trip", usb / "scan.dat"]
    small.index(kept)
    for _ in range(2):
        small.index([usb])
        small.index()
        small.update([usb])
    assert len(rows(small)) == 5
    assert [folder.path for folder in small.folders()] == sorted([usb, *kept])
    assert small.remove(usb) == 5
    assert small.folders() == []
