"""What an earlier version left unread in photos is read by the next run; none is embedded again."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from older_schema import back_to_schema_4
from PIL import Image
from sidecars import xmp
from small_library import copy_small_library

from clipsearch import IndexProgress, IndexReport, Library
from clipsearch.index.store import Store
from clipsearch.indexing import more_facts

PACKET = xmp("<dc:title>Harbour</dc:title>").encode()


@pytest.fixture(scope="module", name="_older")
def _older_library(_small_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_small_library(_small_library, tmp_path_factory.mktemp("older"))
    photos = folder / "photos"
    with Image.open(photos / "photo-0.jpg") as image:
        image.save(photos / "titled.jpg", xmp=PACKET)
    (photos / "copy.jpg").write_bytes((photos / "titled.jpg").read_bytes())
    with Library(folder / "library", device="cpu") as library:
        assert library.index().added == 2
    connection = sqlite3.connect(folder / "library/catalog.sqlite", isolation_level=None)
    back_to_schema_4(connection)
    connection.close()
    return folder


@pytest.fixture
def older(_older: Path, tmp_path: Path) -> Path:
    """A library of schema 4: five photos, one with a title, and a copy of that."""
    return copy_small_library(_older, tmp_path)


def index(
    folder: Path, said: list[IndexProgress] | None = None, stop: Callable[[], bool] | None = None
) -> IndexReport:
    with Library(folder / "library", device="cpu") as library:
        progress = said.append if said is not None else None
        return library.index(progress=progress, stop=stop)


def incomplete(folder: Path) -> int:
    with Store.open(folder / "library", read_only=True) as store:
        return store.incomplete()


def titles(folder: Path) -> dict[str, str]:
    with Store.open(folder / "library", read_only=True) as store:
        photos = store.photos(store.photos_below(None).tolist())
        return {
            photos[id_].file.path.name: words[0].text
            for id_, words in store.words(list(photos)).items()
        }


def embeddings(folder: Path) -> list[tuple[object, ...]]:
    catalog = sqlite3.connect(folder / "library/catalog.sqlite")
    try:
        return catalog.execute("SELECT * FROM embeddings ORDER BY id").fetchall()
    finally:
        catalog.close()


def test_the_next_run_completes_an_older_library_and_says_for_how_many(older: Path) -> None:
    assert incomplete(older) == 7
    before = embeddings(older)
    said: list[IndexProgress] = []
    report = index(older, said)
    assert (report.completed, report.embedded, report.changed, report.unchanged) == (7, 0, 0, 7)
    assert [one.message for one in said if one.message] == [
        "completing 7 photos of an earlier version: words in them, and what tells copies"
    ]
    assert incomplete(older) == 0
    assert titles(older) == {"titled.jpg": "Harbour", "copy.jpg": "Harbour"}
    assert embeddings(older) == before
    with Store.open(older / "library", read_only=True) as store:
        photos = store.photos(store.photos_below(None).tolist()).values()
    assert all(photo.metadata.perceptual_hash for photo in photos)
    again = index(older, said := [])
    assert (again.completed, again.unchanged, [one.message for one in said]) == (
        0,
        7,
        [""] * len(said),
    )


def test_a_query_completes_nothing_and_a_library_of_schema_4_is_searched_as_it_is(
    older: Path,
) -> None:
    with Library(older / "library", read_only=True) as library:
        assert len(library.query("a harbour", k=9)) == 7
    catalog = older / "library/catalog.sqlite"
    connection = sqlite3.connect(catalog)
    assert connection.execute("PRAGMA user_version").fetchone() == (4,)
    connection.close()
    with Library(older / "library") as library:
        assert len(library.query("a harbour", k=9)) == 7
    assert incomplete(older) == 7


def test_copies_are_opened_once(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bytes] = []
    real = more_facts.Completion._take

    def take(self: more_facts.Completion, known: object, data: bytes, content: str) -> None:
        opened.append(data)
        real(self, known, data, content)  # type: ignore[arg-type]

    monkeypatch.setattr(more_facts.Completion, "_take", take)
    assert index(older).completed == 7
    assert len(opened) == len(set(opened)) == 6


def test_a_run_that_is_stopped_is_gone_on_with(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(more_facts, "_IN_FLIGHT", 0)
    said: list[IndexProgress] = []
    report = index(
        older, said, stop=lambda: any(one.done == 3 for one in said if one.phase == "completing")
    )
    assert report.interrupted
    left = incomplete(older)
    assert 0 < left < 7
    assert report.completed == 7 - left
    assert index(older).completed == left
    assert incomplete(older) == 0


def test_what_is_away_is_left_and_what_is_opened_in_vain_is_not_tried_for_ever(
    older: Path,
) -> None:
    photos = older / "photos"
    catalog = sqlite3.connect(older / "library/catalog.sqlite")
    broken = photos / "photo-1.jpg"
    state = broken.stat()
    broken.write_bytes(b"\xff\xd8\xff no picture".ljust(state.st_size, b"\0"))
    _keep_time(broken, state.st_mtime_ns)
    content = hashlib.sha256(broken.read_bytes()).hexdigest()  # which an earlier version could open
    catalog.execute("UPDATE photos SET content_hash = ? WHERE path = ?", (content, str(broken)))
    catalog.commit()
    catalog.close()
    other = photos / "photo-2.jpg"
    state = other.stat()
    other.write_bytes(b"x" * state.st_size)
    _keep_time(other, state.st_mtime_ns)
    (photos / "trip").rename(older / "trip")
    (photos / "trip").write_text("a file in its place")
    report = index(older)
    assert (report.completed, report.failed) == (4, 0)
    assert incomplete(older) == 2  # which are away
    assert index(older).completed == 0
    (photos / "trip").unlink()
    (older / "trip").rename(photos / "trip")
    assert index(older).completed == 2


def _keep_time(path: Path, mtime_ns: int) -> None:
    os.utime(path, ns=(mtime_ns, mtime_ns))


def test_a_run_over_a_part_completes_that_part(older: Path) -> None:
    with Library(older / "library", device="cpu") as library:
        assert library.index([older / "photos/trip"]).completed == 2
    assert incomplete(older) == 5


def test_moments_are_known_from_the_upgrade_on(older: Path) -> None:
    connection = sqlite3.connect(older / "library/catalog.sqlite")
    photos = older / "photos"
    for name, taken_at in (
        ("IMG_20190102_030405.jpg", None),
        ("b.jpg", "2020-05-06T07:08:09+02:00"),
    ):
        connection.execute(
            "UPDATE photos SET path = ?, taken_at = ? WHERE id = (SELECT min(id) FROM photos "
            "WHERE path LIKE '%photo-%')",
            (str(photos / name), taken_at),
        )
    connection.commit()
    connection.close()
    Library(older / "library").close()
    connection = sqlite3.connect(older / "library/catalog.sqlite")
    found = connection.execute("SELECT moment, moment_from FROM photos WHERE moment NOT NULL")
    assert set(found.fetchall()) == {
        *(("2019-01-02T03:04:05", "name"), ("2020-05-06T07:08:09", "photo")),
    }
    connection.close()
