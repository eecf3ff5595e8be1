"""Photos found as files in a folder: in their order, nothing overwritten, nothing changed."""

import os

import pytest
from made_hits import made_hit
from places import EXAMPLES

from clipsearch import InvalidInput
from clipsearch.cli.seeing.folders import copy, link, put, ranked_name

PHOTOS = sorted(EXAMPLES.rglob("*.jpg"))[:12]


@pytest.mark.parametrize("place", [copy, link])
def test_files_have_the_order_of_the_hits_and_the_content_of_the_photos(tmp_path, place) -> None:
    hits = [made_hit(path, rank) for rank, path in enumerate(PHOTOS, 95)]
    done, failed = put(hits, tmp_path / "a" / "b", place)
    assert (done, failed) == (12, [])
    made = sorted((tmp_path / "a" / "b").iterdir())
    assert [one.read_bytes() for one in made] == [path.read_bytes() for path in PHOTOS]
    assert all(one.is_symlink() == (place is link) for one in made)
    assert made[0].name == f"095-{PHOTOS[0].name}"
    assert made[0].stat().st_mtime == pytest.approx(PHOTOS[0].stat().st_mtime, abs=1)


@pytest.mark.parametrize("place", [copy, link])
def test_what_is_there_stays_and_one_that_fails_does_not_stop_the_rest(tmp_path, place) -> None:
    photos = [PHOTOS[0], tmp_path / "gone.jpg", PHOTOS[1], PHOTOS[2]]
    hits = [made_hit(path, rank) for rank, path in enumerate(photos, 1)]
    target = tmp_path / "target"
    target.mkdir()
    mine = target / f"01-{PHOTOS[0].name}"
    mine.write_text("mine")
    (target / f"03-{PHOTOS[1].name}").symlink_to(tmp_path / "nowhere")
    done, failed = put(hits, target, place)
    assert done == 1
    assert ["one of that name" in line for line in failed] == [True, False, True]
    assert mine.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    assert len(list(target.iterdir())) == 3


def test_a_copy_that_breaks_off_leaves_nothing(tmp_path, monkeypatch) -> None:
    def breaks(_reader: object, writer, _length: int) -> None:
        writer.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", breaks)
    done, (line,) = put([made_hit(PHOTOS[0])], tmp_path / "target", copy)
    assert done == 0
    assert "No space left" in line
    assert not list((tmp_path / "target").iterdir())


def test_a_pipe_is_no_photo_and_is_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert put([made_hit(tmp_path / "pipe.jpg")], tmp_path / "target", copy)[0] == 0


@pytest.mark.parametrize(
    "name", [os.fsdecode(b"caf\xe9\n.jpg"), "写" * 83 + ".jpeg", "-rf.jpg", "a"]
)
def test_any_name_becomes_one_that_a_folder_takes(tmp_path, name) -> None:
    photo = tmp_path / name
    photo.write_bytes(b"x")
    done, failed = put([made_hit(photo, 3)], tmp_path / "target", copy)
    assert (done, failed) == (1, [])
    (made,) = (tmp_path / "target").iterdir()
    assert made.name.startswith("03-")
    assert made.suffix == photo.suffix
    assert len(os.fsencode(ranked_name(made_hit(photo, 3), 2))) <= 255


def test_where_no_folder_can_be_it_is_said(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="can't make the folder"):
        put([made_hit(PHOTOS[0])], tmp_path / "file" / "x", copy)
