"""The words that a photo bears: titles, captions, keywords and people's names, wherever they stand.

In XMP, in IPTC-IIM, in EXIF (ImageDescription, and what Windows writes) and in the notes of a PNG.
All of them count; what several say is said once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from clipsearch.index.records import Word
from clipsearch.photos.exif import DAMAGED, text_in
from clipsearch.photos.plain_texts import decoded, texts_in
from clipsearch.photos.raw_facts import header_exif
from clipsearch.photos.xmp import BadXMP, Field, words_in_xmp

if TYPE_CHECKING:
    from PIL import Image

# Of one photo or sidecar; nobody wrote more.
_MOST_WORDS = 500
_MOST_CHARACTERS = 16_000
_LONGEST_TEXT = 4_000

_DESCRIPTION, _XMP = 0x010E, 700
_WINDOWS: dict[int, Field] = {  # in UTF-16, keywords with semicolons between them
    0x9C9B: "title",
    0x9C9F: "title",  # subject
    0x9C9C: "description",
    0x9C9E: "keyword",
}
_IPTC: dict[tuple[int, int], Field] = {
    (2, 5): "title",
    (2, 105): "title",  # headline
    (2, 120): "description",
    (2, 25): "keyword",
}
_IPTC_CODING, _IN_UTF8 = (1, 90), b"\x1b%G"
_PNG: dict[str, Field] = {"Title": "title", "Description": "description", "Comment": "description"}

# What cameras and programs put where a caption belongs.
_BY_CAMERAS = re.compile(
    r"(?:[\w ]+ )?digital (?:still )?camera|sony dsc|exif[_ ]jpeg(?:[_ ]picture)?|samsung|default|"
    r"<.*>|dcim[\\/].*|(?:r?hdr|cof|dav|sdr|edf|ptr|mde|binary comment|untitled)(?: \w+)?|[\W_]*|"
    r"created with (?:the )?gimp|[{\[].*",
    re.IGNORECASE | re.DOTALL,
)
# Invisible, and yet part of words: they join letters, and people to families.
_JOINERS = "\u200c\u200d"


def words_in_photo(image: Image.Image) -> tuple[Word, ...]:
    """Return the words in a picture that Pillow has opened; damaged metadata says nothing.

    Those of a PNG may stand behind its pixels, those of a TIFF are gone once it is loaded.
    """
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    found = [*_in_xmp(xmp), *_in_iptc(image)]
    with suppress(*DAMAGED):
        found += _in_exif(image.getexif())
    if image.format == "PNG":
        notes = ((field, image.info.get(name) or "") for name, field in _PNG.items())
        found += [Word(field, text) for field, text in notes if _is_caption(text)]
    return kept(found)


def words_in_raw(data: bytes) -> tuple[Word, ...]:
    """Return the words in the header of a raw camera file."""
    with suppress(*DAMAGED):
        exif = header_exif(data)
        return kept([*_in_xmp(exif.get(_XMP)), *_in_exif(exif)])
    return ()


def words_in_sidecar(data: bytes) -> tuple[Word, ...]:
    """Return the words in an XMP file beside a photo; one that is damaged says nothing."""
    return kept(_in_xmp(data))


def kept(words: Iterable[Word]) -> tuple[Word, ...]:
    """Return words, each once, plain and on one line, as many as one photo can bear."""
    found: dict[Word, None] = {}
    left = _MOST_CHARACTERS
    for field, raw in words:
        visible = "".join(c if c.isprintable() or c in _JOINERS else " " for c in raw)
        for text in texts_in(visible[:_LONGEST_TEXT]):
            word = Word(field, text)
            if word not in found and len(text) <= left and len(found) < _MOST_WORDS:
                found[word] = None
                left -= len(text)
    return tuple(found)


def _in_xmp(xmp: Any) -> list[Word]:
    if isinstance(xmp, str):
        xmp = xmp.encode(errors="replace")
    if isinstance(xmp, bytes):
        with suppress(BadXMP):
            return [word for word in words_in_xmp(xmp) if _is_worth(word)]
    return []


def _in_exif(exif: Image.Exif) -> Iterator[Word]:
    text = text_in(exif.get(_DESCRIPTION))
    if text and _is_caption(text):
        yield Word("description", text)
    for tag, field in _WINDOWS.items():
        value = exif.get(tag)
        if isinstance(value, bytes):
            text = value.decode("utf-16-le", "ignore").partition("\0")[0]
            for part in text.split(";") if field == "keyword" else [text]:
                yield Word(field, part)


def _in_iptc(image: Image.Image) -> list[Word]:
    from PIL import ImageFile, IptcImagePlugin

    if not isinstance(image, ImageFile.ImageFile) or image.format not in ("JPEG", "MPO", "TIFF"):
        return []
    found: dict[Any, Any] = {}
    with suppress(*DAMAGED):
        found = IptcImagePlugin.getiptcinfo(image) or {}
    in_utf8 = found.get(_IPTC_CODING) == _IN_UTF8
    words = []
    for tag, field in _IPTC.items():
        values = found.get(tag) or []
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, bytes):
                text = value.decode("utf-8", "replace") if in_utf8 else decoded(value)
                words.append(Word(field, text.rstrip("\0")))
    return [word for word in words if _is_worth(word)]


def _is_worth(word: Word) -> bool:
    return word.field != "description" or _is_caption(word.text)


def _is_caption(text: Any) -> bool:
    """Tell whether somebody wrote a text, rather than a camera or a program for itself."""
    return isinstance(text, str) and _BY_CAMERAS.fullmatch(text.strip(" \0\t\r\n")) is None
