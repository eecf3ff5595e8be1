"""Embeddings in and out of the catalog: float16, little endian, one row a photo and model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import LibraryDamaged, LibraryError
from clipsearch.index.database import HOW_TO_MEND, Database

_ROWS_AT_ONCE = 10_000
_LAST_ID = 2**63 - 1
_NOT_FINITE = np.uint16(0x7C00)  # the exponent's bits, all set in infinities and NaN


def to_blob(embedding: NDArray[np.float32]) -> bytes:
    """Return the bytes under which an embedding is stored."""
    return embedding.astype("<f2").tobytes()


def embeddings_between(
    db: Database, model_id: int, width: int, after: int, up_to: int | None = None
) -> Iterator[tuple[NDArray[np.float16], NDArray[np.int64]]]:
    """Yield the embeddings with ids above `after`, up to `up_to`: vectors (n, width), ids (n, 2).

    The ids are those of embedding and photo, in order of the former.
    """
    sql = (
        "SELECT vector, id, CAST(photo_id AS INTEGER) FROM embeddings "
        "WHERE model_id = ? AND id > ? AND id <= ? ORDER BY id"
    )
    last = _LAST_ID if up_to is None else up_to
    for rows in db.batches(sql, (model_id, after, last), _ROWS_AT_ONCE):
        vectors = _from_blobs([row[0] for row in rows], width, db)
        yield vectors, np.array([row[1:] for row in rows], dtype=np.int64)


def embeddings_of(
    db: Database, model_id: int, width: int, photo_ids: Sequence[int]
) -> NDArray[np.float16]:
    """Return the embeddings (n, width) of photos, in their order; LibraryError if one has none."""
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
    sql = (
        "SELECT CAST(embedding_id AS INTEGER), id FROM removed_embeddings "
        "WHERE model_id = ? AND id > ? ORDER BY id"
    )
    rows = db.rows(sql, (model_id, last_id))
    return np.array([row[0] for row in rows], dtype=np.int64), rows[-1][1] if rows else last_id


def all_embedded(db: Database, model_id: int, photo_ids: NDArray[np.int64]) -> bool:
    """Tell whether these are photos in the catalog with an embedding of the model; -1 is passed."""
    sql = (
        "SELECT count(*) FROM json_each(?) AS hit WHERE NOT EXISTS (SELECT 1 FROM embeddings "
        "JOIN photos ON photos.id = photo_id WHERE photo_id = hit.value AND model_id = ?)"
    )
    asked = set(photo_ids[photo_ids != -1].tolist())  # np.unique would load masked arrays
    return not db.value(sql, (json.dumps(list(asked)), model_id))


def _from_blobs(blobs: Sequence[bytes], width: int, db: Database) -> NDArray[np.float16]:
    if any(not isinstance(blob, bytes) or len(blob) != 2 * width for blob in blobs):
        raise _damaged(db, "has the wrong length")
    vectors = np.frombuffer(b"".join(blobs), dtype="<f2").reshape(len(blobs), width)
    if (vectors.view("<u2") & _NOT_FINITE == _NOT_FINITE).any():
        raise _damaged(db, "is not of finite numbers")
    return vectors


def _damaged(db: Database, what: str) -> LibraryDamaged:
    return LibraryDamaged(f"{db.path.parent}: an embedding in the catalog {what}; {HOW_TO_MEND}")
