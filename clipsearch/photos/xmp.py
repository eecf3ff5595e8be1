"""The words in XMP, in every dialect that photo managers write: titles, captions, keywords, people.

XMP is RDF in XML. The same property comes as an attribute or an element, as one text, a list or one
text a language, in place or by reference (rdf:nodeID). Python's expat parses it; a document type,
which XMP has no use for and in which entities that grow are defined, is refused.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal, TypeAlias

from clipsearch.index.records import Word
from clipsearch.photos.plain_texts import texts_in

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Field: TypeAlias = Literal["title", "description", "keyword", "person"]

LONGEST_XMP = 4 << 20  # bytes; what is longer is not looked at
_DEEPEST = 100  # elements in each other; tools write a dozen

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_DC = "{http://purl.org/dc/elements/1.1/}"
_CORE = "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}"
_EXT = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
_REGIONS = "{http://www.metadataworkinggroup.com/schemas/regions/}"
_FACES = "{http://ns.microsoft.com/photo/1.2/t/Region#}"
_MICROSOFT = "{http://ns.microsoft.com/photo/1.0/}"
_PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
_ACDSEE = "{http://ns.acdsee.com/iptc/1.0/}"

# Properties of the photo. Managers write a keyword's place in their tree with another sign each.
_PROPERTIES: dict[str, tuple[Field, str | None]] = {
    f"{_DC}title": ("title", None),
    f"{_PHOTOSHOP}Headline": ("title", None),
    f"{_DC}description": ("description", None),
    "{http://ns.adobe.com/tiff/1.0/}ImageDescription": ("description", None),
    f"{_CORE}AltTextAccessibility": ("description", None),
    f"{_CORE}ExtDescrAccessibility": ("description", None),
    f"{_DC}subject": ("keyword", None),
    "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject": ("keyword", "|"),
    "{http://www.digikam.org/ns/1.0/}TagsList": ("keyword", "/"),
    "{http://ns.iview-multimedia.com/mediapro/1.0/}CatalogSets": ("keyword", "|"),
    f"{_MICROSOFT}LastKeywordXMP": ("keyword", "/"),
    f"{_MICROSOFT}LastKeywordIPTC": ("keyword", "/"),
    f"{_ACDSEE}keywords": ("keyword", None),
    f"{_PHOTOSHOP}SupplementalCategories": ("keyword", None),
    f"{_EXT}PersonInImage": ("person", None),
}
# Properties that stand deeper: below the first, each of the second.
_STRUCTURES: dict[str, tuple[Field, str]] = {
    f"{_EXT}PersonInImageWDetails": ("person", f"{_EXT}PersonName"),
    "{http://ns.microsoft.com/photo/1.2/}RegionInfo": ("person", f"{_FACES}PersonDisplayName"),
    "{http://www.metadataworkinggroup.com/schemas/keywords/}Keywords": (
        "keyword",
        "{http://www.metadataworkinggroup.com/schemas/keywords/}Keyword",
    ),
}
_REGION_LISTS = (f"{_REGIONS}Regions", f"{_REGIONS}RegionList")  # the latter in old files
_NO_BEINGS = ("focus", "barcode")  # kinds of regions whose name is none of a person or a pet
_FORBIDDEN = bytes(set(range(0x20)) - set(b"\t\n\r"))
TREE = "|"  # between the parts of a keyword with its place in a tree, as words are kept


class BadXMP(ValueError):
    """It is no XMP, or not to be parsed; the message says why."""


def words_in_xmp(data: bytes) -> list[Word]:
    """Return the titles, captions, keywords and names in a packet or sidecar, each once.

    Raises BadXMP. A keyword's place in a tree is kept, written with `|`: People|Family|Anna.
    """
    root = _parsed(data)
    by_id = {one.get(f"{_RDF}nodeID"): one for one in root.iter() if len(one)}
    found: dict[Word, None] = {}
    for rdf in root.iter(f"{_RDF}RDF"):
        for node in rdf:
            if node.tag.startswith(_RDF) and node.tag != f"{_RDF}Description":
                continue
            for name, value in node.items():
                found.update(dict.fromkeys(_words(name, [value])))
            for element in node:
                found.update(dict.fromkeys(_words_of(element, by_id)))
    return list(found)


def _words_of(element: Element, by_id: dict[str | None, Element]) -> Iterator[Word]:
    """Yield what a property of the photo says."""
    reference = element.get(f"{_RDF}nodeID")
    target = by_id.get(reference, element) if reference else element
    if element.tag in _PROPERTIES:
        yield from _words(element.tag, _texts(target))
    elif element.tag in _STRUCTURES:
        field, name = _STRUCTURES[element.tag]
        yield from _plain(field, [text for one in target.iter() for text in _named(one, name)])
    elif element.tag in _REGION_LISTS:
        yield from _plain("person", _names_of_beings(target))


def _words(name: str, texts: Iterable[str]) -> Iterator[Word]:
    if name in _PROPERTIES:
        field, mark = _PROPERTIES[name]
        yield from _plain(field, texts, mark)


def _plain(field: Field, texts: Iterable[str], mark: str | None = None) -> Iterator[Word]:
    for text in texts_in(list(texts)):
        parts = text.split(mark) if mark else [text]
        yield from (Word(field, one) for one in texts_in(TREE.join(filter(None, parts))))


def _texts(element: Element) -> list[str]:
    """Return the texts of a list, of the languages of a text, or of a plain element.

    Of languages, the one that stands for all comes first. A text with remarks about it (qualifiers)
    stands in rdf:value.
    """
    items = list(element.iter(f"{_RDF}li")) or [element]
    items.sort(key=lambda item: item.get(_LANGUAGE) != "x-default")
    return [text for item in items for text in _own_texts(item)]


def _own_texts(item: Element) -> list[str]:
    value = f"{_RDF}value"
    if not len(item) and item.get(value) is None:
        return [item.text or ""]
    found = [*(one.get(value) for one in (item, *item)), *(one.text for one in item.iter(value))]
    return [text for text in found if text]


def _named(element: Element, name: str) -> Iterator[str]:
    """Yield a property of this name that an element has as an attribute, or is."""
    if (value := element.get(name)) is not None:
        yield value
    if element.tag == name:
        yield from _texts(element)


def _names_of_beings(regions: Element) -> Iterator[str]:
    """Yield the names of faces, pets and whatever else a region marks and names."""
    for region in regions.iter():
        kind = "".join(_fields(region, f"{_REGIONS}Type"))
        if kind.strip().casefold() not in _NO_BEINGS:
            yield from _fields(region, f"{_REGIONS}Name")


def _fields(structure: Element, name: str) -> list[str]:
    """Return a field of a structure, which is an attribute of it or an element in it."""
    value = structure.get(name)
    elements = [text for one in structure if one.tag == name for text in _texts(one)]
    return elements if value is None else [value, *elements]


def _parsed(data: bytes) -> Element:
    if len(data) > LONGEST_XMP:
        raise BadXMP("longer than XMP is")
    from xml.etree import ElementTree

    class Careful(ElementTree.TreeBuilder):
        """Refuses what grows, and what is nested so deep that nobody wrote it."""

        depth = 0

        def doctype(self, *_: object) -> None:
            raise BadXMP("it defines a document type")

        def start(self, tag: str, attrs: dict[str, str], /) -> Element:
            self.depth += 1
            if self.depth > _DEEPEST:
                raise BadXMP("nested too deep")
            return super().start(tag, attrs)

        def end(self, tag: str, /) -> Element:
            self.depth -= 1
            return super().end(tag)

    parser = ElementTree.XMLParser(target=Careful())
    try:
        parser.feed(_readable(data))
        root: Element = parser.close()
    except (ElementTree.ParseError, ValueError, LookupError, UnicodeError) as error:
        raise BadXMP(f"no XML: {error}") from error
    return root


def _readable(data: bytes) -> bytes | str:
    """Return a document without what XML forbids, in a coding that expat can tell.

    UTF-16 and UTF-32 come without the mark that says so, too: XMP begins with `<`. Control
    characters come from programs that translated a packet's mark as if it were text.
    """
    for coding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        if data.startswith(("<".encode(coding), "\ufeff<".encode(coding))):
            text = data.decode(coding, "replace").lstrip("\ufeff")
            return text.translate(dict.fromkeys(_FORBIDDEN)).strip()
    return data.removeprefix(codecs.BOM_UTF8).translate(None, _FORBIDDEN).strip()
