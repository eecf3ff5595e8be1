"""Which files are taken for photos, and what is said of those that are none."""

from __future__ import annotations

import pytest
from made_pictures import reason

from clipsearch.photos.formats import is_image_name

WEB_PAGE = "not a picture (looks like a web page)"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "the file is empty"),
        (bytes(1000), "not a picture (nothing but zero bytes)"),
        (b"Dear diary,\nno picture here.\n", "not a picture (looks like text)"),
        ("Größe".encode() * 900, "not a picture (looks like text)"),
        (b"<!DOCTYPE html><title>404</title>", "not a picture (looks like a web page)"),
        ("\ufeff<!-- é --><HTML lang=fr>".encode("latin-1", "ignore"), WEB_PAGE),
        (b'\xef\xbb\xbf<?xml version="1.0"?><html>', WEB_PAGE),
        (b"<!---->" * 500 + b"nothing", "not a picture (looks like text)"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "unsupported format: SVG drawing"),
        (b"%PDF-1.7\n\xff", "not a picture (looks like a PDF document)"),
        (b"\0\0\0\x20ftypisom" + bytes(40), "not a picture (looks like a video)"),
        (b"8BPS\0\1" + bytes(40), "unsupported format: Photoshop document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "unsupported format: PostScript"),
        (b"6300\xfe\xfd\0\1", "not a picture in a known format"),
        (b"BMW is no bitmap, but begins like one", "not a picture (looks like text)"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "damaged PNG: broken PNG file (chunk b'\\x00"),
    ],
)
def test_what_is_no_picture_is_called_what_it_is(data: bytes, expected: str) -> None:
    assert reason(data).startswith(expected)


def test_names_are_taken_for_photos_by_their_suffix() -> None:
    assert all(map(is_image_name, ["a.jpg", "B.JPEG", "c.d.HeIc", "x.avif", "/x/y.tif"]))
    assert all(map(is_image_name, ["a.jps", "a.INSP", "a.jpg_large", "a.png:large", "a.jpg?w=2.5"]))
    assert all(map(is_image_name, ["a.jpg ", "a.JPG .", "a.jpg..", "a.jpg\u00a0", "a.jpg_large "]))
    assert not any(
        map(is_image_name, ["a.jpg~", "a.jpg_original", "a.jpg.bak", "a?.txt", "?", " "])
    )
    assert not any(map(is_image_name, ["a", "jpg", "a.txt", "a.jpg.txt", "a.jpg/b", "", "a."]))
