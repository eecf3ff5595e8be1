"""Small pictures beside a library: private, whole, within a budget, and gone with their photos."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from clipsearch.showing import kept_thumbnails
from clipsearch.showing.kept_thumbnails import KeptThumbnails


def content(number: int) -> str:
    return f"{number:064x}"[::-1]


def picture(size: int) -> bytes:
    """Return what begins and ends as a WebP of so many bytes does."""
    return b"RIFF" + (size - 8).to_bytes(4, "little") + b"WEBP" + bytes(size - 12)


def files(library: Path) -> list[Path]:
    return [path for path in (library / "thumbnails").rglob("*") if path.is_file()]


def test_what_is_kept_comes_back_and_only_its_owner_may_look(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        kept = KeptThumbnails(tmp_path)
        assert kept.put(content(1), 480, picture(100)) and kept.put(content(1), 1600, picture(900))
    finally:
        os.umask(mask)
    assert kept.get(content(1), 480) == picture(100)
    assert KeptThumbnails(tmp_path).get(content(1), 1600) == picture(900)
    assert kept.get(content(2), 480) is None
    modes = {path.stat().st_mode & 0o777 for path in files(tmp_path)}
    folders = [path for path in (tmp_path / "thumbnails").rglob("*") if path.is_dir()]
    assert modes == {0o600}
    assert {path.stat().st_mode & 0o777 for path in [tmp_path / "thumbnails", *folders]} == {0o700}
    assert not [path for path in files(tmp_path) if path.suffix != ".webp"]


def test_one_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    kept = KeptThumbnails(tmp_path)
    kept.put(content(1), 480, picture(100))
    (file,) = files(tmp_path)
    for cut in (b"", picture(100)[:50], bytes(100)):
        file.write_bytes(cut)
        assert kept.get(content(1), 480) is None
        kept.put(content(1), 480, picture(100))
        assert kept.get(content(1), 480) == picture(100)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "a" * 63, "a" * 63 + "/"])
def test_a_damaged_catalog_names_no_file(tmp_path: Path, name: str) -> None:
    kept = KeptThumbnails(tmp_path / "library")
    (tmp_path / "library").mkdir()
    assert not kept.put(name, 480, picture(100))
    assert kept.get(name, 480) is None
    kept.forget(name)
    assert list(tmp_path.rglob("*")) == [tmp_path / "library"]


def test_what_was_not_looked_at_for_longest_goes_first(tmp_path: Path) -> None:
    kept = KeptThumbnails(tmp_path, 1000)
    for number in range(9):
        kept.put(content(number), 480, picture(100))
        age = time.time() - 100_000 + number
        (file,) = (tmp_path / "thumbnails").rglob(f"{content(number)}*")
        os.utime(file, (age, age))
    assert kept.get(content(0), 480)  # which is a look at it
    for number in range(10, 12):
        kept.put(content(number), 480, picture(100))
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 1000
    assert kept.get(content(0), 480) and kept.get(content(8), 480) and kept.get(content(11), 480)
    assert not kept.get(content(1), 480)
    assert not kept.put(content(20), 480, picture(1001))
    assert not kept.has_room()


def test_another_process_may_have_filled_the_budget(tmp_path: Path) -> None:
    one, other = KeptThumbnails(tmp_path, 10_000), KeptThumbnails(tmp_path, 10_000)
    for number in range(200):
        (one if number % 2 else other).put(content(number), 480, picture(200))
    assert 8000 < sum(path.stat().st_size for path in files(tmp_path)) <= 11_000


def test_the_pictures_of_photos_that_are_gone_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_thumbnails, "_ASKED_AT_ONCE", 3)
    kept = KeptThumbnails(tmp_path)
    for number in range(10):
        kept.put(content(number), 480, picture(100))
        kept.put(content(number), 1600, picture(100))
    shard = files(tmp_path)[0].parent
    strange = [shard / "notes.txt", tmp_path / "thumbnails" / "readme", shard / ".hidden"]
    begun = shard / f".{content(3)}-480.webp.0123456789abcdef"
    old = shard / f".{content(4)}-480.webp.0123456789abcdef"
    for file in (*strange, begun, old):
        file.write_bytes(b"x")
    os.utime(old, (1, 1))

    def known(hashes: Sequence[str]) -> set[str]:
        assert 0 < len(hashes) <= 3
        return {one for one in hashes if int(one[::-1], 16) % 2}

    kept.forget_all_but(known)
    left = {number for number in range(10) if kept.get(content(number), 480)}
    assert left == {number for number in range(10) if kept.get(content(number), 1600)}
    assert left == {1, 3, 5, 7, 9}
    assert all(file.exists() for file in (*strange, begun)) and not old.exists()
    kept.forget(content(1))
    assert not kept.get(content(1), 480) and not kept.get(content(1), 1600)
    assert kept.get(content(3), 480)


def test_a_library_that_can_not_be_written_to_keeps_none(tmp_path: Path) -> None:
    """Root may write anywhere: a file in the way stands for a disk that refuses."""
    (tmp_path / "thumbnails").write_text("in the way")
    kept = KeptThumbnails(tmp_path)
    assert not kept.put(content(1), 480, picture(100))
    assert kept.get(content(1), 480) is None
    kept.forget_all_but(lambda hashes: set())
    assert not KeptThumbnails(tmp_path / "no library").put(content(1), 480, picture(100))
    assert [path.name for path in tmp_path.iterdir()] == ["thumbnails"]


def test_a_real_picture_is_known_to_be_whole(tmp_path: Path) -> None:
    Image.new("RGB", (31, 17), "red").save(tmp_path / "a.webp")
    data = (tmp_path / "a.webp").read_bytes()
    kept = KeptThumbnails(tmp_path)
    assert kept.put(content(1), 480, data) and kept.get(content(1), 480) == data
