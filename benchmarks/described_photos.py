"""Photos with captions become an album: with dates, cameras, places, titles, people and names.

What is made up is written into the files as EXIF and IPTC, as cameras and programs write it, and is
the same each time. A few photos have copies of less quality, and a few a burst.
"""

import io
import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from PIL import Image

CAMERAS = (("Google", "Pixel 7"), ("Canon", "Canon EOS 6D"), ("Apple", "iPhone 13"), None)
TOWNS = {
    "Prague": (50.0880, 14.4208),
    "Paris": (48.8534, 2.3488),
    "Lisbon": (38.7169, -9.1399),
    "Sydney": (-33.8678, 151.2073),
}
PEOPLE = ("Anna Novak", "Jörg Müller", "Wanjiru Kamau")
FOLDERS = ("holidays/summer 2021", "family", "work", "sport", "phone")


@dataclass(frozen=True)
class Described:
    """A photo of the album, and what was made up for it."""

    path: Path
    captions: tuple[str, ...]
    taken: datetime | None  # in its EXIF
    named: datetime | None  # in its name alone
    camera: str | None
    town: str | None
    person: str | None
    title: str | None
    copy_of: Path | None = None

    @property
    def moment(self) -> datetime | None:
        """When it was taken, as far as anything says."""
        return self.taken or self.named

    def shows(self, *words: str) -> bool:
        """Tell whether at least two captions name one of the words."""
        naming = [
            not {*words}.isdisjoint(caption.lower().replace(",", " ").split())
            for caption in self.captions
        ]
        return sum(naming) >= 2


def make(photos: Path, album: Path) -> list[Described]:
    """Write the album of a folder of NAME.jpg with NAME.json; return its photos."""
    chance = random.Random(16)
    made = [
        _photo(photo, album, number, chance)
        for number, photo in enumerate(sorted(photos.glob("*.jpg")))
    ]
    return [*made, *_copies(made[5::97], album)]


def _photo(photo: Path, album: Path, number: int, chance: random.Random) -> Described:
    captions = tuple(json.loads(photo.with_suffix(".json").read_text())["captions"])
    moment = datetime(2019, 1, 1, 8) + timedelta(hours=chance.randrange(24 * 365 * 6))
    dated = "no" if number % 11 == 0 else "name" if number % 7 == 0 else "exif"
    name = f"IMG_{number:04}.jpg"
    if dated == "name":
        name = f"IMG-{moment:%Y%m%d}-WA{number:04}.jpg"
    camera = CAMERAS[chance.randrange(len(CAMERAS))]
    town = [*TOWNS, None][chance.randrange(len(TOWNS) + 1)]
    described = Described(
        path=album / FOLDERS[chance.randrange(len(FOLDERS))] / name,
        captions=captions,
        taken=moment if dated == "exif" else None,
        named=moment.replace(hour=0) if dated == "name" else None,
        camera=" ".join(camera) if camera and camera[0] not in camera[1] else camera and camera[1],
        town=town,
        person=PEOPLE[number % 3] if number % 40 < 3 else None,
        title=f"Regatta {number}" if number % 50 == 9 else None,
    )
    described.path.parent.mkdir(parents=True, exist_ok=True)
    described.path.write_bytes(_with_facts(photo.read_bytes(), described, camera))
    return described


def _copies(photos: list[Described], album: Path) -> Iterator[Described]:
    """Yield copies of some photos as messengers make them: smaller, of less quality, no facts."""
    for photo in photos:
        path = album / "from friends" / f"{photo.path.stem} copy.jpg"
        path.parent.mkdir(exist_ok=True)
        with Image.open(photo.path) as image:
            image.resize((image.width * 3 // 4, image.height * 3 // 4)).save(path, quality=50)
        yield Described(path, photo.captions, None, None, None, None, None, None, photo.path)


def _with_facts(jpeg: bytes, photo: Described, camera: tuple[str, str] | None) -> bytes:
    """Return a JPEG with its segments of EXIF and IPTC behind the first marker."""
    segments = _segment(0xE1, _exif(photo, camera)) + _segment(0xED, _iptc(photo))
    return jpeg[:2] + segments + jpeg[2:]


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _exif(photo: Described, camera: tuple[str, str] | None) -> bytes:
    exif = Image.Exif()
    if camera:
        exif[0x010F], exif[0x0110] = camera
    if photo.taken:
        exif.get_ifd(0x8769)[0x9003] = f"{photo.taken:%Y:%m:%d %H:%M:%S}"
    if photo.town:
        latitude, longitude = TOWNS[photo.town]
        gps = exif.get_ifd(0x8825)
        gps[1], gps[2] = "N" if latitude > 0 else "S", _sexagesimal(abs(latitude))
        gps[3], gps[4] = "E" if longitude > 0 else "W", _sexagesimal(abs(longitude))
    return exif.tobytes()


def _sexagesimal(degrees: float) -> tuple[float, float, float]:
    return float(int(degrees)), float(int(degrees * 60 % 60)), round(degrees * 3600 % 60, 2)


def _iptc(photo: Described) -> bytes:
    """Return Photoshop's block with a title, keywords and a caption, in UTF-8."""
    records = io.BytesIO()
    records.write(b"\x1c\x01\x5a\x00\x03\x1b%G")
    said = [(5, photo.title), (25, photo.person), (25, "album")]
    for number, text in said:
        if text:
            data = text.encode()
            records.write(struct.pack(">BBBH", 0x1C, 2, number, len(data)) + data)
    data = records.getvalue()
    padded = data + b"\0" * (len(data) % 2)
    return b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(data)) + padded
