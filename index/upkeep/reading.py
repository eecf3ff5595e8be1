"""A catalog that may be damaged, read as far as it can be, with plain SQLite's own errors.

`Database` refuses what is damaged; here it is to be described and mended. Nothing is written, no
lock is needed, and all that is said is said of one committed state, whatever others write
meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database as SqliteUtils

from clipsearch.errors import LibraryError, LibraryLocked
from clipsearch.index.database import (
    HELD_BY_ANOTHER,
    IMMUTABLE,
    Database,
    connect,
    has_no_place,
    unfinished,
)
from clipsearch.index.layout import Layout
from clipsearch.index.migrations import migrate
from clipsearch.index.paths import unescape
from clipsearch.index.records import ModelIdentity
from clipsearch.index.schema import (
    CAUTIOUS_SETTINGS,
    NOT_TABLES,
    TABLES,
    header_of,
    is_sqlite,
    no_library,
    not_a_catalog,
)

# What reading a damaged catalog raises; the latter for a message that quotes damaged text.
DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)

_ROWS_AT_ONCE = 10_000
_BLOCK = 1 << 20  # bytes
_OF_OUR_SCHEMA = (
    b"CREATE TABLE photos",
    b"CREATE TABLE embeddings",
    b"CREATE TRIGGER embedding_removed",
)
_MODELS = (
    "SELECT id, name, architecture, weights_sha256, preprocessing, width, fingerprint "
    "FROM models ORDER BY id"
)


class CatalogLost(Exception):
    """The catalog is not a SQLite database any more; never leaves checking and repairing."""


class HeaderDamaged(Exception):
    """What SQLite needs to open the catalog is lost, its pages are not; never leaves, either."""


@dataclass(frozen=True)
class CheckedModel:
    """A model as the catalog describes it."""

    id: int
    name: str
    width: int
    fingerprint: str
    intact: bool  # the row is what the fingerprint was made of


class Reading:
    """A read transaction on a catalog that may be damaged; errors are SQLite's own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        return self.connection.execute(sql, parameters).fetchall()

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the first column of the first row, or None."""
        rows = self.rows(sql, parameters)
        return rows[0][0] if rows else None

    def batches(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a query in lists."""
        cursor = self.connection.execute(sql, parameters)
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            yield rows

    def again(self) -> None:
        """Look at the state that is committed now."""
        self.connection.execute("ROLLBACK")
        self.connection.execute("BEGIN")


def check_header(folder: Path) -> None:
    """Raise unless there is a SQLite database with clipsearch's mark, or the remains of one.

    Of a catalog that is open in this process, SQLite tells whether it is one.
    """
    Database.look_at_file(Layout(folder).catalog, _check_header)


def _check_header(path: Path) -> None:
    folder = path.parent
    try:
        header = header_of(path)
    except OSError as error:
        raise LibraryError(f"{path}: {error.strerror}") from error
    if not header:
        if not Layout(folder).has_remains():
            raise no_library(folder)
        raise CatalogLost("the file is missing" if header is None else "the file is empty")
    if not is_sqlite(header):
        if holds_our_schema(path):
            raise HeaderDamaged("the catalog's header is overwritten")
        if not Layout(folder).has_remains():
            raise not_a_catalog(path)
        raise CatalogLost("the file is not a SQLite database any more")


def holds_our_schema(path: Path) -> bool:
    """Tell whether a file holds the definition of our tables: in its first pages, or in later ones.

    Where definitions were added later, SQLite moved them to where there was room.
    """
    before = b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            if any(text in before + block for text in _OF_OUR_SCHEMA):
                return True
            before = block[-max(map(len, _OF_OUR_SCHEMA)) :]
    return False


@contextmanager
def reading(path: Path) -> Iterator[Reading]:
    """Open a catalog for reading and show the block one committed state of it."""
    connection = _connect(path)
    try:
        connection.text_factory = any_text
        for setting in CAUTIOUS_SETTINGS:
            connection.execute(setting)
        connection.execute("BEGIN")
        yield Reading(connection)
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise LibraryLocked(f"{path.parent}: {HELD_BY_ANOTHER}") from error
        raise
    finally:
        connection.close()


def any_text(text: bytes) -> str:
    """Return text as it is, as `text_factory`: what is not UTF-8 is a finding, not an error."""
    return text.decode("utf-8", "surrogateescape")


def _connect(path: Path) -> sqlite3.Connection:
    for mode in ("ro", IMMUTABLE):
        connection = connect(path, mode)
        try:
            connection.execute("SELECT 1 FROM sqlite_master").close()
        except DAMAGE as error:
            if not has_no_place(error):
                return connection  # damaged: the check says how
            connection.close()
            wal = path.with_name(path.name + "-wal")
            if wal.exists() and wal.stat().st_size:
                raise unfinished(path.parent) from error
        else:
            return connection
    raise LibraryError(f"{path}: the catalog can't be opened")


def planted(state: Reading) -> list[str]:
    """Return the tables in whose place is a view, say, which runs what it likes when it is read."""
    with suppress(*DAMAGE):
        return sorted(TABLES & {name for (name,) in state.rows(NOT_TABLES)})
    return []


# The schema


def schema_steps(state: Reading) -> int:
    """Return the number of the last step that the schema went through; 0 if it can't be told."""
    with suppress(*DAMAGE, ValueError):
        names = state.rows("SELECT name FROM _sqlite_migrations WHERE migration_set = 'clipsearch'")
        return max((int(str(name)[1:4]) for (name,) in names), default=0)
    return 0


def expected_schema() -> dict[str, str]:
    """Return the SQL of each table, index, trigger and view of the present schema, by name."""
    db = SqliteUtils(memory=True)
    try:
        migrate(db)
        return schema_of(db.conn)
    finally:
        db.close()


def schema_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the SQL of each table, index, trigger and view that there is, by name."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {str(name): str(sql) for name, sql in rows}


def missing_definitions(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the SQL of what the schema lacks or has otherwise, by name; tables come first."""
    there = {name: sql.split() for name, sql in schema_of(connection).items()}
    expected = expected_schema()
    wrong = {name: sql for name, sql in expected.items() if there.get(name) != sql.split()}
    return dict(sorted(wrong.items(), key=lambda item: not item[1].startswith("CREATE TABLE")))


# Rows

# Tables with text, and the schema that they came with. What stands in the second kind can be read
# again from the photos and what lies beside them.
TEXT_TABLES = {
    **dict.fromkeys(("photos", "failures", "folders", "models", "library"), 1),
    "exclusions": 3,
    **dict.fromkeys(("tags", "tag_examples"), 5),
}
READ_AGAIN = {"words": 5, "sidecars": 5}


def models_of(state: Reading) -> list[CheckedModel]:
    """Return the models of the catalog, by id."""
    return [_model(row) for row in state.rows(_MODELS)]


def _model(row: tuple[Any, ...]) -> CheckedModel:
    id_, name, *parts, width, fingerprint = row
    try:
        identity = ModelIdentity(name, parts[0], parts[1], parts[2], width)
        intact = identity.fingerprint == fingerprint
    except UnicodeEncodeError:
        intact = False
    return CheckedModel(id_, unescape(name), width, fingerprint, intact)


def undecodable(state: Reading, table: str) -> list[int]:
    """Return the row ids of rows with text that is not UTF-8."""
    found: list[int] = []
    for rows in state.batches(f"SELECT rowid, * FROM {table}"):
        try:
            "".join(v for row in rows for v in row if type(v) is str).encode()
        except UnicodeEncodeError:
            found += [row[0] for row in rows if not is_utf8(row)]
    return found


def is_utf8(row: Sequence[Any]) -> bool:
    """Tell whether all text of a row is."""
    try:
        "".join(value for value in row if isinstance(value, str)).encode()
    except UnicodeEncodeError:
        return False
    return True
