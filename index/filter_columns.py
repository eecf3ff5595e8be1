"""What the photos of a catalog say, as columns in memory, which follow it cheaply.

A column is read when a filter first asks for it. Of a later state of the catalog, only the blocks
of photos are read again that have changed: triggers count the changes of each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.database import Database
from clipsearch.index.filter_arrays import Rows
from clipsearch.index.filter_sql import folded_name, has_tags, stored
from clipsearch.index.filters import TEXTS, Field, fold
from clipsearch.index.paths import unescape
from clipsearch.index.schema import BLOCK_BITS
from clipsearch.index.selection import rising

_COUNTED = 5  # the schema from which changes are counted
_TAGGED = "SELECT group_concat(photo_id) FROM photo_tags WHERE tag_id = ?"
_ROWS_AT_ONCE = 1 << 16
_WORTH_FOLLOWING = 4  # one block in so many has changed, or more: all is read again
_MANY = 100  # names of a block in which a text is found: each is looked at by itself
_END = b"\0"  # of a name: no name holds it

_TEXTS = {*TEXTS, "folder"}
_KINDS: dict[str, type] = {"width": np.int32, "height": np.int32, "moment": np.int64}


class _Column(NamedTuple):
    """A field of all photos: numbers, or places in a list of texts."""

    values: NDArray[Any]  # (n,)
    texts: dict[str, int] | None  # each with its place


class CatalogColumns:
    """The columns of one committed state; used only in a block that shows this state."""

    def __init__(self, db: Database, ids: NDArray[np.int64], changes: dict[int, int]) -> None:
        self._db = db
        self.ids = ids  # (n,), rising
        self._changes = changes  # by block, so far
        self._columns: dict[str, _Column] = {}
        self._names: dict[int, bytes] | None = None  # folded, of each block in turn
        self._tags: dict[int, NDArray[np.int64]] = {}  # rows, by tag

    @classmethod
    def read(cls, db: Database) -> CatalogColumns:
        """Return the columns of the state that this block shows."""
        return cls(db, _ids(db, ""), _changes(db))

    def followed(self) -> CatalogColumns:
        """Return the columns of the state that is shown now."""
        changes = _changes(self._db)
        blocks = changes.keys() | self._changes.keys()
        changed = sorted(one for one in blocks if changes.get(one) != self._changes.get(one))
        if self._db.schema < _COUNTED or len(changed) * _WORTH_FOLLOWING > len(blocks):
            return CatalogColumns(self._db, _ids(self._db, ""), changes)
        pieces = [(block, _ids(self._db, _in_block(block))) for block in changed]
        other = CatalogColumns(self._db, self._spliced(self.ids, pieces), changes)
        for field, column in list(self._columns.items()):  # another thread may add one
            texts = None if column.texts is None else dict(column.texts)
            pieces = [(one, _values(self._db, field, texts, _in_block(one))) for one in changed]
            other._columns[field] = _Column(self._spliced(column.values, pieces), texts)
        if self._names is not None:
            read = {one: _END.join(_names(self._db, _in_block(one))) for one in changed}
            other._names = {**self._names, **read}
        return other

    def _spliced(
        self, values: NDArray[Any], pieces: Sequence[tuple[int, NDArray[Any]]]
    ) -> NDArray[Any]:
        """Return rows with those of some blocks replaced."""
        if not pieces:
            return values
        parts, done = [], 0
        for block, piece in pieces:
            first, end = np.searchsorted(self.ids, [block << BLOCK_BITS, (block + 1) << BLOCK_BITS])
            parts += [values[done:first], piece]
            done = end
        return np.concatenate([*parts, values[done:]])

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def bytes(self) -> int:
        """How much memory is held."""
        arrays = [self.ids, *(column.values for column in self._columns.values())]
        names = sum(map(len, (self._names or {}).values()))
        tags = sum(rows.nbytes for rows in self._tags.values())
        return sum(array.nbytes for array in arrays) + names + tags

    def numbers(self, field: Field) -> NDArray[Any]:
        """Return a field of numbers (n,); NaN for a photo that doesn't say."""
        if field == "aspect":
            heights = self._column("height").values.astype(np.float64)
            heights[heights == 0] = np.nan
            ratios: NDArray[np.float64] = self._column("width").values / heights
            return ratios
        return self._column(field).values

    def moments(self) -> NDArray[np.int64]:
        """Return the moments (n,) as numbers of 14 digits; -1 for a photo without."""
        return self._column("moment").values

    def coded(self, field: Field) -> tuple[NDArray[np.int32], Sequence[str]]:
        """Return a field of texts as places (n,) in a list, -1 for none, and the list."""
        column = self._column(field)
        assert column.texts is not None
        return column.values, list(column.texts)

    def at(self, path: str) -> int | None:
        """Return the row of the photo at a path."""
        id_ = self._db.value("SELECT id FROM photos WHERE path = ?", (path,))
        return None if id_ is None else int(np.searchsorted(self.ids, id_))

    def named(self, part: str) -> Rows:
        """Tell which photos (n,) have a text, folded, in their file's folded name."""
        if self._names is None:
            self._names = _by_block(self.ids, _names(self._db, ""))
        rows = np.zeros(len(self.ids), np.bool_)
        text = part.encode()
        for block, names in self._names.items():
            if text in names:
                first = int(np.searchsorted(self.ids, block << BLOCK_BITS))
                rows[[first + number for number in _holding(names, text)]] = True
        return rows

    def tagged(self, matches: Callable[[str], bool]) -> Rows:
        """Tell which photos (n,) have a tag whose folded name matches."""
        rows = np.zeros(len(self.ids), np.bool_)
        for id_, name in _tags(self._db):
            if matches(fold(name)):
                rows[self._rows_tagged(id_)] = True
        return rows

    def tag_counts(self, rows: Rows | None) -> Iterator[tuple[str, int]]:
        """Yield each tag with how many of some photos (None: all) have it."""
        for id_, name in _tags(self._db):
            tagged = self._rows_tagged(id_)
            count = len(tagged) if rows is None else int(np.count_nonzero(rows[tagged]))
            yield unescape(name), count

    def _rows_tagged(self, tag_id: int) -> NDArray[np.int64]:
        if tag_id not in self._tags:
            ids = self._db.value(_TAGGED, (tag_id,))
            self._tags[tag_id] = np.searchsorted(self.ids, _numbers_in(ids))
        return self._tags[tag_id]

    def _column(self, field: str) -> _Column:
        if field not in self._columns:
            texts: dict[str, int] | None = {} if field in _TEXTS else None
            self._columns[field] = _Column(_values(self._db, field, texts, ""), texts)
        return self._columns[field]


def _ids(db: Database, where: str) -> NDArray[np.int64]:
    """Return the ids of photos (n,), rising; as one text, since a row each takes longer."""
    return rising(_numbers_in(db.value(f"SELECT group_concat(id) FROM photos {where}")))


def _numbers_in(text: str | None) -> NDArray[np.int64]:
    return np.fromstring(text or "", dtype=np.int64, sep=",")


def _in_block(block: int) -> str:
    first = block << BLOCK_BITS
    return f"WHERE id >= {first} AND id < {first + (1 << BLOCK_BITS)}"


def _changes(db: Database) -> dict[int, int]:
    """Return how often each block has changed; nothing where it is not counted."""
    if db.schema < _COUNTED:
        return {}
    return dict(db.rows("SELECT block, changes FROM photo_blocks"))


def _values(db: Database, field: str, texts: dict[str, int] | None, where: str) -> NDArray[Any]:
    """Return a field of some photos (n,), by id; texts that are new are added to the others."""
    parts: list[NDArray[Any]] = [
        np.empty(0, _KINDS.get(field, np.float64 if texts is None else np.int32))
    ]
    for values in _read(db, _expression(field, db.schema), where):
        if field == "folder":
            values = [path.rpartition(os.sep)[0] for path in values]
        if texts is not None:
            values = [-1 if one is None else texts.setdefault(one, len(texts)) for one in values]
        parts.append(np.array(values, parts[0].dtype))
    return np.concatenate(parts)


def _expression(field: str, schema: int) -> str:
    if field == "folder":
        return "photos.path"
    if field == "moment":
        text = stored(field, schema)
        digits = f"replace(replace(replace({text}, '-', ''), 'T', ''), ':', '')"
        return f"coalesce(CAST({digits} AS INTEGER), -1)"
    return stored(field, schema)


def _names(db: Database, where: str) -> Iterator[bytes]:
    for paths in _read(db, "photos.path", where):
        for path in paths:
            yield folded_name(path).encode()


def _tags(db: Database) -> list[tuple[Any, ...]]:
    """Return the ids and names of all tags."""
    return db.rows("SELECT id, name FROM tags") if has_tags(db.schema) else []


def _read(db: Database, expression: str, where: str) -> Iterator[list[Any]]:
    """Yield what an expression gives for photos, by id, many at a time."""
    sql = f"SELECT {expression} FROM photos {where} ORDER BY id"
    for rows in db.batches(sql, (), _ROWS_AT_ONCE):
        yield [row[0] for row in rows]


def _by_block(ids: NDArray[np.int64], names: Iterator[bytes]) -> dict[int, bytes]:
    """Return the names of each block of photos, one after the other."""
    blocks = ids >> BLOCK_BITS
    starts = np.flatnonzero(np.diff(blocks, prepend=-1)).tolist()
    return {
        int(blocks[start]): _END.join(islice(names, end - start))
        for start, end in pairwise([*starts, len(ids)])
    }


def _holding(names: bytes, text: bytes) -> Iterator[int]:
    """Yield the numbers of the names that hold a text."""
    if names.count(text) > _MANY:
        yield from (number for number, name in enumerate(names.split(_END)) if text in name)
        return
    number = end = 0
    at = names.find(text)
    while at >= 0:
        number += names.count(_END, end, at)
        yield number
        end = names.find(_END, at)
        at = names.find(text, end) if end >= 0 else -1
