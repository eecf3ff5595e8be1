"""Libraries of any size without photos: vectors that lie together as those of real ones do.

Photos of a library share a direction; then they gather in topics, and within a topic in events, of
which each has some fifty photos. Two photos have a cosine of about 0.4, two of one topic 0.65, two
of one event 0.85. What is left differs more in some directions than in others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.records import ModelIdentity
from clipsearch.index.store import Store

WIDTH = 512
MODEL = ModelIdentity("none", "none", "00", '{"size": 224}', WIDTH)

_TOPICS = 2000
_AT_ONCE = 20_000
_SHARED, _TOPIC, _EVENT, _OWN = 0.62, 0.52, 0.44, 0.38  # squares add up to one, about


def vectors(
    count: int, seed: int, *, library: int, width: int = WIDTH
) -> Iterator[NDArray[np.float32]]:
    """Yield unit vectors [n, width] of photos of a library of so many, the same for each seed."""
    world = np.random.default_rng(1)
    shared = _unit(world.normal(size=(1, width)))
    topics = _unit(world.standard_normal((_TOPICS, width), dtype=np.float32))
    weights = 1 / (20 + np.arange(_TOPICS))
    events = max(1, library // 50)
    topic_of = world.choice(_TOPICS, size=events, p=weights / weights.sum())
    spread = ((1 + np.arange(width)) ** -0.4).astype(np.float32)
    random = np.random.default_rng([seed, 2])
    while count:
        some = min(count, _AT_ONCE)
        event = random.integers(0, events, some)
        own = _unit(random.standard_normal((some, width), dtype=np.float32) * spread)
        yield _unit(
            _SHARED * shared
            + _TOPIC * topics[topic_of[event]]
            + _EVENT * _directions(event, width)
            + _OWN * own
        )
        count -= some


def make_library(folder: Path, photos: int, *, seed: int = 0) -> None:
    """Make a library of so many photos with one model, without index files."""
    with Store.open(folder, create=True) as store, store.writing():
        model_id = store.catalog.add_model(MODEL)
        store.catalog.set_current_model(model_id)
    with closing(sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)) as db:
        number = 0
        for some in vectors(photos, seed, library=photos):
            db.execute("BEGIN")
            ids = range(number + 1, number + len(some) + 1)
            db.executemany(_PHOTO, ((id_, f"/photos/{id_ // 1000}/{id_}.jpg") for id_ in ids))
            blobs = (vector.tobytes() for vector in some.astype("<f2"))
            db.executemany(_EMBEDDING, zip(ids, blobs, strict=True))
            db.execute("COMMIT")
            number += len(some)


_PHOTO = (
    "INSERT INTO photos (id, path, content_hash, size, mtime_ns, width, height, format, "
    "orientation, indexed_at) VALUES (?1, ?2, printf('%064x', ?1), 1, 1, 4, 3, 'JPEG', 1, "
    "'2026-01-01T00:00:00+00:00')"
)
_EMBEDDING = "INSERT INTO embeddings (photo_id, model_id, vector) VALUES (?, 1, ?)"


def _directions(numbers: NDArray[np.int64], width: int) -> NDArray[np.float32]:
    """Return a direction for each number, always the same one, without keeping any."""
    kinds, which = np.unique(numbers, return_inverse=True)
    made = [np.random.default_rng([n, 3]).standard_normal(width, dtype=np.float32) for n in kinds]
    return _unit(np.array(made))[which]


def _unit(numbers: NDArray[np.floating]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(numbers, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (numbers / lengths).astype(np.float32)
    return unit
