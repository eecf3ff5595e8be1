"""Opening catalog.sqlite, and the few ways in which the rest of the index talks to it."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clipsearch.errors import (
    LibraryDamaged,
    LibraryError,
    LibraryIncompatible,
    LibraryLocked,
    LibraryNotFound,
    LibraryReadOnly,
)
from clipsearch.index.durable import NO_SPACE, disk_errors, put_in_place
from clipsearch.index.schema import APPLICATION_ID, SCHEMA_VERSION, TABLES

BUSY_SECONDS = 10.0  # to wait for another program's transaction, such as an edit in Datasette
PAGE_SIZE = 8192  # bytes; few vectors fit the default of 4096 without waste
HOW_TO_MEND = "`clipsearch check --repair` mends what can be mended"
_LONGEST_REASON = 200
_SHARED_BYTES = 1 << 15  # what SQLite needs beside the catalog even to read it

# For a catalog from elsewhere: nothing planted in its schema calls what reaches beyond the file,
# and damaged pages are noticed early. A batch that is committed survives a power cut.
_SETTINGS = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA recursive_triggers = ON",  # a row that REPLACE replaces counts as removed
    "PRAGMA synchronous = FULL",
    "PRAGMA cache_size = -16384",  # KiB: the paths of hits lie all over a large catalog
)

# SQLite's words -> our error. The words, because Python 3.10 does not give the codes.
_MEANINGS: tuple[tuple[str, type[LibraryError], str], ...] = (
    ("malformed", LibraryDamaged, "the catalog is damaged"),
    ("not a database", LibraryDamaged, "the catalog is damaged"),
    ("decode to UTF-8", LibraryDamaged, "the catalog is damaged"),
    ("constraint failed", LibraryDamaged, "the catalog does not fit together"),
    ("readonly", LibraryReadOnly, "the library can't be written to"),
    ("is full", LibraryError, NO_SPACE),
    ("locked", LibraryLocked, "another program holds the catalog; try again when it is done"),
    ("unable to open", LibraryError, "the catalog can't be opened"),
    ("disk I/O", LibraryError, "the disk of the library can't be read or written"),
)


class Database:
    """A connection to the catalog; every SQLite error leaves it as a LibraryError.

    It belongs to the thread that opened it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection
        try:
            for setting in _SETTINGS:
                self.write(setting)
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, path: Path) -> None:
        """Put an empty catalog at `path`, whole or not at all; the writer lock must be held."""
        aside = path.with_name(path.name + ".new")
        with disk_errors(path.parent):
            for leftover in (aside, *_beside(aside), *_beside(path)):
                leftover.unlink(missing_ok=True)
            try:
                cls._create(aside)
                put_in_place(aside, path)
            except BaseException:
                for part in (aside, *_beside(aside)):
                    with suppress(OSError):
                        part.unlink()
                raise

    @classmethod
    def _create(cls, path: Path) -> None:
        db = cls(path, _connect(path, "rwc"))
        try:
            with db._errors_translated():
                db._db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
                db._migrate()
                db._db.execute("PRAGMA journal_mode = WAL")
        finally:
            db.close()

    @classmethod
    def open(cls, path: Path, *, read_only: bool) -> Database:
        """Open a catalog that exists; a file that is not ours to touch is not touched.

        One of an older schema is opened for writing only, and has to be upgraded at once.
        Raises LibraryNotFound, LibraryIncompatible, LibraryReadOnly or LibraryDamaged.
        """
        _check_header(path)
        if not read_only and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            raise LibraryReadOnly(f"{path.parent}: the library can't be written to")
        db = cls(path, _connect_read_only(path) if read_only else _connect(path, "rw"))
        try:
            db._check_schema(read_only=read_only)
            if not read_only and db.value("PRAGMA journal_mode") != "wal":
                db.write("PRAGMA journal_mode = WAL")  # after a repair or copy by other programs
        except BaseException:
            db.close()
            raise
        return db

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def schema_version(self) -> int:
        """Return the version of the schema."""
        return int(self.value("PRAGMA user_version"))

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with self._errors_translated():
            return self._db.execute(sql, parameters).fetchall()

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the first column of the first row, or None."""
        rows = self.rows(sql, parameters)
        return rows[0][0] if rows else None

    def upgrade(self) -> None:
        """Bring the schema up to date, in one transaction, or leave it as it was."""
        with self._errors_translated():
            self._migrate()

    def _migrate(self) -> None:
        # Here, because it takes longer to import than a search takes.
        from sqlite_utils import Database as SqliteUtils

        from clipsearch.index.migrations import migrate

        # No plugins: what a user installed for the sqlite-utils command is none of ours.
        migrate(SqliteUtils(self._db, execute_plugins=False))

    def copy_to(self, path: Path) -> None:
        """Write what is committed to a new file, safely on disk when this returns."""
        with self._errors_translated():
            connection = _connect(path, "rwc")
            try:
                self._db.backup(connection)
            finally:
                connection.close()

    def batches(
        self, sql: str, parameters: Sequence[Any], size: int
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a query in lists of up to `size`."""
        with self._errors_translated():
            cursor = self._db.execute(sql, parameters)
            while rows := cursor.fetchmany(size):
                yield rows

    def write(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement that writes."""
        with self._errors_translated():
            self._db.execute(sql, parameters)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Make the block one transaction: all of it is committed, or nothing."""
        with self._transaction("BEGIN IMMEDIATE"):
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Show the block one committed state, whatever others commit; may be nested."""
        if self._db.in_transaction:
            yield
        else:
            with self._transaction("BEGIN"):
                yield

    def state(self) -> tuple[int, int]:
        """Return a value that differs whenever anything was committed since, here or elsewhere."""
        return self.value("PRAGMA data_version"), self._db.total_changes

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        self.write(begin)
        try:
            yield
            with self._errors_translated():
                self._db.commit()
        except BaseException:
            with suppress(sqlite3.DatabaseError):  # SQLite itself has rolled back, or will
                self._db.rollback()
            raise

    @contextmanager
    def _errors_translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # our mistake, not the library's state
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise _translated(error, self.path) from error

    def damaged(self, what: str) -> LibraryDamaged:
        """Return the error for a catalog that can't be right."""
        return LibraryDamaged(f"{self.path.parent}: the catalog is damaged ({what}); {HOW_TO_MEND}")

    def _check_schema(self, *, read_only: bool) -> None:
        version = self.schema_version()
        _check_version(self.path, version)
        if version < SCHEMA_VERSION and read_only:
            raise LibraryIncompatible(
                f"{self.path.parent}: made by an older clipsearch; "
                "run `clipsearch index` once to bring it up to date"
            )
        # A view or virtual table in place of a table would run what it likes whenever it is read.
        others = "SELECT name FROM sqlite_master WHERE type <> 'table' OR coalesce(rootpage, 0) = 0"
        planted = TABLES & {name for (name,) in self.rows(others)}
        if planted:
            raise self.damaged(f"{min(planted)} is not a table")


def _translated(error: sqlite3.DatabaseError | UnicodeDecodeError, path: Path) -> LibraryError:
    if isinstance(error, UnicodeDecodeError):  # SQLite quotes the file's bytes in its error
        return LibraryDamaged(f"{path.parent}: the catalog is damaged; {HOW_TO_MEND}")
    said = " ".join(str(error).split())[:_LONGEST_REASON]  # it may quote the file
    if "disk I/O" in said and _is_full(path):
        return LibraryError(f"{path.parent}: {NO_SPACE} ({said})")
    for words, kind, meaning in _MEANINGS:
        if words in said:
            hint = f"; {HOW_TO_MEND}" if kind is LibraryDamaged else ""
            return kind(f"{path.parent}: {meaning} ({said}){hint}")
    return LibraryError(f"{path.parent}: the catalog can't be used ({said})")


def _is_full(path: Path) -> bool:
    import shutil

    try:
        return shutil.disk_usage(path.parent).free < _SHARED_BYTES
    except OSError:
        return False


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """Connect without implicit transactions: each one is begun and ended by name."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    try:
        return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    except sqlite3.OperationalError as error:
        raise _translated(error, path) from error


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """Connect for reading, also where SQLite can't make its files beside the catalog."""
    connection = _connect(path, "ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_master").close()
    except UnicodeDecodeError as error:
        connection.close()
        raise _translated(error, path) from error
    except sqlite3.DatabaseError as error:
        connection.close()
        no_place = any(words in str(error) for words in ("readonly", "unable to open"))
        full = "disk I/O" in str(error) and _is_full(path)
        if not no_place and not full:
            raise _translated(error, path) from error
        wal, shared, journal = _beside(path)
        if full and _has_content(wal, journal):
            raise _translated(error, path) from error
        if no_place and _has_content(wal, shared, journal):
            raise LibraryReadOnly(
                f"{path.parent}: its last writer did not finish; open it once where it can be "
                "written to"
            ) from error
        # Nobody is writing, and all is in the one file: read it as the constant it is. A library
        # opened so does not follow what others write to it later.
        return _connect(path, "ro&immutable=1")
    return connection


def _has_content(*files: Path) -> bool:
    with disk_errors(files[0].parent):
        there = [file for file in files if file.exists()]
        for file in there:
            if not file.is_file():
                raise LibraryError(f"{file}: not a file, but in the place of one")
        return any(file.stat().st_size for file in there)


def _check_header(path: Path) -> None:
    """Tell from the first 100 bytes, without SQLite touching the file, whether it is ours."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep us waiting
            raise LibraryIncompatible(f"{path}: not the catalog of a clipsearch library")
        with path.open("rb") as file:
            header = file.read(100)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _not_found(path) from error
    except OSError as error:
        raise LibraryError(f"{path}: can't be read ({error.strerror})") from error
    if not header:
        raise _not_found(path)
    foreign = not header.startswith(b"SQLite format 3\0") or len(header) < 100
    if foreign or int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise LibraryIncompatible(f"{path}: not the catalog of a clipsearch library")
    _check_version(path, int.from_bytes(header[60:64], "big"))


def _check_version(path: Path, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise LibraryIncompatible(
            f"{path.parent}: made by a newer clipsearch (schema {version}, "
            f"this one knows up to {SCHEMA_VERSION}); upgrade clipsearch"
        )


def _not_found(path: Path) -> LibraryNotFound:
    return LibraryNotFound(f"{path.parent}: no library here; make one with `clipsearch index PATH`")


def _beside(path: Path) -> list[Path]:
    """Return the files that SQLite may keep beside a database."""
    return [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal")]
