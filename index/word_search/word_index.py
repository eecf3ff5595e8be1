"""The index of words in catalog.sqlite: SQLite's FTS5, made of the names and texts of photos.

It is derived from the rest of the catalog, no part of its schema, and made anew where it is
missing, damaged, or defined otherwise than here. Which photos it does not stand for is kept by
triggers in the table `stale_words`: whatever writes to the catalog, the next batch that is
committed here takes them in. FTS5 itself stands in no trigger, since SQLite runs it in none of a
catalog that may come from elsewhere.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from clipsearch.errors import LibraryClosed, LibraryError, LibraryLocked, LibraryReadOnly
from clipsearch.index.database import Database
from clipsearch.index.word_search.splitting import words_of, words_of_name

INDEX = "word_index"
_WORDS = "words_1"  # its column; the number is raised when words are split otherwise: made anew
SINCE = 5  # schema: the first that has the tables it is kept in step with
# Words come split and in their plain form (splitting.py): SQLite's own letters and marks are those
# of Unicode 6.1.
# Without positions and lengths, which only phrases and FTS5's own ranking need: a sixth as large.
_DEFINITION = (
    f"CREATE VIRTUAL TABLE {INDEX} USING fts5({_WORDS}, "
    "tokenize = 'ascii', detail = none, columnsize = 0)"
)
_SHADOWS = tuple(f"{INDEX}_{part}" for part in ("data", "idx", "content", "config"))
_NAMES = (INDEX, *_SHADOWS, f"{INDEX}_docsize")  # of it, and what SQLite may keep beside it
_FTS5 = "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"
_AT_ONCE = 10_000  # photos
_MOST_WORDS = 2_000  # of a photo


class _Rows(Protocol):
    """What reads the catalog, whole or damaged."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""


def keep(db: Database) -> None:
    """Make the index if it is missing or no good, and take in all photos that it lacks.

    A part at a time, each a transaction; the writer lock must be held.
    """
    with db.reading():
        usable = is_usable(db)
        if usable and not db.rows("SELECT 1 FROM stale_words LIMIT 1"):
            return
    if not usable:
        make_anew(db)
        return
    while True:
        with db.writing():
            if not _take_in(db, _AT_ONCE):
                return


def make_anew(db: Database) -> None:
    """Make the index anew, whatever is in its place; nothing where this SQLite has no FTS5."""
    if db.rows(_FTS5):
        with db.writing():
            _make_anew(db)
        keep(db)


def take_in(db: Database) -> None:
    """Take in what changed in the transaction that is open, so that all is committed together."""
    if not is_usable(db):  # the next run makes it
        return
    while _take_in(db, _AT_ONCE):
        pass


def is_usable(db: _Rows) -> bool:
    """Tell whether the index is there, and is what it should be and nothing else."""
    sql = "SELECT name, type, coalesce(rootpage, 0) <> 0, sql FROM sqlite_master WHERE name IN ({})"
    there = {
        name: (kind, is_stored, definition)
        for name, kind, is_stored, definition in db.rows(
            sql.format(", ".join("?" * len(_NAMES))), _NAMES
        )
    }
    index = there.pop(INDEX, None)
    return (
        index is not None
        and index[0] == "table"
        and str(index[2]).split() == _DEFINITION.split()
        and there.keys() == set(_SHADOWS)
        and all(kind == "table" and is_stored for kind, is_stored, _ in there.values())
    )


def faults(db: _Rows) -> list[str]:
    """Return what is wrong with the index that is there; the next run makes one that is missing."""
    if not db.rows("SELECT 1 FROM sqlite_master WHERE name = ?", (INDEX,)):
        return []
    if not is_usable(db):
        return ["the index of words is not what it should be"]
    try:
        db.rows(f"SELECT rowid FROM {INDEX} WHERE {INDEX} MATCH ?", ('"e" *',))
        lacking = db.rows(
            f"SELECT id FROM {INDEX}_content WHERE id NOT IN (SELECT id FROM photos) "
            "AND id NOT IN (SELECT photo_id FROM stale_words) LIMIT 5"
        )
    except (sqlite3.DatabaseError, LibraryError) as error:
        return [f"the index of words can't be read: {error}"]
    return [f"the index of words has photo {id_}, which is not there" for (id_,) in lacking]


def mark_below(db: Database, first: str, end: str) -> None:
    """Have the photos with paths >= first and < end taken in anew: a folder is new, or no more."""
    db.write(
        "INSERT INTO stale_words (photo_id) SELECT id FROM photos WHERE path >= ? AND path < ? "
        "ON CONFLICT DO NOTHING",
        (first, end),
    )


def of_the_index_alone(error: LibraryError) -> bool:
    """Tell whether an error of a statement about the index speaks of it, not of the library."""
    return not isinstance(error, (LibraryClosed, LibraryLocked, LibraryReadOnly))


def words_of_path(text: str, roots: Sequence[str]) -> list[str]:
    """Return the words of a photo's path, as the catalog writes it, below an indexed folder.

    `roots` are the folders, each before those below it. Of a path below none, those of its name.
    """
    root = next((root for root in roots if text.startswith(root)), None)
    folders, _, name = text[len(root) if root else text.rfind(os.sep) + 1 :].rpartition(os.sep)
    return [*words_of_name(folders), *words_of_name(name.rpartition(".")[0] or name)]


def words_of_place(name: str) -> list[str]:
    """Return the words of the place where a photo was taken, without the letters of its country."""
    town, comma, country = name.rpartition(", ")
    return words_of(town if comma else country)


def roots_of(folders: Iterable[str]) -> list[str]:
    """Return the beginnings of all paths below some folders, each before those below it."""
    return sorted(folder.rstrip(os.sep) + os.sep for folder in folders)


def _take_in(db: Database, most: int) -> int:
    """Take in up to so many of the photos that the index lacks; return how many there were."""
    stale = _stale(db, most)
    try:
        _write(db, stale)
    except LibraryError as error:
        if not of_the_index_alone(error):
            raise
        _make_anew(db)
        _write(db, stale)
    ids = json.dumps(list(stale))
    db.write("DELETE FROM stale_words WHERE photo_id IN (SELECT value FROM json_each(?))", (ids,))
    return len(stale)


def _stale(db: Database, most: int) -> dict[int, str]:
    """Return some of the photos that the index lacks, by id, and their words: none if one is gone.

    Text that is damaged is not for this index to refuse.
    """
    paths = db.rows(
        "SELECT photo_id, CAST(path AS BLOB), CAST(place AS BLOB) FROM stale_words "
        "LEFT JOIN photos ON photos.id = photo_id ORDER BY photo_id LIMIT ?",
        (most,),
    )
    folders = db.rows("SELECT CAST(path AS BLOB) FROM folders WHERE kind = 'folder'")
    roots = roots_of(_text(path) for (path,) in folders)
    words = {
        id_: [*words_of_path(_text(path), roots), *words_of_place(_text(place or b""))]
        if path
        else []
        for id_, path, place in paths
    }
    said = (
        "SELECT photo_id, CAST(text AS BLOB) FROM words "
        "WHERE photo_id IN (SELECT value FROM json_each(?)) ORDER BY id"
    )
    for id_, text in db.rows(said, (json.dumps(list(words)),)):
        words[id_] += words_of(_text(text))
    return {id_: " ".join(list(dict.fromkeys(one))[:_MOST_WORDS]) for id_, one in words.items()}


def _text(stored: bytes) -> str:
    return bytes(stored).decode(errors="replace")


def _write(db: Database, words: Mapping[int, str]) -> None:
    for id_, some in words.items():
        db.write(f"DELETE FROM {INDEX} WHERE rowid = ?", (id_,))
        if some:
            db.write(f"INSERT INTO {INDEX} (rowid, {_WORDS}) VALUES (?, ?)", (id_, some))
    # FTS5 writes to its tables at a savepoint, else as late as at the commit; then an index that is
    # damaged would take all of the batch with it.
    db.write("SAVEPOINT words_written")
    db.write("RELEASE words_written")


def _make_anew(db: Database) -> None:
    """Put an empty index in the place of whatever is there; all photos are to be taken in."""
    there = dict(
        db.rows(
            f"SELECT name, type FROM sqlite_master WHERE name IN ({', '.join('?' * len(_NAMES))})",
            _NAMES,
        )
    )
    for name in _NAMES:
        kind = there.get(name)
        if kind in ("table", "view", "index", "trigger"):
            _drop(db, kind, name)
    db.write(_DEFINITION)
    db.write(
        "INSERT INTO stale_words (photo_id) SELECT id FROM photos WHERE true ON CONFLICT DO NOTHING"
    )


def _drop(db: Database, kind: str, name: str) -> None:
    try:
        db.write(f"DROP {kind} IF EXISTS [{name}]")
    except LibraryError as error:
        if not of_the_index_alone(error):
            raise
        # SQLite drops no virtual table that it can't open, and this one is damaged.
        db.write("PRAGMA writable_schema = ON")
        try:
            db.write("DELETE FROM sqlite_master WHERE name = ? AND type = ?", (name, kind))
        finally:
            db.write("PRAGMA writable_schema = RESET")
