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
    Completed,
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
    Named,
    Scanned,
    SeenMount,
    SidecarsRead,
    Touched,
    UseModel,
)
from clipsearch.index.database import Database
from clipsearch.index.embeddings import to_blob
from clipsearch.index.moments_in_names import moment_of
from clipsearch.index.paths import escape, text_range_below, to_text
from clipsearch.index.photo_columns import NAMELESS
from clipsearch.index.records import FileState, PhotoMetadata, Word, utc_now
from clipsearch.index.word_search import word_index

_PUT = (
    "INSERT INTO photos (path, size, mtime_ns, indexed_at, {columns}) VALUES ({values}) "
    "ON CONFLICT (path) DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns, "
    "indexed_at = excluded.indexed_at, {updates} RETURNING id"
).format(
    columns=", ".join((*photo_columns.CONTENT, *photo_columns.MOMENT)),
    values=", ".join("?" * (4 + len(photo_columns.CONTENT) + len(photo_columns.MOMENT))),
    updates=", ".join(
        f"{name} = excluded.{name}" for name in (*photo_columns.CONTENT, *photo_columns.MOMENT)
    ),
)
# A place that was named before stays: the file itself does not say it.
_COMPLETE = "UPDATE photos SET {} WHERE content_hash = ? RETURNING id, taken_at, path".format(
    ", ".join(
        f"{name} = coalesce(?, place)" if name == "place" else f"{name} = ?"
        for name in photo_columns.CONTENT
    )
)
_TAKEN_AT = photo_columns.CONTENT.index("taken_at")


@dataclass(frozen=True)
class _Content:
    """What files with the same bytes share."""

    columns: tuple[Any, ...]  # the values of photo_columns.CONTENT
    words: Sequence[tuple[str, str]]  # as they stand in the table of words: field, text
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
        case Completed() | SidecarsRead() | Named():
            _take_facts(db, change)
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
        case Exclude() | Include():
            _change_exclusions(db, change)
        case _:
            _apply_to_places(db, change)


def _change_exclusions(db: Database, change: Exclude | Include) -> None:
    match change:
        case Exclude():
            sql = (
                "INSERT INTO exclusions (kind, what, added_at) VALUES (?, ?, ?) "
                "ON CONFLICT (kind, what) DO NOTHING"
            )
            db.write(sql, (change.exclusion.kind, escape(change.exclusion.what), utc_now()))
        case Include():
            sql = "DELETE FROM exclusions WHERE kind = ? AND what = ?"
            db.write(sql, (change.exclusion.kind, escape(change.exclusion.what)))


def _apply_to_places(
    db: Database, change: KeepFolder | Scanned | ForgetFolder | SeenMount | ForgetMount
) -> None:
    path = to_text(change.path)
    match change:
        case KeepFolder():
            known = db.value("SELECT kind FROM folders WHERE path = ?", (path,))
            db.write(
                "INSERT INTO folders (path, kind, added_at) VALUES (?, ?, ?) "
                "ON CONFLICT (path) DO UPDATE SET kind = excluded.kind",
                (path, change.kind, utc_now()),
            )
            if known != change.kind:  # from where on names count
                word_index.mark_below(db, *text_range_below(change.path))
        case Scanned():
            db.write("UPDATE folders SET scanned_at = ? WHERE path = ?", (utc_now(), path))
        case ForgetFolder():
            db.write("DELETE FROM folders WHERE path = ?", (path,))
            word_index.mark_below(db, *text_range_below(change.path))
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
    columns = _columns_of(change.content_hash, change.metadata)
    return _Content(columns, _escaped(change.words), {model_id: to_blob(change.embedding)})


def _columns_of(content_hash: str, metadata: PhotoMetadata) -> tuple[Any, ...]:
    values = (content_hash, *astuple(metadata))
    return tuple(escape(value) if isinstance(value, str) else value for value in values)


def _escaped(words: Sequence[Word]) -> list[tuple[str, str]]:
    return [(word.field, escape(word.text)) for word in words]


def _content_of(db: Database, photo_id: int) -> _Content | None:
    columns = db.rows(
        f"SELECT {', '.join(photo_columns.CONTENT)} FROM photos WHERE id = ?", (photo_id,)
    )
    sql = "SELECT field, text FROM words WHERE photo_id = ? AND source = 'photo' ORDER BY id"
    words = db.rows(sql, (photo_id,))
    vectors = db.rows("SELECT model_id, vector FROM embeddings WHERE photo_id = ?", (photo_id,))
    return _Content(columns[0], words, dict(vectors)) if columns else None


def _put(db: Database, file: FileState, content: _Content) -> None:
    """Give the photo at a path this content; embeddings of other content go."""
    text = to_text(file.path)
    db.write(
        "DELETE FROM embeddings WHERE photo_id IN "
        "(SELECT id FROM photos WHERE path = ? AND content_hash <> ?)",
        (text, content.columns[0]),
    )
    moment = moment_of(content.columns[_TAKEN_AT], text)
    photo_id = db.value(_PUT, (text, *_state(file), utc_now(), *content.columns, *moment))
    _put_words(db, photo_id, "photo", content.words)
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


def _put_words(db: Database, photo_id: int, source: str, words: Sequence[tuple[str, str]]) -> None:
    """Let these be the words of a photo from one source, in place of those that were."""
    sql = "SELECT field, text FROM words WHERE photo_id = ? AND source = ? ORDER BY id"
    if db.rows(sql, (photo_id, source)) == list(words):
        return
    db.write("DELETE FROM words WHERE photo_id = ? AND source = ?", (photo_id, source))
    for field, text in words:
        sql = "INSERT INTO words (photo_id, source, field, text) VALUES (?, ?, ?, ?)"
        db.write(sql, (photo_id, source, field, text))


def _take_facts(db: Database, change: Completed | SidecarsRead | Named) -> None:
    match change:
        case Named():
            _name(db, change)
        case Completed():
            _complete(db, change)
        case SidecarsRead():
            _take_sidecars(db, change)


def _complete(db: Database, change: Completed) -> None:
    columns = _columns_of(change.content_hash, change.metadata)
    words = _escaped(change.words)
    for photo_id, taken_at, text in db.rows(_COMPLETE, (*columns, change.content_hash)):
        _put_moment(db, photo_id, taken_at, text)
        _put_words(db, photo_id, "photo", words)


def _name(db: Database, change: Named) -> None:
    sql = "UPDATE photos SET place = ? WHERE latitude = ? AND longitude = ? AND place IS NULL"
    db.write(sql, (escape(change.place or NAMELESS), change.latitude, change.longitude))


def _put_moment(db: Database, photo_id: int, taken_at: str | None, text: str) -> None:
    sql = "UPDATE photos SET moment = ?, moment_from = ? WHERE id = ?"
    db.write(sql, (*moment_of(taken_at, text), photo_id))


def _take_sidecars(db: Database, change: SidecarsRead) -> None:
    if not db.rows("SELECT 1 FROM photos WHERE id = ?", (change.photo_id,)):
        return
    db.write("DELETE FROM sidecars WHERE photo_id = ?", (change.photo_id,))
    for file in change.sidecars:
        sql = "INSERT INTO sidecars (photo_id, path, size, mtime_ns) VALUES (?, ?, ?, ?)"
        db.write(sql, (change.photo_id, to_text(file.path), *_state(file)))
    _put_words(db, change.photo_id, "sidecar", _escaped(change.words))


def _point(db: Database, photo_id: int, file: FileState) -> None:
    """Let a photo's row, if there is one, stand for this file, in place of any other that did."""
    rows = db.rows("SELECT taken_at FROM photos WHERE id = ?", (photo_id,))
    if not rows:
        return
    text = to_text(file.path)
    db.write("DELETE FROM photos WHERE path = ? AND id <> ?", (text, photo_id))
    db.write(
        "UPDATE photos SET path = ?, size = ?, mtime_ns = ? WHERE id = ?",
        (text, *_state(file), photo_id),
    )
    _put_moment(db, photo_id, rows[0][0], text)
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
