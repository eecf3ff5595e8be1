"""Paths that began with two slashes, which an older clipsearch took for others than with one."""

from __future__ import annotations

import os

from clipsearch.index.database import Database

_TABLES = ("photos", "failures", "folders", "mounts")
_SUCH = "path >= '//' AND path < '/0'"  # "0" follows "/"; a range, for which there is an index


def join_double_slashes(db: Database) -> None:
    """Give the rows of such paths the one path of their file; where it has a row, they go."""
    if os.name != "posix":  # \\\\server\\share has its own meaning
        return
    exist = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE {_SUCH})" for table in _TABLES)
    if not db.value(f"SELECT {exist}"):
        return
    with db.writing():
        for table in _TABLES:
            twice = f"{_SUCH} AND substr(path, 2) IN (SELECT path FROM {table})"
            db.write(f"DELETE FROM {table} WHERE {twice}")
            db.write(f"UPDATE {table} SET path = substr(path, 2) WHERE {_SUCH}")
