"""Titles, captions, keywords and names are read from photos and sidecars, and nothing else is."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import pytest
from captioned_files import with_iptc
from made_pictures import photo
from made_raws import dng
from PIL import Image, PngImagePlugin, TiffImagePlugin
from places import ROOT
from sidecars import SAID, items, said, xmp

from clipsearch.index.records import FACTS, Word
from clipsearch.photos.decoders import Decoders
from clipsearch.photos.opening import open_image
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.photos.words_in_photos import words_in_sidecar
from clipsearch.photos.xmp import LONGEST_XMP, BadXMP, words_in_xmp

PACKET = xmp(f"<dc:title>Harbour ü</dc:title><dc:subject>{items('Sea')}</dc:subject>")
SHARED = Path(os.environ.get("CLIPSEARCH_TEST_DATA", ROOT.parent / "shared/data")).parent
IN_PACKET = (Word("title", "Harbour ü"), Word("keyword", "Sea"))


def words(data: bytes) -> list[Word]:
    return list(open_image(data).words)


def file_of(format_name: str, **options: object) -> bytes:
    file = io.BytesIO()
    photo().save(file, format_name, **options)
    return file.getvalue()


# Dialects of XMP


@pytest.mark.parametrize("name", SAID)
def test_every_dialect_is_read(name: str) -> None:
    assert words_in_sidecar(SAID[name][0].encode()) == said(name)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("coding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_it_comes_in_every_coding(coding: str, mark: str) -> None:
    for before in ("", '<?xpacket begin="\x1a" id="W5M0"?>\n', '<?xml version="1.0"?>\n'):
        text = f"{mark}{before}{PACKET}\n<?xpacket end='w'?>\0\0"
        assert words_in_sidecar(text.encode(coding)) == IN_PACKET


def test_what_declares_its_coding_is_read_in_it() -> None:
    text = f'<?xml version="1.0" encoding="ISO-8859-1"?>{PACKET}'
    assert words_in_sidecar(text.encode("latin-1")) == IN_PACKET


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaaaaaaaaaaaaaa">'
    + "".join(
        f'<!ENTITY {c} "{f"&{p};" * 12}">' for p, c in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]>"
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB + PACKET.replace("Harbour", "&i;"),
        '<!DOCTYPE x SYSTEM "file:///etc/passwd">' + PACKET,
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + PACKET.replace("Sea", "&a;"),
        '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1/x">%a;]>' + PACKET,
        PACKET.replace("Harbour", "<a>" * 5000 + "</a>" * 5000),
        PACKET.replace("Sea", "&unknown;"),
        PACKET + " " * LONGEST_XMP,
        *("", "<", "<x", "no XML", "<a></b>", PACKET[:-20], PACKET.replace("rdf:li>", "nix:li>")),
    ],
    ids=range(14),
)
def test_what_is_hostile_or_damaged_says_nothing_and_does_no_harm(text: str) -> None:
    with pytest.raises(BadXMP):
        words_in_xmp(text.encode())
    assert words_in_sidecar(text.encode()) == ()


def test_no_cut_or_flipped_packet_does_harm() -> None:
    data = bytearray(PACKET.encode())
    for place in range(0, len(data), 7):
        words_in_sidecar(bytes(data[:place]))
        data[place] ^= 0x41
        words_in_sidecar(bytes(data))
        data[place] ^= 0x41


def test_words_are_few_short_and_on_one_line() -> None:
    many = items(*(f"word {n}" for n in range(5000)), "x" * 5000)
    found = words_in_sidecar(xmp(f"<dc:subject>{many}</dc:subject>").encode())
    assert len(found) == 500
    long = xmp(f"<dc:description>{'a long story ' * 2000}</dc:description>")
    (story,) = words_in_sidecar(long.encode())
    assert len(story.text) <= 4000
    odd = xmp("<dc:title> one\n two\t\u202ethree\u2028 \x85</dc:title><dc:description/>")
    assert words_in_sidecar(odd.encode()) == (Word("title", "one two three"),)


# In photos


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_xmp_is_read_in_photos_of_every_format(format_name: str) -> None:
    if format_name == "PNG":
        notes = PngImagePlugin.PngInfo()
        notes.add_itxt("XML:com.adobe.xmp", PACKET)
        data = file_of("PNG", pnginfo=notes)
    elif format_name == "TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[700], tags.tagtype[700] = PACKET.encode(), 7
        data = file_of("TIFF", tiffinfo=tags)
    else:
        if format_name == "HEIF":
            from pillow_heif import register_heif_opener

            register_heif_opener()
        data = file_of(format_name, xmp=PACKET.encode())
    assert words(data) == list(IN_PACKET)


def test_xmp_is_read_in_raw_files() -> None:
    import numpy as np

    scene = np.random.default_rng(0).integers(0, 255, (320, 480, 3)).astype(np.uint8)
    opened = open_image(dng(scene), shrink_to=100)
    assert (opened.words, opened.metadata.facts) == ((), FACTS)


def test_iptc_is_read_in_utf8_and_in_what_came_before_it() -> None:
    plain = file_of("JPEG")
    records = ((5, "Häfen"), (25, "Sée"), (25, "2026"), (120, "Böote\rund Netze"))
    latin = with_iptc(plain, *((kind, text.encode("latin-1")) for kind, text in records))
    utf8 = with_iptc(plain, *((kind, text.encode()) for kind, text in records))
    marked = _marked_as_utf8(utf8)
    expected = [
        *(Word("title", "Häfen"), Word("description", "Böote und Netze")),
        *(Word("keyword", "Sée"), Word("keyword", "2026")),
    ]
    assert words(latin) == words(utf8) == words(marked) == expected
    only_marked = _marked_as_utf8(with_iptc(plain, (5, b"a\xff\xc3\xa4")))
    assert words(only_marked) == [Word("title", "a\ufffdä")]


def _marked_as_utf8(data: bytes) -> bytes:
    """Put the record that says UTF-8 before the others."""
    at = data.index(b"8BIM\x04\x04") + 8
    mark = struct.pack(">BBBH", 0x1C, 1, 90, 3) + b"\x1b%G"
    size = struct.unpack(">I", data[at : at + 4])[0]
    segment = data.index(b"\xff\xed") + 2
    long = struct.unpack(">H", data[segment : segment + 2])[0] + len(mark)
    inner = struct.pack(">I", size + len(mark)) + mark + data[at + 4 :]
    return data[:segment] + struct.pack(">H", long) + data[segment + 2 : at] + inner


def test_exif_is_read_also_as_windows_writes_it() -> None:
    exif = Image.Exif()
    exif[0x010E] = "Boats at the quay"
    for tag, text in ((0x9C9B, "Häfen"), (0x9C9E, "Sea;Mole"), (0x9C9C, "Boats at the quay")):
        exif[tag] = text.encode("utf-16-le") + b"\0\0"
    assert words(file_of("JPEG", exif=exif)) == [
        Word("description", "Boats at the quay"),
        *(Word("title", "Häfen"), Word("keyword", "Sea"), Word("keyword", "Mole")),
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("OLYMPUS DIGITAL CAMERA", "SONY DSC", "Exif_JPEG_PICTURE", "          ", "cof", "hdr"),
        *("KODAK Digital Still Camera", "DCIM\\100MEDIA\\DJI_0001.JPG", "<Digimax S600 / Kenox>"),
    ],
)
def test_what_cameras_write_is_no_caption(text: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = text
    packet = xmp(f"<dc:description>{text.replace('<', '&lt;')}</dc:description>").encode()
    assert words(file_of("JPEG", exif=exif, xmp=packet)) == []


def test_notes_in_a_png_are_read() -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Title", "Häfen")
    notes.add_itxt("Description", "Boats \u6e2f")
    notes.add_text("Comment", '{"steps": 30}')
    notes.add_text("Software", "a program")
    assert words(file_of("PNG", pnginfo=notes)) == [
        Word("title", "Häfen"),
        Word("description", "Boats \u6e2f"),
    ]


def test_what_several_places_say_is_said_once_and_all_of_it_counts() -> None:
    exif = Image.Exif()
    exif[0x010E] = "Boats"
    packet = xmp(f"<dc:description>Boats</dc:description><dc:subject>{items('Sea')}</dc:subject>")
    data = with_iptc(file_of("JPEG", exif=exif, xmp=packet.encode()), (25, b"Sea"), (25, b"Mole"))
    assert words(data) == [
        *(Word("description", "Boats"), Word("keyword", "Sea"), Word("keyword", "Mole")),
    ]


def test_words_come_out_of_the_decoding_process() -> None:
    decoders = Decoders()
    try:
        fish = (f"{n} " + "\U0001f41f" * 25 for n in range(900))
        big = xmp(f"<dc:subject>{items(*fish)}</dc:subject>")
        for packet, expected in ((PACKET, 2), (big, 500)):
            data = file_of("JPEG", xmp=packet.encode()) if expected == 2 else _png(packet)
            ready = decoders.submit(data, Preprocessing(32, 32), 100).result(timeout=60)
            assert len(ready.words) == expected
            assert ready.words == open_image(data).words
            assert ready.metadata.facts == FACTS
    finally:
        decoders.close()


def _png(packet: str) -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_itxt("XML:com.adobe.xmp", packet)
    return file_of("PNG", pnginfo=notes)


# Real files


@pytest.mark.skipif(not (SHARED / "files/xmp").is_dir(), reason="needs files that do not ship")
def test_sidecars_of_real_programs_say_what_they_say() -> None:
    found = {
        path.name: words_in_sidecar(path.read_bytes()) for path in (SHARED / "files/xmp").iterdir()
    }
    assert Word("keyword", "Schöne Wiese") in found["apple-photos.xmp"]
    assert Word("person", "Gopher") in found["photoshop.xmp"]
    assert Word("keyword", "nodeID") in found["utf16.xmp"]
    assert Word("keyword", "People|Family|Anna") in found["lightroom-tree.xmp"]
    assert {name for name, words in found.items() if not words} == {
        *("bomb.xmp", "immich-2010.xmp", "iso-array.xmp"),
    }
