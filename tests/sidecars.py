"""XMP in the dialects of the programs that write it, each saying what `SAID` lists."""

from __future__ import annotations

from clipsearch.index.records import Word

SPACES = """xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:lr="http://ns.adobe.com/lightroom/1.0/" xmlns:digiKam="http://www.digikam.org/ns/1.0/"
 xmlns:mediapro="http://ns.iview-multimedia.com/mediapro/1.0/"
 xmlns:MicrosoftPhoto="http://ns.microsoft.com/photo/1.0/"
 xmlns:ext="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:mwg="http://www.metadataworkinggroup.com/schemas/regions/"
 xmlns:kw="http://www.metadataworkinggroup.com/schemas/keywords/"
 xmlns:MP="http://ns.microsoft.com/photo/1.2/"
 xmlns:MPRI="http://ns.microsoft.com/photo/1.2/t/RegionInfo#"
 xmlns:MPReg="http://ns.microsoft.com/photo/1.2/t/Region#"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
 xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/\""""


def xmp(inside: str, attributes: str = "", more: str = "") -> str:
    """Return a packet with these properties of the photo, and more nodes beside them."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        f'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" {SPACES}>'
        f'<rdf:Description rdf:about="" {attributes}>{inside}</rdf:Description>{more}'
        "</rdf:RDF></x:xmpmeta>"
    )


def items(*texts: str, kind: str = "Bag") -> str:
    """Return a list."""
    return f"<rdf:{kind}>{''.join(f'<rdf:li>{text}</rdf:li>' for text in texts)}</rdf:{kind}>"


def alternatives(**texts: str) -> str:
    """Return a text in several languages; `x_default` stands for all."""
    found = (
        f'<rdf:li xml:lang="{name.replace("_", "-")}">{text}</rdf:li>'
        for name, text in texts.items()
    )
    return f"<rdf:Alt>{''.join(found)}</rdf:Alt>"


SAID = {
    "elements": (
        xmp("<dc:title>Harbour</dc:title><dc:description>Boats &amp; nets</dc:description>"),
        [("title", "Harbour"), ("description", "Boats & nets")],
    ),
    "attributes": (
        xmp("", 'dc:title="Harbour" dc:description="Boats" photoshop:Headline="Old port"'),
        [("title", "Harbour"), ("description", "Boats"), ("title", "Old port")],
    ),
    "languages": (
        xmp(f"<dc:title>{alternatives(de='Hafen', x_default='Harbour')}</dc:title>"),
        [("title", "Harbour"), ("title", "Hafen")],
    ),
    "keywords, a number among them": (
        xmp(f"<dc:subject>{items('2026', 'Sea', 'sea', 'Sea')}</dc:subject>"),
        [("keyword", "2026"), ("keyword", "Sea"), ("keyword", "sea")],
    ),
    "Lightroom's tree": (
        xmp(f"<lr:hierarchicalSubject>{items('People|Family|Anna')}</lr:hierarchicalSubject>"),
        [("keyword", "People|Family|Anna")],
    ),
    "digiKam's, Windows's and MediaPro's trees, which say the same": (
        xmp(
            f"<digiKam:TagsList>{items('People/Anna', kind='Seq')}</digiKam:TagsList>"
            f"<MicrosoftPhoto:LastKeywordXMP>{items('People/Anna')}</MicrosoftPhoto:LastKeywordXMP>"
            f"<mediapro:CatalogSets>{items('People|Anna')}</mediapro:CatalogSets>"
            f"<dc:subject>{items('and/or')}</dc:subject>"
        ),
        [("keyword", "People|Anna"), ("keyword", "and/or")],
    ),
    "a tree of the Metadata Working Group": (
        xmp(
            '<kw:Keywords rdf:parseType="Resource"><kw:Hierarchy><rdf:Bag>'
            '<rdf:li rdf:parseType="Resource"><kw:Keyword>Animals</kw:Keyword><kw:Children>'
            '<rdf:Bag><rdf:li kw:Keyword="Cat"/></rdf:Bag></kw:Children></rdf:li>'
            "</rdf:Bag></kw:Hierarchy></kw:Keywords>"
        ),
        [("keyword", "Animals"), ("keyword", "Cat")],
    ),
    "faces of the Metadata Working Group": (
        xmp(
            '<mwg:Regions rdf:parseType="Resource"><mwg:RegionList><rdf:Bag>'
            '<rdf:li rdf:parseType="Resource"><mwg:Name>Anna</mwg:Name><mwg:Type>Face</mwg:Type>'
            '</rdf:li><rdf:li><rdf:Description mwg:Name="Rex" mwg:Type="Pet"/></rdf:li>'
            '<rdf:li mwg:Name="Ben"/><rdf:li mwg:Name="4006381333931" mwg:Type="BarCode"/>'
            '<rdf:li rdf:parseType="Resource"><mwg:Type>Focus</mwg:Type><mwg:Name>sharp</mwg:Name>'
            "</rdf:li></rdf:Bag></mwg:RegionList></mwg:Regions>"
        ),
        [("person", "Anna"), ("person", "Rex"), ("person", "Ben")],
    ),
    "faces of Windows": (
        xmp(
            '<MP:RegionInfo rdf:parseType="Resource"><MPRI:Regions><rdf:Bag>'
            '<rdf:li MPReg:PersonDisplayName="Anna"/><rdf:li rdf:parseType="Resource">'
            "<MPReg:PersonDisplayName>Ben</MPReg:PersonDisplayName></rdf:li></rdf:Bag>"
            "</MPRI:Regions></MP:RegionInfo>"
        ),
        [("person", "Anna"), ("person", "Ben")],
    ),
    "people of IPTC": (
        xmp(
            f"<ext:PersonInImage>{items('Anna')}</ext:PersonInImage><ext:PersonInImageWDetails>"
            '<rdf:Bag><rdf:li rdf:parseType="Resource"><ext:PersonName>'
            f"{alternatives(x_default='Ben')}</ext:PersonName></rdf:li></rdf:Bag>"
            "</ext:PersonInImageWDetails>"
        ),
        [("person", "Anna"), ("person", "Ben")],
    ),
    "references": (
        xmp(
            '<dc:subject rdf:nodeID="a"/>',
            more='<rdf:Bag rdf:nodeID="a"><rdf:li>Sea</rdf:li></rdf:Bag>',
        ),
        [("keyword", "Sea")],
    ),
    "remarks about a text": (
        xmp(
            '<dc:title rdf:parseType="Resource"><rdf:value>Harbour</rdf:value>'
            "<photoshop:Source>me</photoshop:Source></dc:title>"
            '<dc:subject><rdf:Bag><rdf:li><rdf:Description rdf:value="Sea" photoshop:Source="me"/>'
            "</rdf:li></rdf:Bag></dc:subject>"
        ),
        [("title", "Harbour"), ("keyword", "Sea")],
    ),
    "what is said of another picture": (
        xmp(
            "<xmpMM:Pantry><rdf:Bag><rdf:li><rdf:Description><dc:title>Other</dc:title>"
            "</rdf:Description></rdf:li></rdf:Bag></xmpMM:Pantry><dc:title>Mine</dc:title>"
        ),
        [("title", "Mine")],
    ),
    "markup in a text": (
        xmp("<dc:title><![CDATA[<b>5 > 3</b>]]> &#228;</dc:title>"),
        [("title", "<b>5 > 3</b> ä")],
    ),
    "nothing": (xmp(""), []),
}


def said(name: str) -> tuple[Word, ...]:
    """Return what a dialect says, as words."""
    return tuple(Word(*word) for word in SAID[name][1])  # type: ignore[arg-type]
