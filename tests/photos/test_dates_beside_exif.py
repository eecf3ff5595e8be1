"""Where EXIF has no date: XMP, IPTC, the satellites, the notes of a PNG, in this order."""

from __future__ import annotations

import io
import struct

import pillow_heif
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from clipsearch.photos.opening import open_image

TAKEN, MADE = "2021-05-06T12:30:15", "2022-07-08T09:10:11"
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF")


def xmp(body: str, attributes: str = "") -> bytes:
    return f"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description {attributes}>{body}</rdf:Description></rdf:RDF></x:xmpmeta>""".encode()


def with_xmp(packet: bytes, format_name: str = "JPEG", **options: object) -> bytes:
    image, stream = Image.new("RGB", (24, 16), (9, 99, 200)), io.BytesIO()
    if format_name == "HEIF":
        image.info["xmp"] = packet
        pillow_heif.from_pillow(image).save(stream)
    elif format_name == "PNG":
        notes = PngImagePlugin.PngInfo()
        notes.add_itxt("XML:com.adobe.xmp", packet.decode())
        image.save(stream, "PNG", pnginfo=notes)
    elif format_name == "TIFF":
        info = TiffImagePlugin.ImageFileDirectory_v2()
        info[700], info.tagtype[700] = packet, 1
        image.save(stream, "TIFF", tiffinfo=info)
    else:
        image.save(stream, format_name, xmp=packet, **options)
    return stream.getvalue()


def iptc(day: str, time: str = "") -> bytes:
    """Return the block that a JPEG carries for Photoshop."""
    fields = (
        b"\x1c\x02\x05\x00\x03hut" + b"\x1c\x02\x37" + struct.pack(">H", len(day)) + day.encode()
    )
    if time:
        fields += b"\x1c\x02\x3c" + struct.pack(">H", len(time)) + time.encode()
    fields += bytes(len(fields) % 2)
    block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">L", len(fields)) + fields
    return b"\xff\xed" + struct.pack(">H", len(block) + 2) + block


def with_iptc(block: bytes, data: bytes) -> bytes:
    return data[:2] + block + data[2:]


def png_with(key: str, text: str) -> bytes:
    notes, stream = PngImagePlugin.PngInfo(), io.BytesIO()
    notes.add_text(key, text)
    Image.new("RGB", (4, 4)).save(stream, "PNG", pnginfo=notes)
    return stream.getvalue()


def jpeg(exif: Image.Exif | None = None) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (24, 16)).save(stream, "JPEG", exif=Image.Exif() if exif is None else exif)
    return stream.getvalue()


def taken(data: bytes) -> str | None:
    return open_image(data).metadata.taken_at


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_date_in_xmp_is_read_in_every_format_that_has_it(format_name: str) -> None:
    packet = xmp(f"<exif:DateTimeOriginal>{TAKEN}</exif:DateTimeOriginal>")
    assert taken(with_xmp(packet, format_name)) == TAKEN


@pytest.mark.parametrize(
    "name", ["exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate", "xap:CreateDate"]
)
def test_a_date_in_xmp_is_an_attribute_or_an_element(name: str) -> None:
    for value, expected in (
        (TAKEN, TAKEN),
        (f"{TAKEN}.25+02:00", f"{TAKEN}+02:00"),
        (f"{TAKEN}Z", f"{TAKEN}+00:00"),
        ("2021-05-06T12:30", "2021-05-06T12:30:00"),
        ("2021-05-06", "2021-05-06"),
        ("2021-05", None),
        ("0000-00-00T00:00:00", None),
    ):
        for packet in (
            xmp("", f'{name}="{value}"'),
            xmp("", f"{name} = '{value}'"),
            xmp(f"<{name}>{value}</{name}>"),
            xmp(f"<{name}>\n  {value}\n</{name}>"),
            xmp(f"<{name}>{value}</{name}>").decode().encode("utf-16"),
        ):
            assert taken(with_xmp(packet)) == expected


def test_when_it_was_taken_comes_before_when_the_file_was_made() -> None:
    both = xmp(f"<xmp:CreateDate>{MADE}</xmp:CreateDate>", f'exif:DateTimeOriginal="{TAKEN}"')
    assert taken(with_xmp(both)) == TAKEN
    untrue = xmp(f"<xmp:CreateDate>{MADE}</xmp:CreateDate>", 'exif:DateTimeOriginal="0000-00-00"')
    assert taken(with_xmp(untrue)) == MADE


def test_no_entity_of_xmp_grows() -> None:
    bomb = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(20))
    packet = f'<!DOCTYPE x [<!ENTITY a0 "ha">{bomb}]>'.encode() + xmp(
        f"<exif:DateTimeOriginal>&a20;</exif:DateTimeOriginal><xmp:CreateDate>{MADE}</xmp:CreateDate>"
    )
    assert taken(with_xmp(packet)) == MADE


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (iptc("20210506", "123015+0200"), f"{TAKEN}+02:00"),
        (iptc("20210506", "123015"), TAKEN),
        (iptc("20210506"), "2021-05-06"),
        (iptc("20210500", "123015"), None),
        (iptc("00000000", "000000"), None),
        (iptc("2021", "123015"), None),
    ],
)
def test_the_date_in_iptc_is_read(block: bytes, expected: str | None) -> None:
    assert taken(with_iptc(block, jpeg())) == expected
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[33723], info.tagtype[33723] = block[30:], 7
    stream = io.BytesIO()
    Image.new("RGB", (24, 16)).save(stream, "TIFF", tiffinfo=info)
    assert taken(stream.getvalue()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Thu, 06 May 2021 12:30:15 +0200", f"{TAKEN}+02:00"),
        ("6 May 2021 12:30:15 GMT", f"{TAKEN}+00:00"),
        ("Thu May  6 12:30:15 2021", TAKEN),
        ("2021:05:06 12:30:15", TAKEN),
        (TAKEN, TAKEN),
        ("last summer", None),
        ("Thu, 31 Feb 2021 12:30:15 +0200", None),
    ],
)
def test_the_creation_time_of_a_png_is_read(text: str, expected: str | None) -> None:
    assert taken(png_with("Creation Time", text)) == expected
    assert taken(png_with("Software", text)) is None


def test_the_order_of_trust() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({0x1D: "2019:01:02", 7: (3.0, 4.0, 5.0)})
    assert taken(jpeg(exif)) == "2019-01-02T03:04:05+00:00"
    block = iptc("20220708", "091011")
    assert taken(with_iptc(block, jpeg(exif))) == MADE
    packet = xmp("", f'xmp:CreateDate="{TAKEN}"')
    assert taken(with_iptc(block, with_xmp(packet, exif=exif))) == TAKEN
    exif[0x0132] = "2018:01:01 00:00:00"
    assert taken(with_iptc(block, with_xmp(packet, exif=exif))) == "2018-01-01T00:00:00"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_hide_the_other_dates() -> None:
    packet = xmp("", f'photoshop:DateCreated="{TAKEN}"')
    for damage in (b"MM\0*\xff\xff\xff\xff", b"no TIFF at all", b""):
        assert taken(with_xmp(packet, exif=b"Exif\0\0" + damage)) == TAKEN
