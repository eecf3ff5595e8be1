"""What is fuzzed: the good files to start from, how one is damaged, and what reads it.

An input is a few files by name. Reading one either works or raises a ClipsearchError of one line;
anything else is a finding.
"""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import struct
import sys
import tarfile
import warnings
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Protocol

from benchmarks.fuzz_mutations import (
    damage_bytes,
    damage_json,
    damage_picture,
    jpeg_segments,
    random_exif,
)
from clipsearch.errors import ClipsearchError

Input = dict[str, bytes]
REPOSITORY = Path(__file__).resolve().parents[1]
LARGEST_SEED = 200_000  # bytes; larger pictures are slow and no odder
MAX_MEGAPIXELS = 40.0
TEXTS = ["a dog on a beach", "<end_of_text> 𝒳 &amp; it's 12 日本語", ""]


class BrokenPromise(Exception):
    """Something was read without an error, but is not what was promised."""


class Target(Protocol):
    def __init__(self, seeds: Path, place: Path) -> None:
        """Read the seeds; use `place`, an empty folder, for files."""

    def make(self, dice: Random) -> Input:
        """Return an input."""

    def read(self, files: Input) -> None:
        """Read it as the program would."""


# Seeds


def prepare_seeds(seeds: Path, targets: Iterable[str], corpus: Path | None) -> None:
    """Make the good files that the targets start from."""
    targets = set(targets)
    if targets & {"image", "exif"}:
        _collect_pictures(seeds / "pictures", corpus)
    if "raw" in targets:
        _make_raws(seeds / "raws", corpus)
    if targets & {"config", "weights", "text-tower"}:
        _make_model(seeds, export="text-tower" in targets)
    if targets & {"index", "catalog"}:
        _make_library(seeds / "library")


def _collect_pictures(folder: Path, corpus: Path | None) -> None:
    folder.mkdir(parents=True)
    sources = [REPOSITORY / "examples" / "photos", *([corpus] if corpus else [])]
    contents = sorted({data for source in sources for data in _files_in(source)})
    for number, data in enumerate(contents):
        (folder / f"{number:05}").write_bytes(data)


def _files_in(source: Path) -> Iterator[bytes]:
    """Yield the small files of a folder, also those in tar archives."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        if ".tar" in path.suffixes:
            with tarfile.open(path) as tar:
                for member in tar:
                    stream = tar.extractfile(member) if member.size <= LARGEST_SEED else None
                    if stream is not None:
                        yield stream.read()
        elif path.stat().st_size <= LARGEST_SEED and path.suffix not in (".md", ".txt"):
            yield path.read_bytes()


def _make_raws(folder: Path, corpus: Path | None) -> None:
    """Make small raw camera files, packed and not, with and without a preview."""
    import numpy as np

    from benchmarks.raw_speed import lossless_jpeg, scene
    from clipsearch.photos.raw_files import raw_kind

    sys.path.insert(0, str(REPOSITORY / "tests"))
    from made_raws import dng, preview_of

    photo = next(_files_in(REPOSITORY / "examples" / "photos"))
    seen = np.ascontiguousarray(scene(photo, (160, 120)))
    contents = [
        dng(seen, orientation=orientation, preview=preview, packed=packed, order=order)
        for orientation, order in ((1, "<"), (6, ">"))
        for preview in (None, preview_of(seen, orientation), preview_of(seen, exif=1))
        for packed in (None, lossless_jpeg)
    ]
    contents += [data for data in _files_in(corpus) if raw_kind(data)] if corpus else []
    folder.mkdir(parents=True)
    for number, data in enumerate(contents):
        (folder / f"{number:05}").write_bytes(data)


def _make_model(seeds: Path, *, export: bool) -> None:
    """Make a tiny model of random weights, one with a tokenizer.json, and their text towers."""
    from clipsearch.models.encoder import load_encoder
    from clipsearch.models.names import resolve_model
    from tests.tiny_models import SIGLIP, save_tiny_model, save_tiny_tokenizer

    texts = ["a dog runs on a beach", "people ride bicycles in the city"] * 9
    save_tiny_model(seeds / "models" / "clip")
    save_tiny_tokenizer(save_tiny_model(seeds / "models" / "siglip", SIGLIP), texts)
    for name in ("clip", "siglip") if export else ():
        encoder = load_encoder(resolve_model(str(seeds / "models" / name)), device="cpu")
        encoder.export_text_encoder(seeds / "towers" / name)


def _make_library(folder: Path) -> None:
    """Make a library of a few photos without any model: the index knows only numbers."""
    import numpy as np

    from clipsearch.index.changes import Embedded, Failed, KeepFolder, UseModel
    from clipsearch.index.records import FileState, ModelIdentity, PhotoMetadata
    from clipsearch.index.store import Store

    vectors = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    preprocessing = json.dumps({"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3})
    with Store.open(folder, create=True) as store, store.writing():
        model = store.catalog.add_model(ModelIdentity("tiny", "{}", "0" * 64, preprocessing, 8))
        store.apply([KeepFolder(Path("/photos"), "folder")])
        files = [FileState(Path(f"/photos/{n:03}.jpg"), 1000 + n, n) for n in range(len(vectors))]
        store.apply(
            [
                *(
                    Embedded(file, f"{n:064x}", PhotoMetadata(800, 600, "JPEG"), vectors[n])
                    for n, file in enumerate(files)
                ),
                Failed(FileState(Path("/photos/broken.jpg"), 3, 3), "the file is empty"),
            ],
            model,
        )
        store.apply([UseModel(model)])
        store.refresh_vectors(model)


# Pictures


class Image:
    """Damaged pictures of every format."""

    folder = "pictures"  # below the seeds

    def __init__(self, seeds: Path, place: Path) -> None:
        self._pictures = [path.read_bytes() for path in sorted((seeds / self.folder).iterdir())]
        warnings.simplefilter("ignore")  # Pillow warns of much that is damaged

    def make(self, dice: Random) -> Input:
        one, other = dice.choice(self._pictures), dice.choice(self._pictures)
        return {"picture": damage_picture(one, other, dice)}

    def read(self, files: Input) -> None:
        from clipsearch.photos.opening import open_image

        opened = open_image(files["picture"], shrink_to=224, max_megapixels=MAX_MEGAPIXELS)
        if opened.image.mode != "RGB" or min(opened.image.size) < 1:
            raise BrokenPromise(f"not RGB with pixels: {opened.image}")
        _check_metadata(opened.metadata)


class Raw(Image):
    """Damaged raw camera files."""

    folder = "raws"


class Exif:
    """Good pictures with EXIF that is odd or damaged; they must open all the same."""

    def __init__(self, seeds: Path, place: Path) -> None:
        import PIL.Image

        self._bases = {}
        for kind in ("JPEG", "PNG", "WEBP"):
            buffer = io.BytesIO()
            PIL.Image.new("RGB", (8, 6), "red").save(buffer, kind)
            self._bases[kind] = buffer.getvalue()
        warnings.simplefilter("ignore")

    def make(self, dice: Random) -> Input:
        exif = random_exif(dice)
        kind = dice.choice(sorted(self._bases))
        return {"picture": _with_exif(kind, self._bases[kind], exif)}

    def read(self, files: Input) -> None:
        from clipsearch.photos.opening import open_image

        try:
            opened = open_image(files["picture"], shrink_to=224)
        except ClipsearchError as error:
            raise BrokenPromise(f"odd EXIF cost a good picture: {error}") from error
        if sorted(opened.image.size) != [6, 8]:
            raise BrokenPromise(f"another size: {opened.image.size}")
        _check_metadata(opened.metadata)


def _with_exif(kind: str, base: bytes, exif: bytes) -> bytes:
    if kind == "JPEG":
        segments, rest = jpeg_segments(base)
        body = (b"Exif\0\0" + exif)[:65533]
        segments.insert(0, b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body)
        return base[:2] + b"".join(segments) + rest
    if kind == "PNG":
        chunk = b"eXIf" + exif
        whole = struct.pack(">I", len(exif)) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return base[:33] + whole + base[33:]
    picture = base[12:]
    extended = b"VP8X" + struct.pack("<I", 10) + bytes([8, 0, 0, 0, 7, 0, 0, 5, 0, 0])
    padded = exif + b"\0" * (len(exif) % 2)
    content = b"WEBP" + extended + picture + b"EXIF" + struct.pack("<I", len(exif)) + padded
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _check_metadata(metadata: object) -> None:
    """Raise BrokenPromise unless the catalog can hold what the picture says about itself."""
    columns = ", ".join("?" * len(vars(metadata)))
    try:
        with sqlite3.connect(":memory:") as connection:
            connection.execute(f"SELECT {columns}", tuple(vars(metadata).values()))
    except (sqlite3.Error, UnicodeError, OverflowError) as error:
        raise BrokenPromise(f"can't be stored: {metadata}") from error


# Models


class _Folder:
    """A folder of good files in which some are replaced for each input."""

    def __init__(self, source: Path, place: Path) -> None:
        self.path = place / source.name
        shutil.copytree(source, self.path)
        self.files = {path.name: path.read_bytes() for path in source.iterdir()}

    def put(self, files: Input) -> None:
        for name, data in files.items():
            (self.path / name).write_bytes(data)

    def restore(self, files: Input) -> None:
        for name in files:
            (self.path / name).write_bytes(self.files[name])


class _Folders:
    """Inputs that name the folder they belong to: `folder/file`."""

    sources = ""  # below the seeds

    def __init__(self, seeds: Path, place: Path) -> None:
        self.folders = {
            source.name: _Folder(source, place)
            for source in sorted((seeds / self.sources).iterdir())
        }

    def damaged(self, dice: Random) -> tuple[str, str, bytes]:
        """Return a folder, and the name and content of the file to damage."""
        folder = dice.choice(sorted(self.folders))
        name = dice.choice(self.names(self.folders[folder]))
        return folder, name, self.folders[folder].files[name]

    def names(self, folder: _Folder) -> list[str]:
        return sorted(folder.files)

    def make(self, dice: Random) -> Input:
        folder, name, data = self.damaged(dice)
        return {f"{folder}/{name}": self.damage(name, data, dice)}

    def damage(self, name: str, data: bytes, dice: Random) -> bytes:
        if name.endswith(".json") and dice.random() < 0.9:
            return damage_json(data, dice)
        return damage_bytes(data, dice)

    def read(self, files: Input) -> None:
        name = next(iter(files)).partition("/")[0]
        inside = {key.partition("/")[2]: data for key, data in files.items()}
        folder = self.folders[name]
        folder.put(inside)
        try:
            self.read_folder(folder.path)
        finally:
            folder.restore(inside)

    def read_folder(self, path: Path) -> None:
        raise NotImplementedError


class Config(_Folders):
    """Model folders whose configuration is changed."""

    sources = "models"

    def names(self, folder: _Folder) -> list[str]:
        others = [name for name in folder.files if name.endswith(".json")]
        return ["open_clip_config.json"] * 4 + sorted(others)

    def read_folder(self, path: Path) -> None:
        from PIL import Image as Pillow

        from clipsearch.models.encoder import load_encoder
        from clipsearch.models.names import resolve_model

        encoder = load_encoder(resolve_model(str(path)), device="cpu")
        encoder.encode_text(TEXTS)
        encoder.encode_images([Pillow.new("RGB", (40, 30), "red")])


class Weights(Config):
    """Model folders whose weights are damaged."""

    def names(self, folder: _Folder) -> list[str]:
        return ["open_clip_model.safetensors"]

    def damage(self, name: str, data: bytes, dice: Random) -> bytes:
        header_size = int.from_bytes(data[:8], "little")
        if dice.random() < 0.7:
            header = damage_json(data[8 : 8 + header_size], dice)
            return len(header).to_bytes(8, "little") + header + data[8 + header_size :]
        return damage_bytes(data, dice)


class TextTower(_Folders):
    """Exported text towers with any of their files damaged."""

    sources = "towers"

    def names(self, folder: _Folder) -> list[str]:
        return sorted(folder.files) + ["text.onnx"] * 4 + ["text_encoder.json"] * 2

    def read_folder(self, path: Path) -> None:
        import numpy as np

        from clipsearch.models.text.encoder import TextEncoder

        vectors = TextEncoder.open(path).encode_text(TEXTS)
        if vectors.ndim != 2 or len(vectors) != len(TEXTS) or not np.isfinite(vectors).all():
            raise BrokenPromise(f"no vectors: {vectors.shape}")


# The library


class Index:
    """Vector files of the recorded length and checksum whose content is damaged."""

    def __init__(self, seeds: Path, place: Path) -> None:
        self._good = next((seeds / "library" / "vectors").iterdir()).read_bytes()
        self._path = place / "vectors.faiss"

    def make(self, dice: Random) -> Input:
        head = 200 if dice.random() < 0.7 else len(self._good)  # the header is what FAISS believes
        data = damage_bytes(self._good[:head], dice) + self._good[head:]
        return {"vectors.faiss": data}

    def read(self, files: Input) -> None:
        import numpy as np

        from clipsearch.index.vectors.vector_files import FileStamp, UnusableFile, checksum
        from clipsearch.index.vectors.vector_index import VectorIndex

        data = files["vectors.faiss"]
        self._path.write_bytes(data)
        stamp = FileStamp(40, 8, 40, len(data), checksum(self._path))
        try:
            index = VectorIndex.open(self._path, stamp, verify=True)
            scores, photos = index.search(np.eye(8, dtype=np.float32), 5)
        except UnusableFile as error:
            raise ClipsearchError(str(error)) from error
        if scores.shape != (8, 5) or photos.shape != (8, 5):
            raise BrokenPromise(f"no hits: {scores.shape}")


class CatalogFile:
    """Catalogs with damaged bytes, opened, read, searched and written to."""

    def __init__(self, seeds: Path, place: Path) -> None:
        self._good = (seeds / "library" / "catalog.sqlite").read_bytes()
        self._library = place / "library"
        shutil.copytree(seeds / "library", self._library)

    def make(self, dice: Random) -> Input:
        data = self._good
        for _ in range(dice.choice((1, 2, 5))):
            at = 100 if dice.random() < 0.8 else 0  # what is no SQLite file is refused at once
            data = data[:at] + damage_bytes(data[at:], dice)
        return {"catalog.sqlite": data}

    def read(self, files: Input) -> None:
        import numpy as np

        from clipsearch.index.changes import Scanned
        from clipsearch.index.store import Store

        for leftover in self._library.glob("catalog.sqlite*"):
            leftover.unlink()
        (self._library / "catalog.sqlite").write_bytes(files["catalog.sqlite"])
        with Store.open(self._library, read_only=True) as store:
            store.places(), store.failures()
            model = next((row for row in store.models() if row.is_current), None)
            store.catalog.known_files(model.id if model else None)
            if model is not None:
                queries = np.eye(model.identity.width, dtype=np.float32)[:1]
                _, ids = store.search(model.id, queries, 5)
                store.catalog.photos([int(id_) for id_ in ids[0] if id_ >= 0])
                store.index_info(model.id)
        with Store.open(self._library) as store, store.writing():
            for model in store.models():
                if model.is_current:
                    store.refresh_vectors(model.id)
            store.apply([Scanned(Path("/photos"))])


TARGETS: dict[str, type[Target]] = {
    "image": Image,
    "raw": Raw,
    "exif": Exif,
    "config": Config,
    "weights": Weights,
    "text-tower": TextTower,
    "index": Index,
    "catalog": CatalogFile,
}
# The share of each in a run over all targets: pictures come from strangers, libraries seldom do.
SHARES = {
    "image": 50,
    "raw": 10,
    "exif": 14,
    "config": 3,
    "weights": 3,
    "text-tower": 4,
    "index": 10,
    "catalog": 6,
}
