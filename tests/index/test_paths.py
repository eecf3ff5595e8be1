"""Paths survive the catalog, whatever bytes their names hold."""

import os
from pathlib import Path

import pytest

from clipsearch.index.paths import text_range_below, to_path, to_text

NAMES = [
    b"plain.jpg",
    b"with 'quotes' and \"more\".jpg",
    b"line\nbreak\ttab.jpg",
    "Grüße 日本 🏖.jpg".encode(),
    b"latin-1 \xe9t\xe9.jpg",
    b"\xff\xfe\x80.jpg",
    b"cut \xee\xbe",  # the start of a private-use character of our own range
    "\uef80\uefff\uee00.jpg".encode(),  # the range itself, and a neighbour
    b"\x80" + "\uef80".encode() + b"\x80",
    b"a" * 255,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_comes_back_from_its_text_byte_for_byte(name: bytes) -> None:
    path = Path("/photos") / os.fsdecode(name)
    text = to_text(path)
    text.encode("utf-8")  # what SQLite needs
    assert os.fsencode(to_path(text)) == b"/photos/" + name


def test_no_two_paths_share_a_text() -> None:
    paths = [Path(os.fsdecode(name)) for name in NAMES]
    assert len({to_text(path) for path in paths}) == len(paths)


def test_an_undecodable_byte_is_written_as_a_private_use_character() -> None:
    assert to_text(Path(os.fsdecode(b"/caf\xe9.jpg"))) == "/caf\uefe9.jpg"


def test_a_real_private_use_character_is_written_as_its_bytes() -> None:
    assert to_text(Path("/\uef80")) == "/\uefee\uefbe\uef80"


@pytest.mark.parametrize(
    ("folder", "below", "not_below"),
    [
        ("/a/b", ["/a/b/c", "/a/b/c/d", "/a/b/ ", "/a/b/\U0010ffff"], ["/a/b", "/a/bc", "/a/b0"]),
        ("/", ["/a", "/a/b"], []),
        ("/a/\udcff", ["/a/\udcff/x"], ["/a/\udcfe/x"]),
    ],
)
def test_the_range_below_a_folder_holds_what_lies_in_it(
    folder: str, below: list[str], not_below: list[str]
) -> None:
    first, end = text_range_below(Path(folder))
    assert all(first <= to_text(Path(path)) < end for path in below)
    assert not any(first <= to_text(Path(path)) < end for path in not_below)
