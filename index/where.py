"""A condition in SQL that a person writes, on a view of the photos: read only, and for a while.

What it may do is decided by SQLite's authorizer: read the tables behind the view, and call
functions that only calculate. Values in it are the person's own: it comes from nobody else, which
is why servers refuse it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import InvalidInput, one_line
from clipsearch.index.database import Connection, Database
from clipsearch.index.filter_sql import has_tags, stored

SECONDS = 10.0  # that a condition may take
VIEW = "photo"
_STEPS = 10_000  # of SQLite's machine, between two looks at the clock: some milliseconds at most
_TABLES = {VIEW, "photos", "tags", "photo_tags", "words"}
_FUNCTIONS = {
    *("abs", "acos", "asin", "atan", "atan2", "avg", "ceil", "char", "coalesce", "cos", "count"),
    *("date", "datetime", "degrees", "exp", "floor", "format", "glob", "hex", "ifnull", "iif"),
    *("instr", "julianday", "length", "like", "ln", "log", "lower", "ltrim", "max", "min", "mod"),
    *("nullif", "pi", "pow", "power", "radians", "replace", "round", "rtrim", "sign", "sin"),
    *("sqrt", "strftime", "substr", "substring", "sum", "tan", "time", "total", "trim", "trunc"),
    *("typeof", "unicode", "unixepoch", "upper", "group_concat"),
}
# What a condition can be wrong in; all else is wrong with the catalog.
_MISTAKES = {
    *(sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_TOOBIG),
    *(sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE),
}


def columns(schema: int) -> dict[str, str]:
    """Return the columns of the view by name, each with the SQL that makes it."""
    folder = f"rtrim(photos.path, replace(photos.path, '{os.sep}', ''))"
    tags = (
        "(SELECT group_concat(tags.name, ', ') FROM photo_tags JOIN tags "
        "ON tags.id = photo_tags.tag_id WHERE photo_tags.photo_id = photos.id)"
    )
    words = "(SELECT group_concat(words.text, ', ') FROM words WHERE words.photo_id = photos.id)"
    plain = ("format", "width", "height", "orientation", "camera", "lens", "latitude", "longitude")
    return {
        "id": "photos.id",
        "path": "photos.path",
        "folder": f"coalesce(nullif(rtrim({folder}, '{os.sep}'), ''), '{os.sep}')",
        "name": f"substr(photos.path, length({folder}) + 1)",
        "bytes": "photos.size",
        "moment": stored("moment", schema),
        "place": stored("place", schema),
        **{name: f"photos.{name}" for name in plain},
        "aspect": "photos.width * 1.0 / nullif(photos.height, 0)",
        "indexed_at": "photos.indexed_at",
        "tags": tags if has_tags(schema) else "NULL",
        "words": words if schema >= 5 else "NULL",
    }


def ids_where(db: Database, where: str) -> NDArray[np.int64]:
    """Return the ids (n,) of the photos for which a condition is true, in the state of the block.

    Raises InvalidInput for what is no condition, does what it may not, or takes too long.
    """
    view = ", ".join(f"{sql} AS {name}" for name, sql in columns(db.schema).items())
    # The line break ends a comment in the condition; and within CASE it can't end the SELECT.
    sql = (
        f"WITH {VIEW} AS (SELECT {view} FROM photos) "
        f"SELECT group_concat({VIEW}.id) FROM {VIEW} WHERE CASE WHEN ({where}\n) THEN 1 END"
    )
    with db.connected() as connection, _confined(connection):
        try:
            (ids,) = connection.execute(sql).fetchone()
        except (sqlite3.Warning, sqlite3.ProgrammingError, ValueError, UnicodeEncodeError) as error:
            raise InvalidInput("--where takes one condition, and no parameters") from error
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in _MISTAKES:
                raise
            raise InvalidInput(f"--where: {_said(error, db.schema)}") from error
    if not isinstance(ids, str | None):
        raise InvalidInput("--where takes one condition")
    return np.fromstring(ids or "", dtype=np.int64, sep=",")


def _said(error: sqlite3.DatabaseError, schema: int) -> str:
    said = one_line(error)
    if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
        return f"it took longer than {SECONDS:g} seconds"
    if "no such column" in said:
        return f"{said}; a photo has {', '.join(columns(schema))}"
    if error.sqlite_errorcode == sqlite3.SQLITE_AUTH:
        return f"it may only compare what the catalog says of photos ({said})"
    return said


@contextmanager
def _confined(connection: Connection) -> Iterator[None]:
    """Let a connection do no more than conditions may, and no longer."""
    deadline = time.monotonic() + SECONDS
    connection.set_authorizer(_authorize)
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, _STEPS)
        connection.set_authorizer(None)


def _authorize(
    action: int, first: str | None, second: str | None, database: str | None, view: str | None
) -> int:
    del database, view
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = second in _FUNCTIONS
    elif action == sqlite3.SQLITE_READ:
        allowed = first in _TABLES or not first  # none: what the condition itself selected
    else:
        allowed = action == sqlite3.SQLITE_SELECT
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY
