"""A catalog of today's schema as an older clipsearch would have left it."""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database as SqliteUtils

from clipsearch.index import migrations


def back_to_schema_4(connection: sqlite3.Connection) -> None:
    """Take out of a catalog what the fifth step of its schema put in."""
    older = SqliteUtils(memory=True)
    step = next(one.name for one in migrations._steps._migrations if one.name.startswith("m005"))
    migrations._steps.apply(older, stop_before=step)
    sql = "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type"
    kept = set(older.conn.execute(sql).fetchall())
    kinds = ("trigger", "view", "index", "table")
    newer = [row for row in connection.execute(sql).fetchall() if row not in kept]
    for kind, name in sorted(newer, key=lambda row: kinds.index(row[0])):
        connection.execute(f"DROP {kind} IF EXISTS [{name}]")
    columns = "SELECT name FROM pragma_table_info('photos')"
    there = {name for (name,) in older.conn.execute(columns)}
    for (name,) in connection.execute(columns).fetchall():
        if name not in there:
            connection.execute(f"ALTER TABLE photos DROP COLUMN [{name}]")
    connection.execute("DELETE FROM _sqlite_migrations WHERE name = ?", (step,))
    connection.execute("PRAGMA user_version = 4")
    older.close()
