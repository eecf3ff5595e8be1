"""A library of made-up photos for servers: what they say is as varied as what people's photos say.

Their vectors lie as those of the example photos do (see `widened`), so that words find what they
find among real photos. The files themselves are nowhere, but for the folder that they are said to
lie in.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.clustered_library import widened
from clipsearch import Library
from clipsearch.index.changes import Embedded, KeepFolder, UseModel
from clipsearch.index.records import FACTS, FileState, PhotoMetadata
from clipsearch.models.names import resolve_model

EXAMPLES = Path(__file__).parents[1] / "examples" / "photos"
CAMERAS = ("Pixel 7", "Pixel 4a", "iPhone 12", "iPhone 15 Pro", "NIKON D750", "Canon EOS R6", None)
LENSES = ("50mm f/1.8", "24-70mm f/2.8", "Pixel 7 back camera 6.81mm f/1.85", None, None)
TOWNS = ("Zürich", "Rome", "Lisbon", "Oslo", "Kyoto", "Lima", "Cork", "Bergen", "Graz", "Ghent")
SUBJECTS = ("holidays", "garden", "birthday", "hike", "wedding", "lake", "museum", "cats", "work")
SIZES = ((4032, 3024), (3024, 4032), (6000, 4000), (4000, 6000), (3000, 3000), (1920, 1080))
FORMATS = ("JPEG",) * 8 + ("HEIF", "PNG")
_FIRST_DAY = datetime(2008, 1, 1)
_DAYS = 17 * 365
_PER_EVENT = 60  # photos of one folder
_AT_ONCE = 5_000


def make_served_library(folder: Path, photos: int) -> Path:
    """Make a library of so many photos with the built-in model; return its folder."""
    root = folder.parent / "photos"
    root.mkdir(parents=True, exist_ok=True)
    (root / "readme.txt").write_text("not away")
    with Library(folder, device="cpu") as library:
        encoder = library._models.load(resolve_model("builtin"))
        library._for_writing(create=True)
        store = library._store
        with store.writing():
            library._models.keep_text_encoder(encoder)
            model_id = store.add_model(encoder.identity)
            store.apply([KeepFolder(root, "folder"), UseModel(model_id)])
            for some in _photos(root, photos, example_vectors()):
                store.apply(some, model_id)
            store.refresh_vectors(model_id)
            (row,) = store.models(count_to=0)
            library._models.keep_competing_words(row)
    return folder


def example_vectors() -> NDArray[np.float32]:
    """Return the embeddings (n, width) of the example photos by the built-in model."""
    import tempfile

    with tempfile.TemporaryDirectory() as place, Library(Path(place) / "library") as library:
        library.index(EXAMPLES, model="builtin", progress=False)
        return library.vectors([hit.id for hit in library.list(k=1000)])


def _photos(root: Path, count: int, like: NDArray[np.float32]) -> Iterator[list[Embedded]]:
    random = np.random.default_rng(3)
    number = 0
    for vectors in widened(like, count, seed=0):
        for start in range(0, len(vectors), _AT_ONCE):
            some = []
            for vector in vectors[start : start + _AT_ONCE]:
                some.append(_photo(root, number, count, vector, random))
                number += 1
            yield some


def _photo(
    root: Path, number: int, count: int, vector: NDArray[np.float32], random: np.random.Generator
) -> Embedded:
    event = number // _PER_EVENT
    events = count // _PER_EVENT + 1
    day = _FIRST_DAY + timedelta(days=event * _DAYS // events)
    town = TOWNS[event * 7 % len(TOWNS)]
    taken = day + timedelta(hours=9, minutes=number % _PER_EVENT * 9)
    camera = int(random.integers(len(CAMERAS)))
    width, height = SIZES[int(random.integers(len(SIZES)))]
    known = random.random(3) < (0.95, 0.7, 0.9)
    metadata = PhotoMetadata(
        width,
        height,
        FORMATS[int(random.integers(len(FORMATS)))],
        taken_at=taken.isoformat() if known[0] else None,
        camera=CAMERAS[camera],
        lens=LENSES[int(random.integers(len(LENSES)))] if CAMERAS[camera] else None,
        latitude=float(np.round(random.uniform(-60, 70), 5)) if known[1] else None,
        longitude=float(np.round(random.uniform(-180, 180), 5)) if known[1] else None,
        place=f"{town}, district {event % 40}" if known[1] else None,
        facts=FACTS,
    )
    name = f"{day:%Y}/{day:%m-%d} {SUBJECTS[event % len(SUBJECTS)]} {town}/IMG_{number:06}.jpg"
    return Embedded(FileState(root / name, 1000, number), f"{number:064x}", metadata, vector)
