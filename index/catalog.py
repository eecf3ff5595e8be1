"""Typed rows in and out of the catalog.

Changes to photos go through `Store.apply`; this is all the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clipsearch.index import photo_columns
from clipsearch.index.database import Database
from clipsearch.index.paths import at_or_below, escape, text_range_below, to_path, to_text, unescape
from clipsearch.index.records import (
    FACTS,
    RAW,
    Counts,
    Exclusion,
    Failure,
    FileState,
    Folder,
    KnownPhoto,
    ModelIdentity,
    ModelRow,
    PhotoMetadata,
    PhotoRecord,
    Word,
    utc_now,
)

if TYPE_CHECKING:
    from clipsearch.index.changes import KnownFile, KnownState, SeenSidecar

_T = TypeVar("_T")

_LARGEST_NUMBER = 2**63 - 1  # of SQLite
_TAGS_SINCE = 5  # the schema
_EMBEDDED_BY = "(SELECT group_concat(model_id) FROM embeddings WHERE photo_id = photos.id)"
_MODEL = (
    "SELECT id, name, architecture, weights_sha256, preprocessing, width, "
    "id IS (SELECT current_model FROM library) FROM models "
)


class Catalog:
    """What a library knows; paths as `Path`, times as ISO 8601 in UTC."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # The library

    def created_at(self) -> str:
        """Return when the library was made."""
        return str(self._db.value("SELECT created_at FROM library"))

    def schema_version(self) -> int:
        """Return the version of the schema."""
        return self._db.schema_version()

    def counts(self, model_id: int | None) -> Counts:
        """Count photos, those embedded by a model, and failures."""
        sql = (
            "SELECT (SELECT count(*) FROM photos), "
            "(SELECT count(*) FROM embeddings WHERE model_id = ?), "
            "(SELECT count(*) FROM failures)"
        )
        return Counts(*self._db.rows(sql, (model_id,))[0])

    # Folders

    def folders(self) -> list[Folder]:
        """Return the folders and single files that the library keeps up to date, by path."""
        sql = "SELECT path, kind, added_at, scanned_at FROM folders ORDER BY path"
        return self._values(lambda row: Folder(to_path(row[0]), *row[1:]), sql)

    # Mount points below the folders

    def mounts(self) -> list[Path]:
        """Return the mount points below the folders that scans have seen, by path."""
        return self._values(lambda row: to_path(row[0]), "SELECT path FROM mounts ORDER BY path")

    # What runs leave out

    def exclusions(self) -> list[Exclusion]:
        """Return what runs leave out, in the order in which it was said."""
        if self._db.schema < 3:  # read only, and not brought up to date yet
            return []
        sql = "SELECT kind, what FROM exclusions ORDER BY id"
        return self._values(lambda row: Exclusion(row[0], unescape(row[1])), sql)

    # Photos

    def known_files(
        self, model_id: int | None, roots: Sequence[Path] | None = None
    ) -> dict[Path, KnownFile]:
        """Return the photos at or below the roots (None: all), by path."""
        return self._known_files(model_id, *_at_or_below("photos", roots))

    def known_states(
        self, model_id: int | None, roots: Sequence[Path] | None = None
    ) -> set[KnownState]:
        """Return the photos at or below the roots (None: all), as files are compared with them."""
        where, parameters = _at_or_below("photos", roots)
        sql = (
            "SELECT path, size, CASE WHEN EXISTS (SELECT 1 FROM embeddings WHERE photo_id = "
            f"photos.id AND model_id = ?) THEN mtime_ns END FROM photos {where}"
        )
        return set(self._db.rows(sql, (model_id, *parameters)))

    def known_of(self, model_id: int | None, states: Iterable[KnownState]) -> dict[Path, KnownFile]:
        """Return the photos that some of `known_states` are of, by path."""
        paths = [state[0] for state in states]
        if not all(isinstance(path, str) for path in paths):
            raise self._db.damaged("a path is no text")
        where = "WHERE path IN (SELECT value FROM json_each(?))"
        return self._known_files(model_id, where, [json.dumps(paths)])

    def _known_files(
        self, model_id: int | None, where: str, parameters: Sequence[str]
    ) -> dict[Path, KnownFile]:
        sql = (
            "SELECT id, path, size, mtime_ns, content_hash, EXISTS (SELECT 1 FROM embeddings "
            f"WHERE photo_id = photos.id AND model_id = ?) FROM photos {where}"
        )
        files = self._values(_known_file, sql, (model_id, *parameters))
        return {known.file.path: known for known in files}

    def ids_below(self, path: Path) -> NDArray[np.int64]:
        """Return the ids (n,) of the photos at or below a path, in no order."""
        sql = (
            "SELECT group_concat(id) FROM (SELECT id FROM photos WHERE path = ? "
            "UNION ALL SELECT id FROM photos WHERE path >= ? AND path < ?)"
        )
        # As one text: a row each takes several times as long.
        ids = self._db.value(sql, (to_text(path), *text_range_below(path)))
        return np.fromstring(ids or "", dtype=np.int64, sep=",")

    def all_ids(self) -> NDArray[np.int64]:
        """Return the ids (n,), rising, of all photos."""
        return np.array([row[0] for row in self._db.rows("SELECT id FROM photos ORDER BY id")], int)

    def photos(self, ids: Sequence[int]) -> dict[int, PhotoRecord]:
        """Return photos by id; an id that is not in the catalog is left out."""
        sql = f"SELECT {self._columns()} FROM photos WHERE id IN (SELECT value FROM json_each(?))"
        photos = self._values(_photo, sql, (json.dumps([int(id_) for id_ in ids]),))
        return {photo.id: photo for photo in photos}

    def raw_photos(self, ids: Sequence[int]) -> list[PhotoRecord]:
        """Return those of some photos that are raw ones, by id."""
        sql = (
            f"SELECT {self._columns()} FROM photos WHERE format = ? AND id IN "
            "(SELECT value FROM json_each(?)) ORDER BY id"
        )
        return self._values(_photo, sql, (RAW, json.dumps([int(id_) for id_ in ids])))

    def photo_at(self, path: Path) -> PhotoRecord | None:
        """Return the photo with this path."""
        sql = f"SELECT {self._columns()} FROM photos WHERE path = ?"
        photos = self._values(_photo, sql, (to_text(path),))
        return photos[0] if photos else None

    def photos_with_content(self, content_hash: str) -> list[KnownPhoto]:
        """Return the photos with this content, by id, with who has embedded each."""
        return self._known_photos("content_hash = ?", content_hash)

    def known_content(self, hashes: Sequence[str]) -> set[str]:
        """Return those of some contents that a photo has."""
        sql = (
            "SELECT content_hash FROM photos WHERE content_hash IN (SELECT value FROM json_each(?))"
        )
        return {str(found) for (found,) in self._db.rows(sql, (json.dumps(list(hashes)),))}

    def photos_at(self, paths: Iterable[Path]) -> list[KnownPhoto]:
        """Return the photos with one of these paths, by id, with who has embedded each."""
        texts = json.dumps([to_text(path) for path in paths])
        return self._known_photos("path IN (SELECT value FROM json_each(?))", texts)

    def _known_photos(self, condition: str, parameter: str) -> list[KnownPhoto]:
        sql = f"SELECT {self._columns()}, {_EMBEDDED_BY} FROM photos WHERE {condition} ORDER BY id"
        return self._values(_known_photo, sql, (parameter,))

    def _columns(self) -> str:
        return photo_columns.selected(self._db.schema)

    def words(self, ids: Sequence[int]) -> dict[int, tuple[Word, ...]]:
        """Return the words of photos and their sidecars, each once; ids without any are left out.

        A sidecar's come first: they are newer than what stands in the photo.
        """
        if self._db.schema < 5:
            return {}
        sql = (
            "SELECT photo_id, field, text FROM words WHERE photo_id IN "
            "(SELECT value FROM json_each(?)) ORDER BY photo_id, source = 'photo', id"
        )
        found: dict[int, dict[Word, None]] = {}
        for id_, word in self._values(_word, sql, (json.dumps([int(id_) for id_ in ids]),)):
            found.setdefault(id_, {})[word] = None
        return {id_: tuple(words) for id_, words in found.items()}

    def known_sidecars(self, roots: Sequence[Path]) -> set[SeenSidecar]:
        """Return the sidecars whose words are known, of the photos at or below the roots."""
        from clipsearch.index.changes import SeenSidecar

        if not self._db.value("SELECT EXISTS (SELECT 1 FROM sidecars)"):
            return set()
        where, parameters = _at_or_below("photos", roots)
        sql = (
            "SELECT photos.path, sidecars.path, sidecars.size, sidecars.mtime_ns FROM photos "
            "JOIN sidecars ON sidecars.photo_id = photos.id "
            f"WHERE photos.id IN (SELECT id FROM photos {where})"
        )
        return set(self._values(lambda row: SeenSidecar(*row), sql, parameters))

    def to_complete(self, roots: Sequence[Path]) -> list[KnownFile]:
        """Return the photos at or below the roots that `incomplete` counts, by path."""
        condition, parameters = at_or_below("photos", roots)
        where = f"WHERE facts < {FACTS} AND {condition} ORDER BY path"
        return list(self._known_files(None, where, parameters).values())

    def incomplete(self) -> int:
        """Count the photos of which less was read out of the file than is today."""
        if self._db.schema < 5:
            return self.counts(None).photos
        return int(self._db.value("SELECT count(*) FROM photos WHERE facts < ?", (FACTS,)))

    def unnamed_positions(self, limit: int) -> list[tuple[float, float]]:
        """Return the positions of photos whose place has no name yet, each once."""
        sql = (
            "SELECT DISTINCT latitude, longitude FROM photos "
            "WHERE place IS NULL AND latitude IS NOT NULL AND longitude IS NOT NULL LIMIT ?"
        )
        return self._values(tuple, sql, (limit,))

    def tags_of(self, photo_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """Return the tags of photos by their ids, surest first; a photo without is left out."""
        if self._db.schema < _TAGS_SINCE:
            return {}
        sql = (
            "SELECT photo_id, name FROM photo_tags JOIN tags ON tags.id = tag_id WHERE photo_id "
            "IN (SELECT value FROM json_each(?)) ORDER BY said_by = 'person' DESC, score DESC, name"
        )
        found: dict[int, list[str]] = {}
        for photo_id, name in self._db.rows(sql, (json.dumps(list(photo_ids)),)):
            found.setdefault(photo_id, []).append(unescape(name))
        return {photo_id: tuple(names) for photo_id, names in found.items()}

    def failures(self, roots: Sequence[Path] | None = None) -> list[Failure]:
        """Return the files at or below the roots (None: all) that failed, by path."""
        where, parameters = _at_or_below("failures", roots)
        sql = f"SELECT path, size, mtime_ns, reason, failed_at FROM failures {where} ORDER BY path"
        return self._values(_failure, sql, parameters)

    # Models

    def add_model(self, identity: ModelIdentity) -> int:
        """Return the id of the model with this fingerprint, made if missing.

        Its name becomes the one given now: a model folder may have moved.
        """
        return int(
            self._db.value(
                "INSERT INTO models (name, architecture, weights_sha256, preprocessing, width, "
                "fingerprint, added_at) VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (fingerprint) DO UPDATE SET name = excluded.name RETURNING id",
                (
                    *(escape(identity.name), identity.architecture, identity.weights_sha256),
                    *(identity.preprocessing, identity.width, identity.fingerprint, utc_now()),
                ),
            )
        )

    def models(self, *, count_to: int | None = None) -> list[ModelRow]:
        """Return all models, by id; the photos of each are not counted beyond `count_to`."""
        return self._values(lambda row: self._model(row, count_to), _MODEL + "ORDER BY id")

    def embedded_by(self, model_id: int, count_to: int | None = None) -> int:
        """Count a model's embeddings, up to a number: all of a million take long."""
        sql = "SELECT count(*) FROM (SELECT 1 FROM embeddings WHERE model_id = ? LIMIT ?)"
        most = _LARGEST_NUMBER if count_to is None else min(count_to, _LARGEST_NUMBER)
        return int(self._db.value(sql, (model_id, most)))

    def _model(self, row: tuple[Any, ...], count_to: int | None = None) -> ModelRow:
        id_, name, *identity, is_current = row
        photos = self.embedded_by(id_, count_to)
        return ModelRow(id_, ModelIdentity(unescape(name), *identity), photos, bool(is_current))

    def _values(
        self, convert: Callable[[tuple[Any, ...]], _T], sql: str, parameters: Sequence[Any] = ()
    ) -> list[_T]:
        """Return the rows of a query as values; LibraryDamaged if one is of the wrong type."""
        rows = self._db.rows(sql, parameters)
        try:
            return [convert(row) for row in rows]
        except (AttributeError, TypeError, ValueError) as error:
            raise self._db.damaged("a value has another type than its column") from error


def _at_or_below(table: str, roots: Sequence[Path] | None) -> tuple[str, list[str]]:
    """Return a WHERE clause on the paths of a table, and its parameters; None: all of it."""
    if roots is None:
        return "", []
    condition, parameters = at_or_below(table, roots)
    return f"WHERE {condition}", parameters


def _known_file(row: tuple[Any, ...]) -> KnownFile:
    from clipsearch.index.changes import KnownFile

    id_, text, size, mtime_ns, content_hash, embedded = row
    return KnownFile(id_, FileState(to_path(text), size, mtime_ns), content_hash, bool(embedded))


def _failure(row: tuple[Any, ...]) -> Failure:
    text, size, mtime_ns, reason, failed_at = row
    return Failure(FileState(to_path(text), size, mtime_ns), unescape(reason), failed_at)


def _known_photo(row: tuple[Any, ...]) -> KnownPhoto:
    *photo, models = row
    embedded_by = frozenset(map(int, models.split(","))) if models else frozenset[int]()
    return KnownPhoto(_photo(tuple(photo)), embedded_by)


def _photo(row: tuple[Any, ...]) -> PhotoRecord:
    id_, text, size, mtime_ns, content_hash, *metadata, indexed_at, moment, moment_from = row
    file = FileState(to_path(text), size, mtime_ns)
    known = PhotoMetadata(*metadata)
    return PhotoRecord(id_, file, content_hash, known, indexed_at, moment, moment_from)


def _word(row: tuple[Any, ...]) -> tuple[int, Word]:
    photo_id, field, text = row
    return photo_id, Word(field, unescape(text))
