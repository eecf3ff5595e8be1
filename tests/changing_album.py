"""A folder of small real photos that changes as people change theirs, from a seed."""

from __future__ import annotations

import hashlib
import io
import itertools
import random
import shutil
from pathlib import Path

import PIL.Image
from example_photos import small_photos

SIDE = 96  # pixels: quick to decode


def source_pictures() -> list[bytes]:
    """Return small real photos: the examples."""
    return list(small_photos())


class ChangingAlbum:
    """Photos below a folder; no content comes back once it was replaced or deleted."""

    def __init__(self, folder: Path, sources: list[bytes], seed: int) -> None:
        self.folder = folder
        self.hashes: dict[Path, str] = {}  # what lies there now
        self.contents: set[str] = set()  # whatever lay there
        self._random = random.Random(seed)
        self._sources = sources
        self._numbers = itertools.count()
        folder.mkdir(parents=True)

    def add(self, count: int) -> None:
        for _ in range(count):
            number = next(self._numbers)
            folder = self.folder / f"{number % 7}" / f"{number % 3}"
            folder.mkdir(parents=True, exist_ok=True)
            self._write(folder / f"photo {number}.jpg")

    def edit(self, count: int) -> None:
        for path in self._some(count):
            self._write(path)

    def move(self, count: int) -> None:
        for path in self._some(count):
            target = path.with_name(f"moved {next(self._numbers)}.jpg")
            path.rename(target)
            self.hashes[target] = self.hashes.pop(path)

    def swap(self) -> None:
        one, other = self._some(2)
        aside = one.with_suffix(".swap")
        one.rename(aside)
        other.rename(one)
        aside.rename(other)
        self.hashes[one], self.hashes[other] = self.hashes[other], self.hashes[one]

    def copy(self, count: int) -> None:
        for path in self._some(count):
            target = path.with_name(f"copied {next(self._numbers)}.jpg")
            shutil.copyfile(path, target)
            self.hashes[target] = self.hashes[path]

    def delete(self, count: int) -> None:
        for path in self._some(count):
            path.unlink()
            del self.hashes[path]

    def change(self, size: int) -> None:
        """Do some of everything; the number of photos stays about the same."""
        self.move(size // 4)
        self.edit(size)
        self.copy(size // 8)
        self.swap()
        self.delete(size // 2 + size // 8)
        self.add(size // 2)

    def _some(self, count: int) -> list[Path]:
        return self._random.sample(sorted(self.hashes), count)

    def _write(self, path: Path) -> None:
        data = self._new_content()
        path.write_bytes(data)
        self.hashes[path] = hashlib.sha256(data).hexdigest()
        self.contents.add(self.hashes[path])

    def _new_content(self) -> bytes:
        """Return part of a photo as a small JPEG, half of them with what a camera writes."""
        with PIL.Image.open(io.BytesIO(self._random.choice(self._sources))) as picture:
            width, height = picture.size
            size = [round(side * self._random.uniform(0.5, 0.9)) for side in (width, height)]
            left, top = (
                self._random.randrange(n - s) for n, s in zip(picture.size, size, strict=True)
            )
            part = picture.convert("RGB").crop((left, top, left + size[0], top + size[1]))
        part.thumbnail((SIDE, SIDE))
        exif = PIL.Image.Exif()
        if self._random.random() < 0.5:
            number = self._random.randrange(10**6)
            exif[0x0110] = f"Camera {number % 9}"
            exif[0x0112] = 1 + number % 8
            exif[0x0132] = f"2019:0{1 + number % 9}:1{number % 10} 12:00:00"
        file = io.BytesIO()
        part.save(file, "JPEG", quality=80, exif=exif)
        return file.getvalue()
