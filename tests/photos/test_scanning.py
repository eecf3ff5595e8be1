"""Scanning: every photo below a folder once, and no bad entry ends it."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipsearch.index.records import FileState
from clipsearch.photos.scanning import ScanProblem, find_photos

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files and links")


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def photos(root: Path, **options: bool) -> list[str]:
    """Return the photos found, relative to the root."""
    found = [entry for entry in find_photos(root, **options) if isinstance(entry, FileState)]
    return [str(entry.path.relative_to(root)) for entry in found]


def problems(root: Path) -> dict[str, str]:
    found = [entry for entry in find_photos(root) if isinstance(entry, ScanProblem)]
    return {entry.path.name: entry.reason for entry in found}


def test_photos_are_found_by_suffix_in_any_case_at_any_depth(tmp_path: Path) -> None:
    wanted = ["B.JPG", "C.CR3", "a.heic", "raw.dng", "c/f.tiff", "c/d/e.Png"]
    for name in [*wanted, "notes.txt", "c/jpg", "c/film.mp4", "c/raw.xmp"]:
        touch(tmp_path / name)
    assert photos(tmp_path) == wanted


def test_photos_whose_names_other_programs_changed_are_found(tmp_path: Path) -> None:
    wanted = ["a.jpg ", "b.jpg.", "c.jpg?width=200", "d.jpg_large", "e.jps", "f.insp"]
    for name in [*wanted, "g.jpg~", "h.jpg_original", "i.txt?x=1", "j.jpg.bak"]:
        touch(tmp_path / name)
    assert photos(tmp_path) == wanted


def test_size_and_time_are_those_of_the_file(tmp_path: Path) -> None:
    path = touch(tmp_path / "a.jpg", b"12345")
    os.utime(path, ns=(7, 1_600_000_000_123_456_789))
    assert list(find_photos(tmp_path)) == [FileState(path, 5, path.stat().st_mtime_ns)]


def test_a_single_file_is_taken_whatever_its_name(tmp_path: Path) -> None:
    path = touch(tmp_path / ".hidden" / "photo-without-suffix")
    assert [entry.path for entry in find_photos(path)] == [path]


def test_a_hidden_folder_is_searched_when_it_is_the_one_named(tmp_path: Path) -> None:
    touch(tmp_path / ".secret" / "a.jpg")
    assert photos(tmp_path / ".secret") == ["a.jpg"]
    assert photos(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [
        ".a.jpg",
        "._a.jpg",
        ".git/a.jpg",
        ".Trash-1000/files/a.jpg",
        ".thumbnails/large/a.png",
        "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg",
        "node_modules/package/logo.png",
        "$RECYCLE.BIN/a.jpg",
        "#recycle/a.jpg",
        "Trash/a.jpg",
        "Thumbs/a.jpg",
        "Catalog Previews.lrdata/0/a.jpg",
        "Photos Library.photoslibrary/resources/derivatives/a.jpg",
        "__MACOSX/a.jpg",
    ],
)
def test_hidden_trash_and_thumbnail_folders_are_left_out_unless_asked_for(
    tmp_path: Path, name: str
) -> None:
    touch(tmp_path / name)
    touch(tmp_path / "b.jpg")
    assert photos(tmp_path) == ["b.jpg"]
    assert sorted(photos(tmp_path, include_hidden=True)) == sorted([name, "b.jpg"])


def test_the_originals_of_a_mac_photo_library_are_found(tmp_path: Path) -> None:
    touch(tmp_path / "Photos Library.photoslibrary" / "originals" / "0" / "a.heic")
    assert photos(tmp_path) == ["Photos Library.photoslibrary/originals/0/a.heic"]


def test_the_order_depends_on_the_names_alone(tmp_path: Path) -> None:
    names = ["z.jpg", "m/b.jpg", "m/a.jpg", "a.jpg", "b/c/d.jpg", "b/a.jpg"]
    for name in names:
        touch(tmp_path / "one" / name)
    for name in reversed(names):
        touch(tmp_path / "two" / name)
    expected = ["a.jpg", "z.jpg", "b/a.jpg", "b/c/d.jpg", "m/a.jpg", "m/b.jpg"]
    assert photos(tmp_path / "one") == photos(tmp_path / "two") == expected


def test_paths_are_absolute_and_keep_a_linked_root_as_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "real" / "a.jpg")
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    found = [entry.path for entry in find_photos(Path("real/../link"))]
    assert found == [tmp_path / "link" / "a.jpg"]


@posix_only
def test_links_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "tree" / "sub" / "a.jpg")
    touch(tmp_path / "elsewhere" / "b.jpg")
    (tmp_path / "tree" / "sub" / "up").symlink_to(tmp_path / "tree")
    (tmp_path / "tree" / "itself").symlink_to("itself")
    (tmp_path / "tree" / "outside").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "tree")
    assert photos(tmp_path / "tree") == ["sub/a.jpg", "outside/b.jpg"]


@posix_only
def test_a_folder_reached_twice_is_seen_once_under_its_real_path(tmp_path: Path) -> None:
    touch(tmp_path / "real" / "a.jpg")
    (tmp_path / "another").symlink_to("real")
    (tmp_path / "zlink").symlink_to("real")
    assert photos(tmp_path) == ["real/a.jpg"]


@posix_only
def test_a_link_to_a_photo_is_a_photo(tmp_path: Path) -> None:
    target = touch(tmp_path / "elsewhere" / "a.jpg", b"1234")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link.jpg").symlink_to(target)
    (found,) = find_photos(tmp_path / "tree")
    assert found == FileState(tmp_path / "tree" / "link.jpg", 4, target.stat().st_mtime_ns)


@posix_only
def test_entries_that_cannot_be_read_are_told_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "a.jpg")
    touch(tmp_path / "z.jpg")
    (tmp_path / "broken.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "Holiday").symlink_to("/no/such/disk")
    (tmp_path / "broken.txt").symlink_to("nowhere.txt")
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # the name of a socket must be short
        listener.bind("socket.png")
    assert photos(tmp_path) == ["a.jpg", "z.jpg"]
    assert problems(tmp_path) == {
        "broken.jpg": "broken link",
        "Holiday": "broken link",
        "pipe.jpg": "not a regular file but a named pipe",
        "socket.png": "not a regular file but a socket",
    }


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """Give a folder of a user who may not read everything, even where tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        root = os.geteuid() == 0
        if root:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)


@posix_only
def test_a_folder_without_permission_is_told_and_the_rest_goes_on(ordinary_user: Path) -> None:
    touch(ordinary_user / "closed" / "a.jpg")
    touch(ordinary_user / "open.jpg")
    (ordinary_user / "closed").chmod(0)
    try:
        assert photos(ordinary_user) == ["open.jpg"]
        assert problems(ordinary_user) == {"closed": "permission denied"}
    finally:
        (ordinary_user / "closed").chmod(0o700)


def test_a_folder_that_vanishes_during_the_scan_is_told(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    touch(tmp_path / "sub" / "b.jpg")
    scan = find_photos(tmp_path)
    assert isinstance(next(scan), FileState)
    (tmp_path / "sub" / "b.jpg").unlink()
    (tmp_path / "sub").rmdir()
    assert list(scan) == [ScanProblem(tmp_path / "sub", "no such file or folder")]


@pytest.mark.parametrize("name", ["missing", "nul\0byte", "x" * 5000])
def test_a_root_that_is_not_there_is_a_problem_not_an_exception(tmp_path: Path, name: str) -> None:
    (found,) = find_photos(tmp_path / name)
    assert isinstance(found, ScanProblem) and found.reason


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_names_of_any_bytes_are_found_and_can_be_opened(tmp_path: Path) -> None:
    names = [
        b"caf\xe9.jpg",
        b"new\nline.jpg",
        b"quo'te\".jpg",
        b"a" * 251 + b".jpg",
        "日本.jpg".encode(),
    ]
    for name in names:
        touch(tmp_path / os.fsdecode(name), name)
    found = [entry.path for entry in find_photos(tmp_path)]
    assert sorted(path.read_bytes() for path in found) == sorted(names)
    assert sorted(os.fsencode(path.name) for path in found) == sorted(names)


@posix_only
def test_folders_nested_deeper_than_python_calls_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    depth = (4000 - len(str(tmp_path))) // 2  # a path may have 4096 bytes
    for _ in range(depth):
        os.mkdir("d")  # noqa: PTH102
        os.chdir("d")
    Path("a.jpg").write_bytes(b"x")
    try:
        (found,) = find_photos(tmp_path)
    finally:  # shutil.rmtree, which pytest uses, calls itself too deep
        Path("a.jpg").unlink()
        for _ in range(depth):
            os.chdir("..")
            os.rmdir("d")  # noqa: PTH106
    assert isinstance(found, FileState) and len(found.path.parts) > depth > 1000


@posix_only
def test_folders_too_deep_for_a_path_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "z.jpg")
    for _ in range(22):
        os.mkdir("d" * 200)  # noqa: PTH102
        os.chdir("d" * 200)
    found = list(find_photos(tmp_path))
    assert [type(entry) for entry in found] == [FileState, ScanProblem]
    assert found[1].reason == "file name too long"  # type: ignore[union-attr]
