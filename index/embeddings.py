"""Embeddings in and out of the catalog: float16, little endian, one row a photo and model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import LibraryDamaged, LibraryError
from clipsearch.index.database import Database

_ROWS_AT_ONCE = 10_000


def to_blob(embedding: NDArray[np.float32]) -> bytes:
    """Return the bytes under which an embedding is stored."""
    return embedding.astype("<f2").tobytes()


def embeddings_after(
    db: Database, model_id: int, width: int, last_id: int
) -> Iterator[tuple[NDArray[np.float16], NDArray[np.int64]]]:
    """Yield the embeddings with ids above `last_id`: vectors [n, width], ids [n, 2].

    The ids are those of embedding and photo, in order of the former.
    """
    sql = "SELECT vector, id, photo_id FROM embeddings WHERE model_id = ? AND id > ? ORDER BY id"
    for rows in db.batches(sql, (model_id, last_id), _ROWS_AT_ONCE):
        vectors = _from_blobs([row[0] for row in rows], width, db)
        yield vectors, np.array([row[1:] for row in rows], dtype=np.int64)


def embeddings_of(
    db: Database, model_id: int, width: int, photo_ids: Sequence[int]
) -> NDArray[np.float16]:
    """Return the embeddings [n, width] of photos, in their order; LibraryError if one has none."""
    sql = (
        "SELECT photo_id, vector FROM embeddings "
        "WHERE model_id = ? AND photo_id IN (SELECT value FROM json_each(?))"
    )
    blobs = dict(db.rows(sql, (model_id, json.dumps([int(id_) for id_ in photo_ids]))))
    try:
        return _from_blobs([blobs[int(id_)] for id_ in photo_ids], width, db)
    except KeyError as error:
        raise LibraryError(f"photo {error} has no embedding of this model") from error


def removed_after(db: Database, model_id: int, last_id: int) -> tuple[NDArray[np.int64], int]:
    """Return the embeddings removed since entry `last_id`, and the id of the last entry."""
    sql = "SELECT embedding_id, id FROM removed_embeddings WHERE model_id = ? AND id > ?"
    rows = db.rows(sql + " ORDER BY id", (model_id, last_id))
    return np.array([row[0] for row in rows], dtype=np.int64), rows[-1][1] if rows else last_id


def _from_blobs(blobs: Sequence[bytes], width: int, db: Database) -> NDArray[np.float16]:
    if any(len(blob) != 2 * width for blob in blobs):
        raise LibraryDamaged(f"{db.path.parent}: an embedding in the catalog has the wrong length")
    return np.frombuffer(b"".join(blobs), dtype="<f2").reshape(len(blobs), width)
