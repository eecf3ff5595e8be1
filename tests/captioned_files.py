"""Photos with captions in the forms in which training takes them, written by hand for tests."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from pathlib import Path

from PIL import Image

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:regions="http://www.metadataworkinggroup.com/schemas/regions/">{}</rdf:Description>
</rdf:RDF></x:xmpmeta>"""


def jpeg(color: str = "red", **options: object) -> bytes:
    """Return a small JPEG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(file, "JPEG", **options)
    return file.getvalue()


def write_shard(path: Path, members: dict[str, bytes]) -> Path:
    """Write a tar of these members, in this order."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            tar.addfile(facts, io.BytesIO(content))
    return path


def facts(*captions: str, **more: str) -> bytes:
    """Return the json member of a sample."""
    return json.dumps({"captions": captions, **more}).encode()


def xmp(*, caption: str = "", keywords: tuple[str, ...] = (), faces: tuple[str, ...] = ()) -> bytes:
    """Return an XMP packet as photo managers write it."""
    parts = []
    if caption:
        text = f'<rdf:li xml:lang="x-default">{caption}</rdf:li>'
        parts.append(f"<dc:description><rdf:Alt>{text}</rdf:Alt></dc:description>")
    if keywords:
        items = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords)
        parts.append(f"<dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>")
    parts += [f'<regions:RegionList regions:Name="{name}"/>' for name in faces]
    return XMP.format("".join(parts)).encode()


def with_iptc(photo: bytes, *records: tuple[int, bytes]) -> bytes:
    """Return a JPEG with IPTC records (dataset, value) in a segment after its first marker."""
    data = b"".join(struct.pack(">BBBH", 0x1C, 2, kind, len(v)) + v for kind, v in records)
    data += b"\0" * (len(data) % 2)
    block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(data)) + data
    segment = b"Photoshop 3.0\0" + block
    return photo[:2] + b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment + photo[2:]
