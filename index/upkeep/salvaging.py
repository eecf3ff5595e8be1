"""Saving what can be read of a damaged catalog into a new one, around the damaged pages.

SQLite finds a row by its id from the root of the table down, so rows before and behind a damaged
page can be read when each is asked for apart. What is read is believed only if it fits: a damaged
page can also hold what looks like a row.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlite_utils import Database as SqliteUtils

from clipsearch.index.database import PAGE_SIZE
from clipsearch.index.durable import disk_errors, put_in_place
from clipsearch.index.identities import kept_identity
from clipsearch.index.layout import CATALOG, Layout
from clipsearch.index.migrations import fill_moments, migrate
from clipsearch.index.paths import escape, to_path
from clipsearch.index.photo_columns import SINCE_5, dispensable
from clipsearch.index.records import SCHEMA_VERSION, ModelIdentity, utc_now
from clipsearch.index.upkeep.damaged_pages import make_working_copy, rows_in_leaves
from clipsearch.index.upkeep.findings import EXAMPLES
from clipsearch.index.upkeep.reading import (
    DAMAGE,
    READ_AGAIN,
    CatalogLost,
    any_text,
    is_utf8,
)

# Python asks SQLite for a row ahead, and so does not give the one before a damaged page; a row
# asked for alone comes alone.
_SOME = "rowid BETWEEN ? AND ? ORDER BY rowid"
_ONE = "rowid = ? AND ?"
_TRIES = 300_000  # failing reads in one table before the rest of it is given up
_LAST_ID = 1 << 40

# In an order in which each names only rows of those before it.
_TABLES = (
    *("models", "library", "folders", "mounts", "exclusions"),
    *("failures", "photos", "embeddings"),
    *("tags", "tag_examples"),  # what stands in the other tables of tags is made of these
)
# What the next index run reads again from the photos, if some of it is lost.
_READ_AGAIN = tuple(READ_AGAIN)
# Of use only if nothing of them is lost: what they do not name would be taken as never removed.
_WHOLE_OR_NOT = ("removed_embeddings", "vector_indexes")
# Indexes that say once more what stands in the rows: index, its columns.
_WITNESSES = {
    "models": (("sqlite_autoindex_models_1", ("fingerprint",)),),
    "photos": (
        ("sqlite_autoindex_photos_1", ("path",)),
        ("photos_content_hash", ("content_hash",)),
    ),
    "embeddings": (
        ("sqlite_autoindex_embeddings_1", ("photo_id", "model_id")),
        ("embeddings_model_id", ("model_id",)),
    ),
}

_ADDED = set(SINCE_5)  # columns of photos that a row or a table may be without

# What an index says of the rows, by row id, and whether it could be read to its end.
_Testimony = tuple[dict[int, tuple[Any, ...]], bool]


@dataclass
class _Saved:
    """What was read of one table."""

    columns: tuple[str, ...]
    rows: dict[int, tuple[Any, ...]] = field(default_factory=dict)  # by row id
    unreadable: list[int] = field(default_factory=list)  # row ids at which reading failed
    lost: set[int] = field(default_factory=set)  # row ids that were there, as an index says
    all_known: bool = False  # an index could be read to its end: nothing else is lost
    names: dict[int, str] = field(default_factory=dict)  # of lost photos and models
    witnesses: list[_Testimony] = field(default_factory=list)
    sequence: int = 0  # the highest id that was ever given


def salvage(folder: Path, done: list[str], lost: list[str]) -> None:
    """Put a new catalog with all that can be read in place of the damaged one, which is kept.

    Says in `done` and `lost` what was saved and what was not. Raises CatalogLost, with everything
    left as it was, if there is nothing to save. The writer lock must be held.
    """
    with disk_errors(folder):
        kept = _keep(folder)
        aside = folder / f"{CATALOG}.repaired"
        try:
            saved = _read_all(kept)
            _take_kept_models(folder, saved)
            _check_worth(saved)
            _write(aside, saved)
        except BaseException:
            aside.unlink(missing_ok=True)
            for file in (kept, _wal(kept)):  # the damaged one is still in its place
                file.unlink(missing_ok=True)
            raise
        _let_go_of_wal(Layout(folder).catalog)
        put_in_place(aside, Layout(folder).catalog)
    counts = ", ".join(f"{len(saved[name].rows):,} {name}" for name in ("photos", "embeddings"))
    done.append(f"saved {counts} into a new catalog; the damaged one is kept as {kept.name}")
    lost.extend(_losses(saved))


def _keep(folder: Path) -> Path:
    """Copy the damaged catalog, and what SQLite keeps beside it, to a name that is free."""
    number = 1
    while (kept := folder / f"catalog-damaged-{number}.sqlite").exists():
        number += 1
    catalog = Layout(folder).catalog
    for source, target in ((_wal(catalog), _wal(kept)), (catalog, kept)):
        if source.exists():
            aside = folder / f"{CATALOG}.repaired-kept"
            shutil.copyfile(source, aside)
            with aside.open("rb") as file:
                os.fsync(file.fileno())
            put_in_place(aside, target)
    return kept


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _shm(path: Path) -> Path:
    return path.with_name(path.name + "-shm")


def _let_go_of_wal(catalog: Path) -> None:
    """Remove the old catalog's log, which would be taken as that of the new one.

    It goes into the old catalog first, so that a crash here leaves all there is.
    """
    with suppress(*DAMAGE), closing(sqlite3.connect(catalog)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for file in (_wal(catalog), _shm(catalog)):
        file.unlink(missing_ok=True)


# Reading


def _read_all(kept: Path) -> dict[str, _Saved]:
    """Read every table, from a copy that SQLite opens."""
    work = kept.with_name(f"{CATALOG}.repaired-work")
    try:
        make_working_copy(kept, work)
        with closing(_open(work)) as db:
            saved = _read_tables(db)
        _read_leaves(work, saved)
        return saved
    except DAMAGE as error:
        raise CatalogLost(f"its first pages are damaged ({error})") from error
    finally:
        for file in (work, _wal(work), _shm(work)):
            file.unlink(missing_ok=True)


def _read_leaves(path: Path, saved: dict[str, _Saved]) -> None:
    """Read rows of which only an index tells from the pages that hold them."""
    wanted = {name: table for name, table in saved.items() if table.lost}
    if not wanted:
        return
    for rowid, values in rows_in_leaves(path):
        for name, table in wanted.items():
            if rowid in table.lost and "id" in table.columns:
                row = _filled_up(values, table.columns)
                if len(row) == len(table.columns):
                    _take(table, name, (rowid, rowid, *row[1:]))
    for table in wanted.values():
        table.lost -= table.rows.keys()


def _filled_up(values: Sequence[Any], columns: Sequence[str]) -> Sequence[Any]:
    """Return the values of a row, with the defaults of columns that came after it was written."""
    newer = columns[len(values) :]
    if not set(newer) <= _ADDED:
        return values
    return (*values, *(0 if column == "facts" else None for column in newer))


def _open(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.text_factory = any_text
    return connection


def _read_tables(db: sqlite3.Connection) -> dict[str, _Saved]:
    saved = {name: _read_table(db, name) for name in (*_TABLES, *_READ_AGAIN)}
    for name in _WHOLE_OR_NOT:
        table = _read_table(db, name)
        if table.unreadable or table.lost:
            break
        saved[name] = table
    else:
        return saved
    return {name: saved[name] for name in (*_TABLES, *_READ_AGAIN)}


def _read_table(db: sqlite3.Connection, name: str) -> _Saved:
    """Read the rows of a table that can be read and believed."""
    columns = tuple(
        row[1]
        for row in SqliteUtils(_new_schema()).execute(f"PRAGMA table_info({name})").fetchall()
    )
    try:
        there = {row[1] for row in db.execute(f"PRAGMA table_info({name})")}
    except DAMAGE:
        there = set()
    if name == "photos":  # of an older schema, it has fewer
        columns = tuple(column for column in columns if column in there | set(columns) - _ADDED)
    saved = _Saved(columns)
    if not set(columns) <= there:
        return saved
    witnesses = [_testimony(db, name, *witness) for witness in _WITNESSES.get(name, ())]
    saved.witnesses = witnesses
    known = set().union(*(rows for rows, _ in witnesses))
    saved.all_known = any(whole for _, whole in witnesses)
    saved.sequence = _sequence(db, name)
    sql = f"SELECT rowid, {', '.join(columns)} FROM {name} NOT INDEXED WHERE {{}}"
    for row in _around_damage(db, sql, _last_id(db, name, known), saved):
        _take(saved, name, row)
    for rowid in known - saved.rows.keys():  # behind a row that is out of order, say
        with suppress(*DAMAGE):
            for row in db.execute(sql.format(_ONE), (rowid, rowid)):
                _take(saved, name, row)
    saved.lost = known - saved.rows.keys()
    if name in ("photos", "models"):
        saved.names = {id_: witnesses[0][0][id_][0] for id_ in saved.lost & witnesses[0][0].keys()}
    return saved


def _testimony(
    db: sqlite3.Connection, table: str, index: str, columns: Sequence[str]
) -> _Testimony:
    """Return what an index says of the rows, by row id, and whether it could be read to its end."""
    found: dict[int, tuple[Any, ...]] = {}
    for order in ("ASC", "DESC"):  # from both ends, up to a damaged page
        by = ", ".join(f"{column} {order}" for column in columns)
        sql = f"SELECT rowid, {', '.join(columns)} FROM {table} INDEXED BY {index} ORDER BY {by}"
        try:
            for rowid, *values in db.execute(sql):
                found[rowid] = tuple(values)
        except DAMAGE:
            continue
        return found, True
    return found, False


def _last_id(db: sqlite3.Connection, table: str, known: set[int]) -> int:
    """Return an id that no row of the table exceeds, as far as can be told."""
    found = [max(known, default=0), _sequence(db, table)]
    with suppress(*DAMAGE):
        rows = db.execute(f"SELECT max(rowid) FROM {table} NOT INDEXED").fetchall()
        found += [row[0] for row in rows if isinstance(row[0], int)]
        if not max(found):  # no more rows than fit the file
            found += [row[0] * PAGE_SIZE // 40 for row in db.execute("PRAGMA page_count")]
    return min(max(found), _LAST_ID)


def _sequence(db: sqlite3.Connection, table: str) -> int:
    with suppress(*DAMAGE):
        rows = db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchall()
        return max((row[0] for row in rows if isinstance(row[0], int)), default=0)
    return 0


def _around_damage(
    db: sqlite3.Connection, sql: str, last: int, saved: _Saved
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows with ids up to `last` that can be read, halving ranges in which some can't."""
    spans = [(0, last)]
    tries = _TRIES
    while spans and tries:
        low, high = spans.pop()
        try:
            for row in db.execute(sql.format(_ONE if low == high else _SOME), (low, high)):
                yield row
                low = row[0] + 1
        except DAMAGE:
            tries -= 1
            if low < high:
                middle = (low + high) // 2
                spans += [(middle + 1, high), (low, middle)]
            else:
                saved.unreadable.append(low)
    saved.unreadable += [low for low, _ in spans]


def _take(saved: _Saved, table: str, row: tuple[Any, ...]) -> None:
    """Keep a row, unless it is none of the table's but what a damaged page made of it."""
    rowid, *values = row
    if not saved.witnesses or _is_vouched_for(rowid, values, saved, table):
        saved.rows[rowid] = tuple(values)


def _is_vouched_for(rowid: int, values: Sequence[Any], saved: _Saved, table: str) -> bool:
    """Tell whether an index has the row, too; if none could be read, it is believed as it is.

    A model's row vouches for itself: its fingerprint is made of the rest.
    """
    named = dict(zip(saved.columns, values, strict=True))
    if table == "models" and _is_intact(named):
        return True
    silent = True
    for (found, whole), (_, about) in zip(saved.witnesses, _WITNESSES[table], strict=True):
        if found.get(rowid) == tuple(named[column] for column in about):
            return True
        silent &= not whole and rowid not in found
    return silent


def _take_kept_models(folder: Path, saved: dict[str, _Saved]) -> None:
    """Make again the rows of lost models whose identity is kept beside their text models."""
    models = saved["models"]
    used = {row[2]: row[3] for row in saved["embeddings"].rows.values()}  # model -> a vector
    lost = {id_: vector for id_, vector in used.items() if id_ not in models.rows}
    at = models.columns.index("fingerprint")
    have = {row[at] for row in models.rows.values()}
    kept = [kept_identity(path) for path in sorted(Layout(folder).models.glob("*"))]
    unused = [identity for identity in kept if identity and identity.fingerprint not in have]
    for id_, vector in lost.items():
        name = models.names.get(id_)
        fitting = [i for i in unused if i.fingerprint == name or (name is None and len(lost) == 1)]
        if len(fitting) == 1 and len(vector) == 2 * fitting[0].width:
            models.rows[id_] = _model_row(id_, fitting[0], models.columns)
            models.lost.discard(id_)
            models.unreadable.clear()


def _model_row(id_: int, identity: ModelIdentity, columns: Sequence[str]) -> tuple[Any, ...]:
    fields = {**asdict(identity), "id": id_, "fingerprint": identity.fingerprint}
    fields.update(name=escape(identity.name), added_at=utc_now())
    return tuple(fields[column] for column in columns)


def _is_intact(model: dict[str, Any]) -> bool:
    names = ("name", "architecture", "weights_sha256", "preprocessing", "width")
    try:
        identity = ModelIdentity(*(model[name] for name in names))
        return bool(identity.fingerprint == model["fingerprint"])
    except (TypeError, UnicodeEncodeError):
        return False


# Writing


def _check_worth(saved: dict[str, _Saved]) -> None:
    photos = saved["photos"]
    if not photos.rows and (photos.lost or photos.unreadable or not saved["models"].rows):
        raise CatalogLost("none of its photos can be read")


def _new_schema() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(SqliteUtils(connection, execute_plugins=False))
    return connection


def _write(path: Path, saved: dict[str, _Saved]) -> None:
    """Write a new catalog, safely on disk when this returns."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        db = SqliteUtils(connection, execute_plugins=False)
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        migrate(db)
        connection.execute("BEGIN")
        connection.execute("DELETE FROM library")
        for name, table in saved.items():
            _insert(connection, name, table)
            if table.sequence:
                raise_sequence(connection, name, table.sequence)
        if any(saved[name].lost or saved[name].unreadable for name in _READ_AGAIN):
            read_again(connection)
        fill_moments(connection)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_again(connection: sqlite3.Connection) -> None:
    """Drop what is known of words, so that the next index run reads them again."""
    for table in _READ_AGAIN:
        connection.execute(f"DELETE FROM {table}")
    connection.execute("UPDATE photos SET facts = 0")


def raise_sequence(connection: sqlite3.Connection, table: str, least: int) -> None:
    """Let no id up to this one be given to a new row of a table."""
    connection.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT ?, 0 "
        "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?)",
        (table, table),
    )
    connection.execute(
        "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (min(least, _LAST_ID), table)
    )


def _insert(connection: sqlite3.Connection, name: str, saved: _Saved) -> None:
    marks = ", ".join("?" * (1 + len(saved.columns)))
    columns = ", ".join(("rowid", *saved.columns))
    if "id" in saved.columns:  # it is the row id
        columns = ", ".join(saved.columns)
        marks = ", ".join("?" * len(saved.columns))
    sql = f"INSERT INTO {name} ({columns}) VALUES ({marks})"
    for rowid, row in list(saved.rows.items()):
        values = tuple(_text(*pair) for pair in zip(saved.columns, row, strict=True))
        try:
            connection.execute(sql, values if "id" in saved.columns else (rowid, *values))
        except (sqlite3.IntegrityError, UnicodeEncodeError):  # not what the table can hold
            del saved.rows[rowid]
            saved.lost.add(rowid)


def _text(column: str, value: Any) -> Any:
    """Return a value; in place of what is not text any more, one that a row can do with."""
    if not isinstance(value, str) or is_utf8((value,)):
        return value
    if column in (*dispensable(SCHEMA_VERSION), "scanned_at"):
        return None
    return utc_now() if column.endswith("_at") else value


def _losses(saved: dict[str, _Saved]) -> Iterator[str]:
    """Yield what is lost; a photo that is left without an embedding is found by the next check."""
    for name, table in saved.items():
        if name == "embeddings" or name in _WHOLE_OR_NOT:
            continue
        if name in _READ_AGAIN:
            if table.lost or table.unreadable:
                yield f"some rows of {name}: `clipsearch index` reads them again"
            continue
        if table.lost:
            paths = [str(to_path(table.names[id_])) for id_ in table.lost & table.names.keys()]
            named = f": {', '.join(sorted(paths)[:EXAMPLES])}" if paths else ""
            yield f"{len(table.lost)} rows of {name} could not be saved{named}"
        if table.unreadable and not table.all_known:
            yield f"some rows of {name} may be lost: part of the table can't be read"
