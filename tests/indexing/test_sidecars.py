"""Sidecars are read beside photos: when they come, change and go, and no photo is opened for it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from sidecars import items, xmp

from clipsearch import IndexReport, Library
from clipsearch.cli.index_command import what_happened
from clipsearch.index.records import Word
from clipsearch.index.store import Store
from clipsearch.indexing import more_facts
from clipsearch.indexing import run as index_run
from clipsearch.photos.xmp import LONGEST_XMP


def titled(title: str, *keywords: str) -> str:
    return xmp(f"<dc:title>{title}</dc:title><dc:subject>{items(*keywords)}</dc:subject>")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the photos that runs open."""
    names: list[str] = []
    real = index_run.read_file

    def read(item: object, *more: object) -> object:
        names.append(item.file.path.name)  # type: ignore[attr-defined]
        return real(item, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(index_run, "read_file", read)
    return names


def index(small_library: Path, *paths: Path) -> IndexReport:
    with Library(small_library / "library", device="cpu") as library:
        return library.update(list(paths)) if paths else library.index()


def words(small_library: Path) -> dict[str, list[str]]:
    """Return the texts of each photo that has some, by its name."""
    with Store.open(small_library / "library", read_only=True) as store:
        photos = store.photos(store.photos_below(None).tolist())
        found = store.words(list(photos))
    return {photos[id_].file.path.name: [w.text for w in said] for id_, said in found.items()}


@pytest.mark.parametrize("name", ["photo-0.xmp", "PHOTO-0.jpg.XMP"])
def test_a_sidecar_is_read_again_when_it_changes_and_its_photo_is_not_opened(
    small_library: Path, opened: list[str], name: str
) -> None:
    sidecar = small_library / "photos" / name
    sidecar.write_text(titled("Harbour", "Sea"))
    report = index(small_library)
    assert (report.unchanged, report.embedded, report.changed) == (5, 0, 0)
    assert what_happened(report) == "sidecars of 1 photo read"
    assert words(small_library) == {"photo-0.jpg": ["Harbour", "Sea"]}
    sidecar.write_text(titled("Old harbour", "Sea"))
    assert index(small_library).to_dict()["sidecars"] == 1
    assert words(small_library) == {"photo-0.jpg": ["Old harbour", "Sea"]}
    sidecar.unlink()
    assert index(small_library).sidecars == 1
    assert words(small_library) == {}
    assert what_happened(index(small_library)) == ""
    assert opened == []


def test_unchanged_sidecars_are_not_read_again(
    small_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipsearch.indexing import more_facts

    (small_library / "photos/photo-0.xmp").write_text(titled("Harbour"))
    (small_library / "photos/photo-1.xmp").write_text("no XML")  # tried once, as it is
    index(small_library)
    monkeypatch.setattr(more_facts, "words_in_sidecar", pytest.fail)
    index(small_library)
    index(small_library, small_library / "photos/photo-0.jpg", small_library / "photos/trip")
    assert words(small_library) == {"photo-0.jpg": ["Harbour"]}


def test_all_sidecars_of_a_photo_count_and_one_counts_for_all_its_photos(
    small_library: Path,
) -> None:
    photos = small_library / "photos"
    (photos / "photo-0.jpg.xmp").write_text(titled("of the JPEG", "Sea"))
    (photos / "photo-0.xmp").write_text(titled("of both", "Sea", "Mole"))
    (photos / "photo-0.png").write_bytes((photos / "photo-1.jpg").read_bytes())
    (photos / "photo-0.dng.xmp").write_text(titled("of a raw file that is not there"))
    (photos / "trip" / "photo-0.xmp").write_text(titled("in another folder"))
    (photos / ".xmp").write_text(titled("of no photo"))
    (photos / "photo-2.xmp").mkdir()
    index(small_library)
    found = words(small_library)
    assert set(found) == {"photo-0.jpg", "photo-0.png"}
    assert set(found["photo-0.jpg"]) == {"of the JPEG", "Sea", "of both", "Mole"}
    assert found["photo-0.png"] == ["of both", "Sea", "Mole"]


def test_a_photo_that_moves_with_or_without_its_sidecar(small_library: Path) -> None:
    photos = small_library / "photos"
    for number in (0, 1):
        (photos / f"photo-{number}.xmp").write_text(titled(f"Harbour {number}"))
    index(small_library)
    (photos / "photo-0.jpg").rename(photos / "trip/a.jpg")
    (photos / "photo-0.xmp").rename(photos / "trip/a.xmp")
    (photos / "photo-1.jpg").rename(photos / "trip/b.jpg")
    report = index(small_library)
    assert (report.moved, report.embedded) == (2, 0)
    assert words(small_library) == {"a.jpg": ["Harbour 0"]}
    assert index(small_library).unchanged == 5


def test_new_photos_come_with_their_sidecars_and_removed_ones_take_the_words_along(
    small_library: Path,
) -> None:
    photos = small_library / "photos"
    (photos / "new.jpg").write_bytes((photos / "photo-0.jpg").read_bytes() + b"\0")
    (photos / "new.xmp").write_text(titled("New"))
    index(small_library)
    assert words(small_library) == {"new.jpg": ["New"]}
    (photos / "new.jpg").unlink()
    assert index(small_library).removed == 1
    catalog = sqlite3.connect(small_library / "library/catalog.sqlite")
    for table in ("words", "sidecars"):
        assert catalog.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    catalog.close()


def test_updates_of_single_paths_read_the_sidecars_of_those(small_library: Path) -> None:
    photos = small_library / "photos"
    for number in (0, 1, 3):
        folder = photos / ("trip" if number == 3 else "")
        (folder / f"photo-{number}.xmp").write_text(titled(f"Harbour {number}"))
    index(small_library, photos / "photo-0.xmp")
    assert set(words(small_library)) == {"photo-0.jpg"}
    index(small_library, photos / "photo-1.jpg", photos / "trip")
    assert set(words(small_library)) == {"photo-0.jpg", "photo-1.jpg", "photo-3.jpg"}
    (photos / "photo-0.xmp").unlink()
    index(small_library, photos / "photo-0.xmp")
    assert set(words(small_library)) == {"photo-1.jpg", "photo-3.jpg"}
    assert index(small_library).unchanged == 5  # no sidecar became a photo


def test_a_folder_that_is_away_keeps_its_words(small_library: Path) -> None:
    photos = small_library / "photos"
    (photos / "photo-0.xmp").write_text(titled("Harbour"))
    index(small_library)
    photos.rename(small_library / "elsewhere")
    assert index(small_library).problems
    assert words(small_library) == {"photo-0.jpg": ["Harbour"]}


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads everything")
def test_a_sidecar_that_can_not_be_read_is_tried_again(small_library: Path) -> None:
    sidecar = small_library / "photos/photo-0.xmp"
    sidecar.write_text(titled("Harbour"))
    sidecar.chmod(0)
    index(small_library)
    assert words(small_library) == {}
    sidecar.chmod(0o600)
    index(small_library)
    assert words(small_library) == {"photo-0.jpg": ["Harbour"]}


def test_sidecars_that_are_left_out_are_not_read(small_library: Path) -> None:
    photos = small_library / "photos"
    (photos / "photo-0.xmp").write_text(titled("Harbour"))
    (photos / ".clipsearchignore").write_text("*.xmp\n")
    index(small_library)
    assert words(small_library) == {}


def test_words_of_a_sidecar_stand_before_the_photos_own(small_library: Path) -> None:
    from PIL import Image

    path = small_library / "photos/own.jpg"
    Image.linear_gradient("L").save(path, xmp=titled("in the photo", "Sea").encode())
    path.with_suffix(".xmp").write_text(titled("beside it", "Sea", "Mole"))
    index(small_library)
    assert words(small_library)["own.jpg"] == ["beside it", "Sea", "Mole", "in the photo"]
    with Store.open(small_library / "library", read_only=True) as store:
        photo = store.catalog.photo_at(path)
        assert photo is not None
        assert store.words([photo.id])[photo.id][0] == Word("title", "beside it")


def test_a_sidecar_that_the_disk_refuses_is_tried_again(
    small_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError("input/output error")

    (small_library / "photos/photo-0.xmp").write_text(titled("Harbour"))
    with monkeypatch.context() as patch:
        patch.setattr(more_facts, "read_whole", refused)
        assert index(small_library).failed == 0
    assert words(small_library) == {}
    assert index(small_library).sidecars == 1
    assert words(small_library) == {"photo-0.jpg": ["Harbour"]}


def test_what_is_called_a_sidecar_and_is_none_says_nothing(small_library: Path) -> None:
    photos = small_library / "photos"
    (photos / "photo-0.xmp").symlink_to(photos / "nowhere.xmp")
    (photos / "photo-1.xmp").mkdir()
    (photos / "photo-2.xmp").write_bytes(titled("Harbour").encode().ljust(LONGEST_XMP + 1))
    report = index(small_library)
    assert (report.unchanged, report.failed, words(small_library)) == (5, 0, {})
    assert index(small_library).sidecars == 0  # nothing is read anew
