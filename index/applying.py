"""Writing a batch of changes to the catalog.

Every change of a batch speaks of the catalog as it was before the batch: files that were swapped,
or renamed in a chain, come out right in whatever order they are listed. A change to a photo that
is no longer in the catalog is passed over; the next run finds its file as a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch.index import photo_columns
from clipsearch.index.changes import (
    Change,
    Copied,
    Embedded,
    Exclude,
    Failed,
    ForgetFailure,
    ForgetFolder,
    ForgetMount,
    Gone,
    Include,
    KeepFolder,
    Moved,
    Scanned,
    SeenMount,
    Touched,
    UseModel,
)
from clipsearch.index.database import Database
from clipsearch.index.embeddings import to_blob
from clipsearch.index.paths import escape, to_text
from clipsearch.index.records import FileState, utc_now

_PUT = (
    "INSERT INTO photos (path, size, mtime_ns, indexed_at, {columns}) VALUES ({values}) "
    "ON CONFLICT (path) DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns, "
    "indexed_at = excluded.indexed_at, {updates} RETURNING id"
).format(
    columns=", ".join(photo_columns.CONTENT),
    values=", ".join("?" * (4 + len(photo_columns.CONTENT))),
    updates=", ".join(f"{name} = excluded.{name}" for name in photo_columns.CONTENT),
)


@dataclass(frozen=True)
class _Content:
    """What files with the same bytes share."""

    columns: tuple[Any, ...]  # the values of photo_columns.CONTENT
    vectors: dict[int, bytes]  # by model


def apply_changes(db: Database, changes: Sequence[Change], model_id: int | None) -> None:
    """Write changes in the transaction that is open; new embeddings belong to `model_id`."""
    contents = [_content(db, change, model_id) for change in changes]  # before any is changed
    for change in changes:
        if isinstance(change, Moved):  # out of the way of each other; no real path is like this
            passing = f"moving {change.photo_id}"
            db.write("UPDATE photos SET path = ? WHERE id = ?", (passing, change.photo_id))
    for change, content in zip(changes, contents, strict=True):
        _apply(db, change, content)


def _apply(db: Database, change: Change, content: _Content | None) -> None:
    match change:
        case Embedded() | Copied():
            if content is not None:
                _put(db, change.file, content)
        case Moved() | Touched():
            _point(db, change.photo_id, change.file)
        case Failed():
            _record_failure(db, change)
        case Gone():
            db.write("DELETE FROM photos WHERE id = ?", (change.photo_id,))
        case ForgetFailure():
            _forget_failure(db, change.path)
        case UseModel():
            db.write("UPDATE library SET current_model = ?", (change.model_id,))
        case Exclude():
            sql = (
                "INSERT INTO exclusions (kind, what, added_at) VALUES (?, ?, ?) "
                "ON CONFLICT (kind, what) DO NOTHING"
            )
            db.write(sql, (change.exclusion.kind, escape(change.exclusion.what), utc_now()))
        case Include():
            sql = "DELETE FROM exclusions WHERE kind = ? AND what = ?"
            db.write(sql, (change.exclusion.kind, escape(change.exclusion.what)))
        case _:
            _apply_to_places(db, change)


def _apply_to_places(
    db: Database, change: KeepFolder | Scanned | ForgetFolder | SeenMount | ForgetMount
) -> None:
    path = to_text(change.path)
    match change:
        case KeepFolder():
            db.write(
                "INSERT INTO folders (path, kind, added_at) VALUES (?, ?, ?) "
                "ON CONFLICT (path) DO UPDATE SET kind = excluded.kind",
                (path, change.kind, utc_now()),
            )
        case Scanned():
            db.write("UPDATE folders SET scanned_at = ? WHERE path = ?", (utc_now(), path))
        case ForgetFolder():
            db.write("DELETE FROM folders WHERE path = ?", (path,))
        case SeenMount():
            sql = "INSERT INTO mounts (path) VALUES (?) ON CONFLICT (path) DO NOTHING"
            db.write(sql, (path,))
        case ForgetMount():
            db.write("DELETE FROM mounts WHERE path = ?", (path,))


def _content(db: Database, change: Change, model_id: int | None) -> _Content | None:
    """Return the content that a change gives to its path, if it gives any."""
    if isinstance(change, Embedded):
        return _embedded_content(db, change, model_id)
    if isinstance(change, Copied):
        return _content_of(db, change.source_id)
    return None


def _embedded_content(db: Database, change: Embedded, model_id: int | None) -> _Content:
    width = db.value("SELECT width FROM models WHERE id = ?", (model_id,))
    if change.embedding.shape != (width,) or not np.isfinite(change.embedding).all():
        raise ValueError(f"{change.file.path}: not an embedding of model {model_id}")
    assert model_id is not None  # it has a width
    values = (change.content_hash, *astuple(change.metadata))
    columns = tuple(escape(value) if isinstance(value, str) else value for value in values)
    return _Content(columns, {model_id: to_blob(change.embedding)})


def _content_of(db: Database, photo_id: int) -> _Content | None:
    columns = db.rows(
        f"SELECT {', '.join(photo_columns.CONTENT)} FROM photos WHERE id = ?", (photo_id,)
    )
    vectors = db.rows("SELECT model_id, vector FROM embeddings WHERE photo_id = ?", (photo_id,))
    return _Content(columns[0], dict(vectors)) if columns else None


def _put(db: Database, file: FileState, content: _Content) -> None:
    """Give the photo at a path this content; embeddings of other content go."""
    text = to_text(file.path)
    db.write(
        "DELETE FROM embeddings WHERE photo_id IN "
        "(SELECT id FROM photos WHERE path = ? AND content_hash <> ?)",
        (text, content.columns[0]),
    )
    photo_id = db.value(_PUT, (text, *_state(file), utc_now(), *content.columns))
    for model_id, vector in content.vectors.items():
        db.write(
            "DELETE FROM embeddings WHERE photo_id = ? AND model_id = ? AND vector <> ?",
            (photo_id, model_id, vector),
        )
        db.write(
            "INSERT INTO embeddings (photo_id, model_id, vector) VALUES (?, ?, ?) "
            "ON CONFLICT (photo_id, model_id) DO NOTHING",
            (photo_id, model_id, vector),
        )
    _forget_failure(db, file.path)


def _point(db: Database, photo_id: int, file: FileState) -> None:
    """Let a photo's row, if there is one, stand for this file, in place of any other that did."""
    if not db.rows("SELECT 1 FROM photos WHERE id = ?", (photo_id,)):
        return
    text = to_text(file.path)
    db.write("DELETE FROM photos WHERE path = ? AND id <> ?", (text, photo_id))
    db.write(
        "UPDATE photos SET path = ?, size = ?, mtime_ns = ? WHERE id = ?",
        (text, *_state(file), photo_id),
    )
    _forget_failure(db, file.path)


def _record_failure(db: Database, change: Failed) -> None:
    db.write(
        "INSERT OR REPLACE INTO failures (path, size, mtime_ns, reason, failed_at) "
        "VALUES (?, ?, ?, ?, ?)",
        (to_text(change.file.path), *_state(change.file), escape(change.reason), utc_now()),
    )


def _forget_failure(db: Database, path: Path) -> None:
    db.write("DELETE FROM failures WHERE path = ?", (to_text(path),))


def _state(file: FileState) -> tuple[int, int]:
    """Return size and time, the latter as far as SQLite's integers go: to the year 2262."""
    return file.size, max(-(2**63), min(file.mtime_ns, 2**63 - 1))
