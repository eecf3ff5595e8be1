"""A page of photos: whole, without script, and obeying nothing that a name holds."""

import os
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_hits import HOSTILE, made_hit
from PIL import Image
from places import PHOTO

from clipsearch import Hits, InvalidInput
from clipsearch.results import cards_of
from clipsearch.showing.contact_sheet import Card, fragment, page, write_page

VOID = {"meta", "img"}


class Reader(HTMLParser):
    """What a browser makes of a page: its elements, which must be closed in order, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [said for name, said in self.elements if name == tag]


def card(name: str = "a.jpg", **fields: object) -> Card:
    said = {"rank": 1, "address": "file:///a.jpg", "lines": (), "relevance": None}
    return Card(**{**said, "name": name, "strength": None, "picture": None, **fields})


def test_a_page_needs_no_other_file_and_no_script_and_links_to_the_photos() -> None:
    hit = made_hit(PHOTO, relevance=0.8, place="Paris", taken_text="2021-07-04T12:30:00+02:00")
    text = page("a cup", "1 photo", list(cards_of([hit], 64)))
    read = Reader(text)
    addresses = [said["href"] for said in read.named("a")]
    assert addresses == [PHOTO.as_uri()] * 2
    (picture,) = read.named("img")
    assert (picture["src"] or "").startswith("data:image/jpeg;base64,")
    assert not read.named("script") + read.named("link") + read.named("iframe")
    assert "url(" not in text
    for said in ("a cup", PHOTO.name, "strong", "Paris", "2021-07-04 12:30"):
        assert said in read.text
    assert "width: 80%" in text
    assert "color-scheme: light dark" in text


@pytest.mark.parametrize("make", [lambda one: page(HOSTILE, HOSTILE, [one]), None])
def test_nothing_in_a_name_is_obeyed(tmp_path: Path, make) -> None:
    hit = made_hit(
        tmp_path / HOSTILE, place=HOSTILE, camera=HOSTILE, matched=HOSTILE, tags=(HOSTILE,)
    )
    (one,) = cards_of([hit], 32)
    text = make(one) if make else fragment([one], [HOSTILE])
    read = Reader(text)
    assert not read.named("script")
    assert "<script>alert('1')</script>" in read.text
    assert not any(letter in text for letter in "\x1b\x9b\u202e")
    allowed = {"href", "src", "class", "style", "alt", "title", "name", "content", "charset"}
    assert all(set(said) <= allowed | {"http-equiv"} for _, said in read.elements)


def test_a_name_that_is_no_text_is_shown_and_its_link_leads_there(tmp_path: Path) -> None:
    photo = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    photo.write_bytes(PHOTO.read_bytes())
    (one,) = cards_of([made_hit(photo)], 32)
    write_page(tmp_path / "page.html", page("x", "", [one]))
    read = Reader((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert one.picture is not None
    assert r"caf\xe9.jpg" in read.text
    assert (read.named("a")[0]["href"] or "").endswith("caf%E9.jpg")


def test_a_page_takes_the_place_of_a_page_and_of_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "hits.html"
    write_page(file, page("first", "", []))
    write_page(file, page("second", "", [card()]))
    assert "second" in file.read_text()
    for name, text in (
        ("mine.html", "<!doctype html>mine"),
        ("notes", ""),
        ("photo.jpg", "x" * 99),
    ):
        other = tmp_path / name
        other.write_text(text)
        with pytest.raises(InvalidInput, match="left as it is"):
            write_page(other, page("", "", []))
        assert other.read_text() == text
    with pytest.raises(InvalidInput, match="can't write"):
        write_page(tmp_path / "nowhere" / "hits.html", page("", "", []))
    with pytest.raises(InvalidInput):
        write_page(tmp_path, page("", "", []))
    assert {one.name for one in tmp_path.iterdir()} == {
        "hits.html",
        "mine.html",
        "notes",
        "photo.jpg",
    }  # and nothing half written


def test_a_notebook_shows_twenty_pictures_at_most(tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (40, 30), "red").save(small)
    hits = Hits([made_hit(small, rank) for rank in range(1, 24)] + [made_hit(tmp_path / "gone")])
    read = Reader(hits._repr_html_())
    assert len(read.named("img")) == 20
    assert "and 4 more" in read.text
    assert "24 photos" in read.text
    assert "no photos" in Reader(Hits()._repr_html_()).text
    gone = Reader(Hits([made_hit(tmp_path / "gone.jpg")])._repr_html_())
    assert "gone.jpg" in gone.text
    assert not gone.named("img")
