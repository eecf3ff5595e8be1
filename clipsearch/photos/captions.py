"""What a photo's file and the files beside it say about it: caption, keywords, people.

Read are a text or JSON file of the same name, XMP (beside the photo or in it) and IPTC, which photo
managers write: digiKam, Lightroom, Darktable, Picasa, Google Takeout and others.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from clipsearch.errors import InvalidInput, UnreadableImage
from clipsearch.photos.file_reading import read_whole
from clipsearch.photos.plain_texts import decoded, lines_in, read_json, texts_in

_JSON_CAPTIONS = ("captions", "caption", "text", "description")
_JSON_NAMES = ("people", "persons", "tags", "keywords", "labels")
_SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "ext": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "regions": "http://www.metadataworkinggroup.com/schemas/regions/",
    "faces": "http://ns.microsoft.com/photo/1.2/t/Region#",
}
_LONGEST_TEXT = 1 << 24  # bytes; what is longer says nothing about one photo
# In a keyword's path (Pets|Dogs|Rex, People/Anna) the last part is the name.
_PATH_MARKS = "|/"
_IPTC_CAPTION, _IPTC_KEYWORDS = (2, 120), (2, 25)


class UnreadableCaptions(InvalidInput):
    """A file of captions beside a photo can't be read; the message says which."""


@dataclass(frozen=True)
class PhotoCaptions:
    """What is said about a photo."""

    captions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # of people, pets and things: keywords without their paths

    def completed_by(self, other: PhotoCaptions) -> PhotoCaptions:
        """Take the captions or the names of another where there are none here."""
        return PhotoCaptions(self.captions or other.captions, self.names or other.names)


def captions_of(path: Path, photo: bytes) -> PhotoCaptions:
    """Return what is said about a photo, whose path and content are given.

    The sources, in their order: name.txt (a caption a line), name.json, name.xmp, XMP in the photo,
    IPTC in it. The first source with captions ends the search, and of the names, those of the first
    source that has some are taken. The files beside it are called `photo.txt` or `photo.jpg.txt`.

    Raises UnreadableCaptions for a JSON file that can't be read.
    """
    found = PhotoCaptions()
    readers: tuple[tuple[str, Callable[[bytes], PhotoCaptions]], ...] = (
        (".txt", lambda text: PhotoCaptions(lines_in(text))),
        (".json", lambda text: _from_json(text, path.name)),
        (".xmp", captions_in_xmp),
    )
    for suffix, read in readers:
        for beside in (path.with_suffix(suffix), path.with_name(path.name + suffix)):
            if not found.captions and (text := _content(beside)):
                found = found.completed_by(read(text))
    if not found.captions:
        found = found.completed_by(captions_in_xmp(photo))
    if not found.captions:
        found = found.completed_by(captions_in_iptc(photo))
    return found


def captions_in_xmp(data: bytes) -> PhotoCaptions:
    """Return what the first XMP packet in a file says; one that is damaged says nothing.

    A packet is found by its marks, as XMP intends, whatever the format around it.
    """
    start = data.find(b"<x:xmpmeta")
    end = data.find(b"</x:xmpmeta>", start)
    if start < 0 or end < 0:
        return PhotoCaptions()
    try:
        root = ElementTree.fromstring(data[start : end + len(b"</x:xmpmeta>")])
    except (ElementTree.ParseError, ValueError):
        return PhotoCaptions()
    captions = _items(root, "dc:description") or _items(root, "dc:title")
    people = _items(root, "ext:PersonInImage")
    regions = _values(root, "regions:Name") + _values(root, "faces:PersonDisplayName")
    return PhotoCaptions(captions, _names([*people, *regions, *_items(root, "dc:subject")]))


def captions_in_iptc(photo: bytes) -> PhotoCaptions:
    """Return what IPTC in a JPEG says; what is damaged says nothing."""
    from PIL import IptcImagePlugin, JpegImagePlugin

    if photo[:3] != b"\xff\xd8\xff":
        return PhotoCaptions()
    try:
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(photo))
        found = IptcImagePlugin.getiptcinfo(image) or {}
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, ArithmeticError):
        return PhotoCaptions()
    captions, keywords = (_iptc_texts(found.get(tag)) for tag in (_IPTC_CAPTION, _IPTC_KEYWORDS))
    return PhotoCaptions(captions, _names(keywords))


def _content(path: Path) -> bytes:
    try:
        return read_whole(path, _LONGEST_TEXT)[0]
    except (OSError, ValueError, UnreadableImage):  # most often: not there
        return b""


def _from_json(text: bytes, file_name: str) -> PhotoCaptions:
    try:
        facts = read_json(text)
    except ValueError as error:
        raise UnreadableCaptions("the JSON file beside it can't be read") from error
    if not isinstance(facts, dict):
        return PhotoCaptions(texts_in(facts))
    titles = [title for title in texts_in(facts.get("title")) if title != file_name]
    captions = next((texts for name in _JSON_CAPTIONS if (texts := texts_in(facts.get(name)))), ())
    names = [name for field in _JSON_NAMES for name in _json_names(facts.get(field))]
    return PhotoCaptions(captions or tuple(titles), _names(names))


def _json_names(value: Any) -> tuple[str, ...]:
    """Return names written as strings or, as Google Takeout does, as objects with a name."""
    if isinstance(value, list):
        value = [item.get("name") if isinstance(item, dict) else item for item in value]
    return texts_in(value)


def _items(root: ElementTree.Element, name: str) -> tuple[str, ...]:
    """Return the texts of a list or of the languages of a text."""
    found = root.findall(f".//{name}//rdf:li", _SPACES) or root.findall(f".//{name}", _SPACES)
    return texts_in([item.text for item in found])


def _values(root: ElementTree.Element, name: str) -> list[str]:
    """Return the values of a property, which is written as an attribute or as an element."""
    space, _, local = name.partition(":")
    full = f"{{{_SPACES[space]}}}{local}"
    elements = [element.text for element in root.iter(full)]
    return [*texts_in([element.get(full) for element in root.iter()]), *texts_in(elements)]


def _iptc_texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return texts_in([decoded(item) for item in values if isinstance(item, bytes)])


def _names(keywords: Iterable[str]) -> tuple[str, ...]:
    """Return the names, each once, without years and the path that some managers put first."""
    for mark in _PATH_MARKS:
        keywords = [keyword.rpartition(mark)[2] for keyword in keywords]
    return texts_in([keyword for keyword in keywords if any(c.isalpha() for c in keyword)])
