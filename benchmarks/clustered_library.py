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

from clipsearch.index.changes import UseModel
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
    """Yield unit vectors (n, width) of photos of a library of so many, the same for each seed."""
    world = np.random.default_rng(1)
    shared = _unit(world.normal(size=(1, width)))
    topics = _unit(world.standard_normal((_TOPICS, width), dtype=np.float32))
    weights = 1 / (20 + np.arange(_TOPICS))
    events = max(1, library // 50)
    topic_of = world.choice(_TOPICS, size=events, p=weights / weights.sum())
    event_of = _Directions(width)
    spread = ((1 + np.arange(width)) ** -0.4).astype(np.float32)
    random = np.random.default_rng([seed, 2])
    while count:
        some = min(count, _AT_ONCE)
        event = random.integers(0, events, some)
        own = _unit(random.standard_normal((some, width), dtype=np.float32) * spread)
        yield _unit(
            _SHARED * shared
            + _TOPIC * topics[topic_of[event]]
            + _EVENT * event_of(event)
            + _OWN * own
        )
        count -= some


def make_library(folder: Path, photos: int, *, seed: int = 0) -> None:
    """Make a library of so many photos with one model, without index files."""
    with Store.open(folder, create=True) as store, store.writing():
        model_id = store.catalog.add_model(MODEL)
        store.apply([UseModel(model_id)])
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


def like_texts(photos: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Return for each photo a query (n, width) as a CLIP model's text for it would be.

    It lies apart from all photos, in one direction, and says something of the photo, and more of
    all sorts of others: so its cosine with the best photos is about 0.2.
    """
    random = np.random.default_rng([seed, 4])
    apart = photos - photos.mean(axis=0)
    others = random.standard_normal((len(photos), len(photos)), dtype=np.float32) @ apart
    about = _unit(0.6 * _unit(apart) + 0.8 * _unit(others))
    return _unit(0.4 * about + 0.92 * _unit(random.normal(size=(1, photos.shape[1]))))


def widened(photos: NDArray[np.float32], count: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield unit vectors (n, width) of as many photos as wanted, which lie as some real ones do.

    Each stands between a photo and one of its ten neighbours, and differs from them by as much as
    a third photo differs from the mean of all. Cosines keep their spread: of all pairs, of nearest
    neighbours, and between a text and its best photos.
    """
    random = np.random.default_rng([seed, 5])
    middle = photos.mean(axis=0)
    apart = photos - middle
    likeness = photos @ photos.T
    np.fill_diagonal(likeness, -1)
    near = np.argpartition(-likeness, 10, axis=1)[:, :10]
    while count:
        some = min(count, _AT_ONCE)
        one, third = random.integers(0, len(photos), (2, some))
        other = near[one, random.integers(0, 10, some)]
        share = random.beta(2, 1.5, (some, 1)).astype(np.float32)
        between = _unit(share * apart[one] + (1 - share) * apart[other])
        lengths = np.linalg.norm(apart[one], axis=1, keepdims=True)
        yield _unit(middle + 0.85 * lengths * between + 0.527 * apart[third])
        count -= some


class _Directions:
    """A direction for each number, always the same one: the sum of three out of a table."""

    def __init__(self, width: int) -> None:
        self._table = np.random.default_rng(3).standard_normal((3, 4096, width), dtype=np.float32)

    def __call__(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        mixed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        rows = [(mixed >> np.uint64(20 + 12 * i)) & np.uint64(4095) for i in range(3)]
        first, second, third = (part[row] for part, row in zip(self._table, rows, strict=True))
        return _unit(first + second + third)


def _unit(numbers: NDArray[np.floating]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(numbers, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (numbers / lengths).astype(np.float32)
    return unit
