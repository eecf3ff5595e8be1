"""Opening catalog.sqlite, and the few ways in which the rest of the index talks to it."""

from __future__ import annotations

import itertools
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from clipsearch.errors import (
    LibraryClosed,
    LibraryDamaged,
    LibraryError,
    LibraryIncompatible,
    LibraryLocked,
    LibraryReadOnly,
)
from clipsearch.index.durable import NO_SPACE, disk_errors, put_in_place
from clipsearch.index.records import SCHEMA_VERSION
from clipsearch.index.schema import (
    APPLICATION_ID,
    CAUTIOUS_SETTINGS,
    NOT_TABLES,
    TABLES,
    check_version,
    header_of,
    is_sqlite,
    no_library,
    not_a_catalog,
)

BUSY_SECONDS = 10.0  # to wait for another program's transaction, such as an edit in Datasette
PAGE_SIZE = 8192  # bytes; few vectors fit the default of 4096 without waste
OLDEST_READABLE = 2  # schema: what came since is nothing that a search needs
HOW_TO_MEND = "`clipsearch check --repair` mends what can be mended"
HELD_BY_ANOTHER = "another program holds the catalog; try again when it is done"
# A mode for media that can't be written, on which SQLite makes no files of its own.
IMMUTABLE = "ro&immutable=1"
_LONGEST_REASON = 200
_SHARED_BYTES = 1 << 15  # what SQLite needs beside the catalog even to read it

# A batch that is committed survives a power cut.
_SETTINGS = (
    *CAUTIOUS_SETTINGS,
    "PRAGMA foreign_keys = ON",
    "PRAGMA recursive_triggers = ON",  # a row that REPLACE replaces counts as removed
    "PRAGMA synchronous = FULL",
    "PRAGMA cache_size = -16384",  # KiB: the paths of hits lie all over a large catalog
)

# SQLite's words -> our error. The words, for text that is no UTF-8 has no code.
_MEANINGS: tuple[tuple[str, type[LibraryError], str], ...] = (
    ("malformed", LibraryDamaged, "the catalog is damaged"),
    ("not a database", LibraryDamaged, "the catalog is damaged"),
    ("decode to UTF-8", LibraryDamaged, "the catalog is damaged"),
    ("constraint failed", LibraryDamaged, "the catalog does not fit together"),
    ("readonly", LibraryReadOnly, "the library can't be written to"),
    ("is full", LibraryError, NO_SPACE),
    ("locked", LibraryLocked, HELD_BY_ANOTHER),
    ("unable to open", LibraryError, "the catalog can't be opened"),
    ("disk I/O", LibraryError, "the disk of the library can't be read or written"),
)


State: TypeAlias = tuple[int, int, int]  # which connection, and what of its versions
_OF_CLOCK = -1  # in place of a connection's number


class Connection(sqlite3.Connection):
    """A connection to the catalog; what it tells of the catalog's state can't be another's."""

    _numbers = itertools.count()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.number = next(self._numbers)


class Database:
    """The catalog, for any thread; every SQLite error leaves it as a LibraryError.

    A thread has a connection of its own for one statement, or a whole transaction. Those that are
    free wait for the next thread, so that threads which come and go leave nothing behind.
    """

    # Open ones of this process. A fork must not touch its copies of their connections.
    _open: ClassVar[weakref.WeakSet[Database]] = weakref.WeakSet()
    _registering: ClassVar[threading.RLock] = threading.RLock()

    def __init__(self, path: Path, connection: Connection, mode: str = "rw") -> None:
        """Take the first connection, and the mode of `_connect` in which others are made."""
        self.path = path
        self._mode = mode
        self._process = os.getpid()
        self.schema = SCHEMA_VERSION  # when it was opened
        self.closed = False
        self._free = [connection]
        # .connection: the one of this thread's transaction; .begun: what the clock said before it
        self._mine = threading.local()
        # Tells of all commits, for states as several connections see them: never in a transaction.
        self._clock: Connection | None = None
        self._clock_lock = threading.Lock()
        self._told: dict[int, tuple[State, State]] = {}  # by connection: see `state`
        try:
            _set_up(connection, path)
            self._file = _identity(path)
        except BaseException:
            self.close()
            raise
        with self._registering:
            self._open.add(self)

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
            with db.connected() as connection:
                connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
                _migrate(connection)
                connection.execute("PRAGMA journal_mode = WAL")
        finally:
            db.close()

    @classmethod
    def open(cls, path: Path, *, read_only: bool) -> Database:
        """Open a catalog that exists; a file that is not ours to touch is not touched.

        One of an older schema has to be upgraded at once if it is opened for writing; for reading,
        one of OLDEST_READABLE is as good as a new one.
        Raises LibraryNotFound, LibraryIncompatible, LibraryReadOnly or LibraryDamaged.
        """
        cls.look_at_file(path, _check_header)
        if not read_only and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            raise LibraryReadOnly(f"{path.parent}: the library can't be written to")
        with cls._registering:
            db = cls(path, *(_connect_read_only(path) if read_only else (_connect(path, "rw"),)))
        try:
            db._check_schema(read_only=read_only)
            if not read_only and db.value("PRAGMA journal_mode") != "wal":
                db.write("PRAGMA journal_mode = WAL")  # after a repair or copy by other programs
        except BaseException:
            db.close()
            raise
        return db

    @classmethod
    def look_at_file(cls, path: Path, look: Callable[[Path], None]) -> None:
        """Let `look` read a catalog's file beside SQLite, unless this process has it open.

        To close the file would take SQLite's locks on it from the whole process: the next process
        to close the catalog would take its log away, and what is committed later would not be seen
        here. None is opened in another thread meanwhile.
        """
        with cls._registering:
            with suppress(OSError):  # which is for `look` to say
                state = path.stat()
                file = state.st_dev, state.st_ino
                if any(db._file == file and not db.closed for db in cls._open):
                    return
            look(path)

    def close(self) -> None:
        """Close the connections; one that a thread is using, as soon as it is done."""
        if os.getpid() != self._process:
            return
        self.closed = True
        with self._clock_lock:
            if self._clock is not None:
                self._clock.close()
                self._clock = None
        with suppress(IndexError):
            while True:
                self._free.pop().close()

    def check_open(self) -> None:
        """Raise LibraryClosed after `close`, and in a fork of the process that opened it."""
        if self.closed:
            raise LibraryClosed(f"{self.path.parent}: the library was closed; open it again")
        if os.getpid() != self._process:
            raise LibraryClosed(
                f"{self.path.parent}: the library was opened by the process that this one was "
                "forked from; open it in this one"
            )

    def schema_version(self) -> int:
        """Return the version of the schema."""
        return int(self.value("PRAGMA user_version"))

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with self.connected() as connection:
            return connection.execute(sql, parameters).fetchall()

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the first column of the first row, or None."""
        rows = self.rows(sql, parameters)
        return rows[0][0] if rows else None

    def upgrade(self) -> None:
        """Bring the schema up to date, in one transaction, or leave it as it was."""
        with self.connected() as connection:
            _migrate(connection)
        self.schema = SCHEMA_VERSION

    def copy_to(self, path: Path) -> None:
        """Write what is committed to a new file, safely on disk when this returns."""
        with self.connected() as connection:
            copy = _connect(path, "rwc")
            try:
                connection.backup(copy)
            finally:
                copy.close()

    def batches(
        self, sql: str, parameters: Sequence[Any], size: int
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a query in lists of up to `size`."""
        with self.connected() as connection:
            cursor = connection.execute(sql, parameters)
            while rows := cursor.fetchmany(size):
                yield rows

    def write(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement that writes."""
        with self.connected() as connection:
            connection.execute(sql, parameters)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Make the block one transaction: all of it is committed, or nothing."""
        with self._transaction("BEGIN IMMEDIATE"):
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Show the block one committed state, whatever others commit; may be nested."""
        if self._of_transaction() is not None:
            yield
        else:
            with self._transaction("BEGIN"):
                yield

    def state(self) -> State:
        """Return a value that differs whenever anything was committed since, here or elsewhere.

        It may also differ though nothing was; but as a rule it is the same for all who read in
        blocks, also on other connections, which SQLite tells apart.
        """
        with self.connected() as connection:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            own = connection.number, version, connection.total_changes
            begun = getattr(self._mine, "begun", None)
            if begun is None:
                return own
            told = self._told.get(connection.number)
            if told is None or told[0] != own:
                if self._time() != begun:  # somebody committed, before or after what is read
                    return own
                told = self._told[connection.number] = own, (_OF_CLOCK, begun, 0)
            return told[1]

    def _time(self) -> int | None:
        """Return a number that each commit changes; None while one connection is all there is."""
        if self._clock is None:
            return None
        with self._clock_lock:
            if self._clock is None:  # closed meanwhile
                return None
            version: int = self._clock.execute("PRAGMA data_version").fetchone()[0]
            return version

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with self._lent() as connection:
            with self._errors_translated():
                self._mine.begun = self._time() if begin == "BEGIN" else None
                connection.execute(begin)
            try:
                self._mine.connection = connection
                yield
                with self._errors_translated():
                    connection.commit()
            except BaseException:
                with suppress(sqlite3.DatabaseError):  # SQLite itself has rolled back, or will
                    connection.rollback()
                raise
            finally:
                self._mine.connection = self._mine.begun = None

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Lend this thread a connection for a statement, whose errors become ours."""
        with self._errors_translated(), self._lent() as connection:
            yield connection

    @contextmanager
    def _lent(self) -> Iterator[Connection]:
        """Lend this thread a connection: that of its transaction, else one that is free."""
        if (mine := self._of_transaction()) is not None:
            yield mine
            return
        connection = self._free_connection()
        try:
            yield connection
        finally:
            self._put_back(connection)

    def _of_transaction(self) -> Connection | None:
        return getattr(self._mine, "connection", None)

    def _free_connection(self) -> Connection:
        self.check_open()
        try:
            return self._free.pop()  # the last that was put back: what it has read is still there
        except IndexError:
            pass
        with self._clock_lock:
            if self._clock is None and not self.closed:  # from now on there are several
                self._clock = self._another_connection()
        return self._another_connection()

    def _another_connection(self) -> Connection:
        connection = _connect(self.path, self._mode)
        try:
            _set_up(connection, self.path)
            if _identity(self.path) != self._file:
                raise LibraryError(
                    f"{self.path.parent}: another library is in its place since it was opened "
                    "(restored or repaired, say); open it again"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _put_back(self, connection: Connection) -> None:
        if connection.in_transaction:  # an interrupt came between
            connection.close()
            return
        self._free.append(connection)
        if self.closed:  # meanwhile
            self.close()

    @contextmanager
    def _errors_translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # our mistake, not the library's state
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise _translated(error, self.path) from error

    @classmethod
    def leave_in_child(cls) -> None:
        """Let go of what a fork copied, unclosed: SQLite would take the parent's locks for ours."""
        cls._registering = threading.RLock()  # another thread may have held it
        for db in cls._open:
            mine = db._of_transaction()
            clock = db._clock
            _OF_THE_PARENT.extend([*db._free, *filter(None, (mine, clock))])
            db._free, db._mine = [], threading.local()
            db._clock, db._clock_lock = None, threading.Lock()

    def damaged(self, what: str) -> LibraryDamaged:
        """Return the error for a catalog that can't be right."""
        return LibraryDamaged(f"{self.path.parent}: the catalog is damaged ({what}); {HOW_TO_MEND}")

    def _check_schema(self, *, read_only: bool) -> None:
        self.schema = version = self.schema_version()
        check_version(self.path.parent, version)
        if version < OLDEST_READABLE and read_only:
            raise LibraryIncompatible(
                f"{self.path.parent}: made by an older clipsearch; "
                "run `clipsearch index` once to bring it up to date"
            )
        planted = TABLES & {name for (name,) in self.rows(NOT_TABLES)}
        if planted:
            raise self.damaged(f"{min(planted)} is not a table")


_OF_THE_PARENT: list[Connection] = []  # kept, for they would be closed when they are freed

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Database.leave_in_child)


def _migrate(connection: Connection) -> None:
    # Here, because it takes longer to import than a search takes.
    from sqlite_utils import Database as SqliteUtils

    from clipsearch.index.migrations import migrate

    # No plugins: what a user installed for the sqlite-utils command is none of ours.
    migrate(SqliteUtils(connection, execute_plugins=False))


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


def connect(path: Path, mode: str) -> Connection:
    """Connect without implicit transactions: each one is begun and ended by name.

    Any thread may use the connection, but no two at a time. Raises SQLite's own errors.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        factory=Connection,
    )


def _connect(path: Path, mode: str) -> Connection:
    try:
        return connect(path, mode)
    except sqlite3.OperationalError as error:
        raise _translated(error, path) from error


def _set_up(connection: Connection, path: Path) -> None:
    try:
        for setting in _SETTINGS:
            connection.execute(setting)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise _translated(error, path) from error


def _identity(path: Path) -> tuple[int, int]:
    """Return what tells this file from another that is put in its place."""
    with disk_errors(path.parent):
        state = path.stat()
    return state.st_dev, state.st_ino


def _connect_read_only(path: Path) -> tuple[Connection, str]:
    """Connect for reading, also where SQLite can't make its files beside the catalog.

    Returns the mode, too, in which that could be done.
    """
    connection = _connect(path, "ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_master").close()
    except UnicodeDecodeError as error:
        connection.close()
        raise _translated(error, path) from error
    except sqlite3.DatabaseError as error:
        connection.close()
        no_place = has_no_place(error)
        full = "disk I/O" in str(error) and _is_full(path)
        if not no_place and not full:
            raise _translated(error, path) from error
        wal, shared, journal = _beside(path)
        if full and _has_content(wal, journal):
            raise _translated(error, path) from error
        if no_place and _has_content(wal, shared, journal):
            raise unfinished(path.parent) from error
        # Nobody is writing, and all is in the one file. A library opened so does not follow what
        # others write to it later.
        return _connect(path, IMMUTABLE), IMMUTABLE
    return connection, "ro"


def has_no_place(error: sqlite3.DatabaseError | UnicodeDecodeError) -> bool:
    """Tell whether SQLite could not make its files beside a catalog that is read."""
    return any(words in str(error) for words in ("readonly", "unable to open"))


def unfinished(folder: Path) -> LibraryReadOnly:
    """Return the error for a library with a last batch that only a writer can finish."""
    return LibraryReadOnly(
        f"{folder}: its last writer did not finish; open it once where it can be written to"
    )


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
        header = header_of(path)
    except OSError as error:
        raise LibraryError(f"{path}: can't be read ({error.strerror})") from error
    if not header:
        raise no_library(path.parent)
    if not is_sqlite(header) or int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise not_a_catalog(path)
    check_version(path.parent, int.from_bytes(header[60:64], "big"))


def _beside(path: Path) -> list[Path]:
    """Return the files that SQLite may keep beside a database."""
    return [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal")]
