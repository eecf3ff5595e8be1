"""Pictures are made once, of photos as they were indexed, and not kept for who is gone."""

from __future__ import annotations

import hashlib
import io
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from example_photos import example_files
from PIL import Image

from clipsearch.errors import LibraryClosed, UnreadableImage
from clipsearch.index.records import FileState, PhotoMetadata, PhotoRecord
from clipsearch.photos.as_indexed import CHANGED
from clipsearch.showing import picture_maker
from clipsearch.showing.kept_thumbnails import KeptThumbnails
from clipsearch.showing.picture_maker import LARGE, SMALL, PictureMaker


def record(path: Path, *, width: int = 800, height: int = 600) -> PhotoRecord:
    data = path.read_bytes()
    file = FileState(path, len(data), path.stat().st_mtime_ns)
    digest = hashlib.sha256(data).hexdigest()
    return PhotoRecord(1, file, digest, PhotoMetadata(width, height, "JPEG"), "")


@pytest.fixture
def photo(tmp_path: Path) -> PhotoRecord:
    shutil.copy(example_files()[0], tmp_path / "photo.jpg")
    return record(tmp_path / "photo.jpg")


@pytest.fixture
def kept(tmp_path: Path) -> KeptThumbnails:
    (tmp_path / "library").mkdir()
    return KeptThumbnails(tmp_path / "library")


@pytest.fixture
def maker(kept: KeptThumbnails) -> Iterator[PictureMaker]:
    with closing(PictureMaker(kept, workers=1)) as maker:
        yield maker


def test_it_is_kept_unless_its_photo_is_gone_by_then(
    maker: PictureMaker, kept: KeptThumbnails, photo: PhotoRecord
) -> None:
    asked = []

    def is_there() -> bool:
        asked.append(kept.get(photo.content_hash, SMALL) is not None)
        return False

    made = maker.thumbnail(photo, SMALL, is_there).result(60)
    assert asked == [True]  # after it was kept
    assert maker.kept(photo, SMALL) is None
    assert maker.thumbnail(photo, SMALL).result(60) == made == maker.kept(photo, SMALL)


def test_it_is_made_though_nothing_can_be_kept(tmp_path: Path, photo: PhotoRecord) -> None:
    with closing(PictureMaker(KeptThumbnails(tmp_path, most_bytes=0), workers=1)) as maker:
        data = maker.thumbnail(photo, SMALL).result(60)
        assert maker.kept(photo, SMALL) is None
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "WEBP"
    assert not (tmp_path / "thumbnails").exists()


def test_of_a_small_photo_all_sizes_are_one(
    maker: PictureMaker, tmp_path: Path, kept: KeptThumbnails
) -> None:
    Image.new("RGB", (300, 200), "red").save(tmp_path / "small.png")
    small = record(tmp_path / "small.png", width=300, height=200)
    made = maker.thumbnail(small, LARGE).result(60)
    assert maker.kept(small, SMALL) == maker.kept(small, LARGE) == made
    assert kept.get(small.content_hash, LARGE) is None


def test_what_can_not_be_decoded_is_tried_once(
    maker: PictureMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cut.jpg").write_bytes(example_files()[1].read_bytes()[:5000])
    cut = record(tmp_path / "cut.jpg")
    with pytest.raises(UnreadableImage, match="truncated") as first:
        maker.thumbnail(cut, SMALL).result(60)
    monkeypatch.setattr(PictureMaker, "_decoded", None)
    with pytest.raises(UnreadableImage) as second:
        maker.thumbnail(cut, SMALL).result(60)
    assert str(second.value) == str(first.value)


def test_a_file_that_is_away_is_tried_again(maker: PictureMaker, photo: PhotoRecord) -> None:
    aside = photo.file.path.rename(photo.file.path.with_suffix(".aside"))
    with pytest.raises(UnreadableImage, match="no such file"):
        maker.thumbnail(photo, SMALL).result(60)
    photo.file.path.write_bytes(aside.read_bytes()[::-1])
    with pytest.raises(UnreadableImage, match=CHANGED[:30]):
        maker.thumbnail(photo, SMALL).result(60)
    aside.rename(photo.file.path)
    assert maker.thumbnail(photo, SMALL).result(60)


def test_who_waits_at_the_end_is_told(
    maker: PictureMaker, photo: PhotoRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slowly(photo: PhotoRecord) -> bytes:
        reading.set()
        assert go_on.wait(60)
        return photo.file.path.read_bytes()

    monkeypatch.setattr(picture_maker, "read_as_indexed", slowly)
    waits = maker.whole(photo)
    assert reading.wait(60)
    closing_it = threading.Thread(target=maker.close)
    closing_it.start()
    with pytest.raises(LibraryClosed):
        while True:
            maker.thumbnail(photo, LARGE)
    go_on.set()
    closing_it.join(60)
    with pytest.raises(LibraryClosed):
        waits.result(60)


def test_the_processes_may_be_there_before_the_first_picture(
    maker: PictureMaker, photo: PhotoRecord
) -> None:
    def decoders() -> int:
        return sum(one.name == "clipsearch-decoder" for one in threading.enumerate())

    before = decoders()
    maker.start()
    assert decoders() == before + 1
    assert maker.thumbnail(photo, SMALL).result(60)
    assert decoders() == before + 1
    maker.close()
    with pytest.raises(LibraryClosed):
        maker.start()
