"""What a photo and the files beside it say about it: captions and names, in every known form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from captioned_files import jpeg, with_iptc, xmp
from PIL import Image

from clipsearch.photos.captions import (
    PhotoCaptions,
    UnreadableCaptions,
    captions_in_iptc,
    captions_in_xmp,
    captions_of,
)
from clipsearch.photos.plain_texts import decoded, texts_in

RED = jpeg("red")
TAKEOUT = {"title": "d.jpg", "description": "from takeout", "people": [{"name": "Anna"}]}


def said(folder: Path, files: dict[str, bytes], photo: bytes = RED) -> PhotoCaptions:
    """Return what is said about photo.jpg, with these files beside it."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return captions_of(folder / "photo.jpg", photo)


@pytest.mark.parametrize(
    ("files", "captions"),
    [
        ({"photo.txt": b"one\ntwo\n", "photo.json": b'{"caption": "not this"}'}, ("one", "two")),
        ({"photo.jpg.txt": "caf\xe9".encode("latin-1")}, ("caf\xe9",)),
        (
            {"photo.txt": b"\xef\xbb\xbfone\rdeux \xe9t\xe9s\r\n\xc3\xa9t\xc3\xa9\n\0"},
            ("one", "deux \xe9t\xe9s", "\xe9t\xe9"),
        ),
        ({"photo.txt": b"one \xed\xa0\xbd", "photo.json": b"{"}, ("one",)),
        ({"photo.txt": b"\n \n", "photo.xmp": xmp(caption="x")}, ("x",)),
        ({"photo.json": rb'{"captions": ["\ud83d", 3, null, ["x"], "y \ude00"]}'}, ("y",)),
        ({"photo.json": b'{"captions": ["x", "y"]}'}, ("x", "y")),
        ({"photo.json": b'["x", "y", "x"]'}, ("x", "y")),
        ({"photo.json": b'{"title": "photo.jpg"}', "photo.xmp": xmp(caption="z")}, ("z",)),
        ({"photo.json": b'{"title": "A day out"}', "photo.xmp": xmp(caption="z")}, ("A day out",)),
        ({"photo.xmp": xmp(caption="beside")}, ("beside",)),
        ({"other.txt": b"of another photo"}, ()),
        ({}, ()),
    ],
)
def test_captions_lie_beside_a_photo(
    tmp_path: Path, files: dict[str, bytes], captions: tuple[str, ...]
) -> None:
    assert said(tmp_path, files) == PhotoCaptions(captions)


@pytest.mark.parametrize(
    ("photo", "found"),
    [
        (
            jpeg("blue", xmp=xmp(caption="in it &amp; more", keywords=("k",))),
            PhotoCaptions(("in it & more",), ("k",)),
        ),
        (
            with_iptc(RED, (120, "by IPTC, caf\xe9".encode()), (25, b"k")),
            PhotoCaptions(("by IPTC, caf\xe9",), ("k",)),
        ),
        (
            with_iptc(RED, (25, b"Rex"), (25, b"2006"), (25, b"Pets|Dogs|Rex"), (25, b"garden")),
            PhotoCaptions((), ("Rex", "garden")),
        ),
        (
            jpeg("blue", xmp=xmp(keywords=("People/Anna",), faces=("Rex", "Anna"))),
            PhotoCaptions((), ("Rex", "Anna")),
        ),
        (jpeg("blue", xmp=b"<x:xmpmeta>broken</x:xmpmeta>"), PhotoCaptions()),
        (b"\xff\xd8\xff", PhotoCaptions()),
        (b"", PhotoCaptions()),
    ],
)
def test_captions_lie_in_a_photo(tmp_path: Path, photo: bytes, found: PhotoCaptions) -> None:
    assert said(tmp_path, {}, photo) == found


def test_the_first_source_with_captions_is_the_last_that_is_read(tmp_path: Path) -> None:
    photo = jpeg("blue", xmp=xmp(caption="in it", faces=("Rex",)))
    beside = {"photo.jpg.json": json.dumps({"people": [{"name": "Anna"}]}).encode()}
    assert said(tmp_path, beside, photo) == PhotoCaptions(("in it",), ("Anna",))
    beside = {"photo.jpg.json": json.dumps(TAKEOUT).encode()}
    assert said(tmp_path, beside, photo) == PhotoCaptions(("from takeout",), ("Anna",))
    assert said(tmp_path, {"photo.txt": b"first"}, photo) == PhotoCaptions(("first",), ())


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000])
def test_a_json_file_that_cannot_be_read_is_said(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnreadableCaptions, match=r"^the JSON file beside it can't be read$"):
        said(tmp_path, {"photo.json": content})


def test_xmp_is_found_in_every_format_that_holds_it(tmp_path: Path) -> None:
    packet = xmp(caption="a red field")
    for name, options in {
        "a.webp": {"xmp": packet},
        "b.jpg": {"xmp": packet},
        "c.tif": {"tiffinfo": {700: packet}},
    }.items():
        Image.new("RGB", (20, 20), "red").save(tmp_path / name, **options)
        assert captions_in_xmp((tmp_path / name).read_bytes()).captions == ("a red field",)
    assert captions_in_xmp(RED) == captions_in_iptc(RED) == PhotoCaptions()


def test_texts_are_made_plain() -> None:
    assert texts_in(["  a \n b ", "a b", "", "\u200b", 3, None, "c"]) == ("a b", "c")
    assert texts_in("\ud83d\ude00 \ud83d") == ("\U0001f600",)
    assert texts_in(None) == texts_in({"a": 1}) == ()
    assert decoded(b"\xef\xbb\xbfcaf\xc3\xa9") == decoded(b"caf\xe9") == "caf\xe9"


def test_reading_captions_needs_neither_training_nor_torch() -> None:
    program = (
        "import sys; from pathlib import Path; from clipsearch.photos.captions import captions_of; "
        f"captions_of(Path('photo.jpg'), {RED!r}); "
        "print(*[m for m in sys.modules if 'training' in m or m == 'torch'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == []
