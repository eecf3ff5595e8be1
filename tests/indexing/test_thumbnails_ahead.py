"""Small pictures made while photos are indexed: with their pixels where that can be, else after."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path

import pytest
from example_photos import example_files
from PIL import Image

from clipsearch import Library
from clipsearch.indexing import thumbnails_ahead
from clipsearch.options import IndexOptions, IndexProgress
from clipsearch.showing.kept_thumbnails import KeptThumbnails
from clipsearch.upkeep import backup_library, check_library

AHEAD = IndexOptions(thumbnails=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in example_files()[:4]:
        shutil.copy(path, folder)
    shutil.copy(example_files()[0], folder / "copy.jpg")
    (folder / "broken.jpg").write_bytes(example_files()[5].read_bytes()[:5000])
    return folder


def kept(library: Path) -> dict[str, Path]:
    return {path.name.partition("-")[0]: path for path in (library / "thumbnails").rglob("*.webp")}


def contents(folder: Path) -> set[str]:
    return {
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("*.jpg")
        if path.name != "broken.jpg"
    }


def test_they_come_with_the_photos_and_change_nothing_else(tmp_path: Path, photos: Path) -> None:
    with Library(tmp_path / "with", device="cpu") as one:
        seen: list[str] = []
        report = one.index(
            photos, model="builtin", options=AHEAD, progress=lambda one: seen.append(one.phase)
        )
        assert thumbnails_ahead.PHASE not in seen  # none had to be decoded again
        with Library(tmp_path / "without", device="cpu") as other:
            assert other.index(photos, model="builtin").thumbnails == 0
            ids = [hit.id for hit in one.list()]
            assert (one.vectors(ids) == other.vectors(ids)).all()
    assert (report.thumbnails, report.failed, report.added) == (4, 1, 5)
    assert kept(tmp_path / "with").keys() == contents(photos)
    assert not kept(tmp_path / "without")
    for path in kept(tmp_path / "with").values():
        with Image.open(path) as picture:
            assert (picture.format, max(picture.size)) == ("WEBP", 480)


def test_photos_that_were_there_before_get_theirs_and_only_once(
    tmp_path: Path, photos: Path
) -> None:
    seen: list[IndexProgress] = []
    with Library(tmp_path / "library", device="cpu") as library:
        library.index(photos, model="builtin")
        assert library.index(options=AHEAD, progress=seen.append).thumbnails == 4
        assert library.index(options=AHEAD).thumbnails == 0
    assert kept(tmp_path / "library").keys() == contents(photos)
    phases = [one for one in seen if one.phase == "making thumbnails"]
    assert [(one.done, one.total) for one in phases] == [(number, 4) for number in range(4)]


def test_none_has_to_go_for_another(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeptThumbnails, "has_room", lambda self: False)
    with Library(tmp_path / "library", device="cpu") as library:
        library.index(photos, model="builtin")
        assert library.index(options=AHEAD).thumbnails == 0
    assert not kept(tmp_path / "library")


def test_a_run_that_is_stopped_keeps_what_it_made(tmp_path: Path, photos: Path) -> None:
    asked = []

    def stop() -> bool:
        asked.extend(["asked"] * any(one.phase == thumbnails_ahead.PHASE for one in seen))
        return len(asked) > 2

    seen: list[IndexProgress] = []
    with Library(tmp_path / "library", device="cpu") as library:
        library.index(photos, model="builtin")
        report = library.index(options=AHEAD, progress=seen.append, stop=stop)
        assert report.interrupted and report.thumbnails < 4
        assert library.index(options=AHEAD).thumbnails == 4 - report.thumbnails


def test_what_is_kept_is_part_of_the_library_s_size(tmp_path: Path, photos: Path) -> None:
    with Library(tmp_path / "library", device="cpu") as library:
        library.index(photos, model="builtin")
        assert "thumbnails" not in library.info().disk_bytes
        library.index(options=AHEAD)
        size = sum(path.stat().st_size for path in kept(library.folder).values())
        assert library.info().disk_bytes["thumbnails"] == size > 0


def test_backups_go_without_them_and_a_check_has_nothing_to_say(
    tmp_path: Path, photos: Path
) -> None:
    with Library(tmp_path / "library", device="cpu") as library:
        library.index(photos, model="builtin", options=AHEAD)
    before = kept(tmp_path / "library")
    report = check_library(tmp_path / "library", repair=True)
    assert report.ok and "thumbnail" not in str(report.to_dict())
    assert kept(tmp_path / "library") == before
    backup_library(tmp_path / "library", tmp_path / "library.tar")
    with tarfile.open(tmp_path / "library.tar") as tar:
        assert not [name for name in tar.getnames() if "thumbnail" in name or "webp" in name]
