"""The answer of a search: a sequence of hits, and what was left out."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from made_hits import made_hit
from PIL import Image
from places import ROOT

import clipsearch
from clipsearch import Hits, IndexReport, Library, MissingPackages, UnreadableImage
from clipsearch.results import AwayFolder


def test_hits_are_a_sequence(small_library: Path) -> None:
    with Library(small_library / "library", read_only=True) as library:
        found = library.query("a dog", k=4)
    assert isinstance(found, Sequence)
    assert found == list(found)
    assert found == tuple(found)
    assert found != list(found)[:-1]
    assert hash(found) == hash(Hits(found))
    assert [hit.rank for hit in found] == [1, 2, 3, 4]
    assert isinstance(found[1:3], Hits)
    assert found[1:3] == [found[1], found[2]]
    assert found[-1] in found
    assert not Hits()


def test_json_gives_the_same_hits_again(small_library: Path, sample_photos: list[Path]) -> None:
    odd = small_library / "photos" / os.fsdecode(b"caf\xe9 \xee\xbe\x80.jpg")
    odd.write_bytes(sample_photos[7].read_bytes())
    with Library(small_library / "library", device="cpu") as library:
        library.index()
        found = library.query("a dog", k=100)
    assert odd in {hit.path for hit in found}
    away = Hits(found, [AwayFolder(odd.parent, "does not exist", 3)])
    again = Hits.from_json(json.loads(json.dumps(away.to_json())))
    assert again == found
    assert again.left_out == away.left_out
    assert [hit.path for hit in again] == [hit.path for hit in found]


def test_what_a_notebook_shows_names_each_photo_and_what_was_left_out(small_library: Path) -> None:
    with Library(small_library / "library", read_only=True) as library:
        found = library.query("a dog", k=2)
    first, *lines = repr(found).splitlines()
    assert first == "<Hits: 2 photos>"
    assert [hit.source in line for hit, line in zip(found, lines, strict=True)] == [True, True]
    gone = repr(Hits(found[:1], [AwayFolder(Path("/disk"), "is not mounted", 12)]))
    assert gone.splitlines()[-1] == "left out: /disk is not mounted (12)"
    assert repr(Hits(list(found) * 30)).splitlines()[-1] == "      and 40 more"
    assert repr(Hits()) == "<Hits: no photos>"


def test_what_is_shown_is_short_and_says_what_it_is(small_library: Path) -> None:
    folder = small_library / "library"
    library = Library(folder, read_only=True)
    info, hit = library.info(), library.query("a dog", k=1)[0]
    assert info.model is not None
    model = Path(info.model.identity.name).name
    assert repr(library) == f"Library({str(folder)!r}, 5 photos, {model})"
    assert repr(info) == f"LibraryInfo({str(folder)!r}, 5 photos, {model})"
    assert repr(replace(info, photos=1058, model=None)).endswith(", 1,058 photos)")
    taken = replace(hit, taken_text="2024-05-06T07:08:09", moment=None)
    shown = f"Hit(1, score={hit.score:.3f}, {hit.source!r}, id={hit.id}"
    assert repr(taken) == f"{shown}, taken_at=2024-05-06T07:08:09)"
    assert repr(replace(hit, taken_text=None, moment=None)) == f"{shown})"
    photo = library.photo(hit.id)
    for long in (hit.content_hash, photo.metadata.perceptual_hash):
        assert long
        assert long not in repr(photo)
    library.close()
    assert repr(library) == f"Library({str(folder)!r}, closed)"


def test_a_report_says_only_what_happened() -> None:
    report = IndexReport("builtin", added=1200, unchanged=3, seconds=1.24, interrupted=True)
    assert repr(report) == ("IndexReport(1,200 added, 3 unchanged, interrupted, 1.2 s, builtin)")
    assert repr(IndexReport("local-dir:/models/mine")) == "IndexReport(0.0 s, mine)"


@pytest.mark.parametrize(
    ("taken_text", "taken_at"),
    [
        (None, None),
        ("2024-05-06", datetime(2024, 5, 6)),
        ("2024-05-06T07:08:09", datetime(2024, 5, 6, 7, 8, 9)),
        ("2024-05-06T07:08:09+02:00", datetime(2024, 5, 6, 7, 8, 9)),
    ],
)
def test_the_moment_of_a_hit_is_what_the_clock_showed(
    small_library: Path, taken_text: str | None, taken_at: datetime | None
) -> None:
    with Library(small_library / "library", read_only=True) as library:
        hit = replace(library.query("a dog", k=1)[0], taken_text=taken_text, moment=None)
    assert hit.taken_at == taken_at
    assert hit.to_dict()["taken_at"] == taken_text
    assert "taken_text" not in hit.to_dict()
    assert Hits.from_json(json.loads(json.dumps(Hits([hit]).to_json())))[0] == hit


def test_where_the_photo_says_no_date_the_name_of_its_file_may(tmp_path: Path) -> None:
    by_name = made_hit(tmp_path / "a.jpg", moment="2021-07-14", moment_from="name")
    assert by_name.taken_at == datetime(2021, 7, 14)
    assert by_name.to_dict()["taken_at"] is None
    assert by_name.when == "2021-07-14 (name)"
    said = {"taken_text": "2021-07-14T09:30:10+02:00", "moment": "2021-07-14T09:30:10"}
    by_photo = made_hit(tmp_path / "a.jpg", **said, moment_from="photo")
    assert by_photo.taken_at == datetime(2021, 7, 14, 9, 30, 10)
    assert by_photo.to_dict()["taken_at"] == said["taken_text"]
    assert by_photo.when == "2021-07-14 09:30"
    assert made_hit(tmp_path / "a.jpg").when == ""


def test_moments_with_and_without_an_offset_are_put_in_order_by_the_local_clock(
    small_library: Path,
) -> None:
    said = ["2024-05-06T09:00:00-08:00", "2024-05-06", "2024-05-06T08:00:00+13:00"]
    with Library(small_library / "library", read_only=True) as library:
        hit = library.query("a dog", k=1)[0]
    hits = [replace(hit, taken_text=text, moment=None) for text in (*said, "2024-05-06T08:30:00")]
    in_order = sorted(hits, key=lambda one: one.taken_at or datetime.min)
    assert [one.taken_text for one in in_order] == [
        *(said[1], said[2], "2024-05-06T08:30:00", said[0])
    ]


def test_only_what_is_public_is_listed_and_the_page_of_the_api_has_it() -> None:
    assert dir(clipsearch) == sorted(clipsearch.__all__)
    assert all(getattr(clipsearch, name) is not None for name in dir(clipsearch))
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    missing = [name for name in dir(clipsearch) if name not in page and name != "__version__"]
    assert not missing


def test_a_photo_is_seen_upright_at_full_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (600, 300), "red").save(tmp_path / "turned.jpg", exif=exif)
    image = made_hit(tmp_path / "turned.jpg").image()
    assert (image.size, image.mode) == ((300, 600), "RGB")
    with pytest.raises(UnreadableImage):
        made_hit(tmp_path / "gone.jpg").image()


def test_a_table_of_hits_needs_pandas_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackages, match="pip install pandas"):
        Hits().to_pandas()


def test_a_table_of_hits_has_a_row_for_each_and_moments_as_such(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    hits = Hits(
        [
            made_hit(tmp_path / "a.jpg", taken_text="2021-07-04T12:30:00+02:00", tags=("beach",)),
            made_hit(tmp_path / "b.jpg", 2),
        ]
    )
    table = hits.to_pandas()
    assert list(table.columns) == list(hits[0].to_dict())
    assert list(table["path"]) == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    assert table["taken_at"][0] == pandas.Timestamp("2021-07-04 12:30:00")
    assert table["taken_at"].isna().tolist() == [False, True]
    assert list(Hits().to_pandas().columns) == list(table.columns)
