"""Making a damaged catalog one that SQLite opens, and reading the pages that it then can't reach.

All of it happens to a working copy. What every catalog of ours has in common, the header and the
definitions of the tables, is written anew; a leaf page whose way from the root is lost is read by
itself, as https://www.sqlite.org/fileformat2.html describes it.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlite_utils import Database as SqliteUtils

from clipsearch.index.database import PAGE_SIZE
from clipsearch.index.migrations import migrate
from clipsearch.index.schema import APPLICATION_ID, MAGIC
from clipsearch.index.upkeep.reading import DAMAGE, expected_schema

_LEAF, _INTERIOR = 13, 5  # kinds of pages of a table
_LARGEST_CELL = PAGE_SIZE - 35  # a larger one goes on in other pages
_NUMBER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_NEEDED = ("photos", "embeddings", "models")


def make_working_copy(source: Path, target: Path) -> None:
    """Copy a catalog with its log, and make the copy one that SQLite opens, if that can be."""
    shutil.copyfile(source, target)
    log = source.with_name(f"{source.name}-wal")
    if log.exists():
        shutil.copyfile(log, target.with_name(f"{target.name}-wal"))
    with target.open("rb") as file:
        sound = file.read(len(MAGIC) + 2) == MAGIC + PAGE_SIZE.to_bytes(2, "big")
    if not sound:
        _write_header(target)
    with suppress(*DAMAGE), closing(sqlite3.connect(target)) as connection:
        connection.execute("PRAGMA writable_schema = ON")  # opens with damaged definitions, too
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if not _definitions_mended(target):
        _write_first_pages(target)


def _definitions_mended(path: Path) -> bool:
    """Give each definition its right text; return whether all that matter are there."""
    expected = expected_schema()
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.text_factory = bytes
            connection.execute("PRAGMA writable_schema = ON")
            rows = connection.execute("SELECT rowid, name, rootpage, sql FROM sqlite_master")
            there = {
                bytes(name).decode("utf-8", "replace"): (rowid, root, sql)
                for rowid, name, root, sql in rows.fetchall()
                if name is not None
            }
            if not all(name in there and there[name][1] for name in _NEEDED):
                return False
            for name, sql in expected.items():
                if name in there and there[name][2] != sql.encode():
                    update = "UPDATE sqlite_master SET sql = ? WHERE rowid = ?"
                    connection.execute(update, (sql, there[name][0]))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except (*DAMAGE, TypeError):
        return False
    return True


def _write_first_pages(path: Path) -> None:
    """Put the pages that define the tables in place, as they are in every new catalog of ours."""
    with TemporaryDirectory(dir=path.parent, prefix=f"{path.name}-") as folder:
        model = Path(folder) / "model"
        with closing(sqlite3.connect(model, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            migrate(SqliteUtils(connection, execute_plugins=False))
        data = model.read_bytes()
    with path.open("r+b") as file:
        for page in _schema_pages(data):
            start = (page - 1) * PAGE_SIZE
            file.seek(start)
            file.write(data[start : start + PAGE_SIZE])
    _write_header(path)


def _schema_pages(data: bytes) -> list[int]:
    """Return the pages of the table in which SQLite keeps the definitions."""
    if data[100] != _INTERIOR:
        return [1]
    cells = int.from_bytes(data[103:105], "big")
    at = [int.from_bytes(data[112 + 2 * i : 114 + 2 * i], "big") for i in range(cells)]
    children = [int.from_bytes(data[cell : cell + 4], "big") for cell in at]
    return [1, *children, int.from_bytes(data[108:112], "big")]


def _write_header(path: Path) -> None:
    """Give a catalog the 100 bytes with which every catalog begins; they hold no data."""
    pages = path.stat().st_size // PAGE_SIZE
    numbers = {24: 1, 28: pages, 40: 1, 44: 4, 56: 1, 68: APPLICATION_ID, 92: 1, 96: 3_040_000}
    header = bytearray(100)
    header[:16] = MAGIC
    header[16:18] = PAGE_SIZE.to_bytes(2, "big")
    header[18:24] = bytes((2, 2, 0, 64, 32, 32))
    for at, number in numbers.items():
        header[at : at + 4] = number.to_bytes(4, "big")
    with path.open("r+b") as file:
        file.write(header)


# Pages by themselves


def rows_in_leaves(path: Path) -> Iterator[tuple[int, list[Any]]]:
    """Yield row id and values of every row in a leaf page of any table, free pages left out.

    A page may be damaged: what comes out is to be believed only if something else says the same.
    """
    with path.open("rb") as file:
        free = _free_pages(path)
        number = 0
        while page := file.read(PAGE_SIZE):
            number += 1
            if len(page) == PAGE_SIZE and page[0] == _LEAF and number not in free:
                yield from _rows_of(page)


def _free_pages(path: Path) -> set[int]:
    """Return the pages that are not in use, as far as their list can be followed."""
    free: set[int] = set()
    pages = path.stat().st_size // PAGE_SIZE
    with path.open("rb") as file:
        trunk = int.from_bytes(file.read(36)[32:36], "big")
        while 0 < trunk <= pages and trunk not in free:
            free.add(trunk)
            file.seek((trunk - 1) * PAGE_SIZE)
            page = file.read(PAGE_SIZE)
            count = min(int.from_bytes(page[4:8], "big"), PAGE_SIZE // 4 - 2)
            free.update(int.from_bytes(page[8 + 4 * i : 12 + 4 * i], "big") for i in range(count))
            trunk = int.from_bytes(page[:4], "big")
    return free


def _rows_of(page: bytes) -> Iterator[tuple[int, list[Any]]]:
    for i in range(min(int.from_bytes(page[3:5], "big"), PAGE_SIZE // 4)):
        start = int.from_bytes(page[8 + 2 * i : 10 + 2 * i], "big")
        with suppress(IndexError, ValueError):
            length, at = _varint(page, start)
            rowid, at = _varint(page, at)
            if length <= _LARGEST_CELL and at + length <= PAGE_SIZE:
                yield rowid, _record(page[at : at + length])


def _record(data: bytes) -> list[Any]:
    """Return the values of a row; ValueError or IndexError if it is none."""
    end, at = _varint(data, 0)
    kinds = []
    while at < end:
        kind, at = _varint(data, at)
        kinds.append(kind)
    values = []
    for kind in kinds:
        value, at = _value(data, at, kind)
        values.append(value)
    if at != len(data):
        raise ValueError("not as long as it says")
    return values


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (0, 8, 9):
        return {0: None, 8: 0, 9: 1}[kind], at
    if kind in (10, 11):
        raise ValueError("no kind of value")
    size = _NUMBER_BYTES.get(kind, 8 if kind == 7 else (kind - 12) // 2)
    raw = data[at : at + size]
    if len(raw) < size:
        raise ValueError("cut off")
    at += size
    if kind < 7:
        return int.from_bytes(raw, "big", signed=True), at
    if kind == 7:
        return struct.unpack(">d", raw)[0], at
    return (raw.decode() if kind % 2 else raw), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(9):
        byte = data[at + i]
        if i == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value, at + i + 1
    raise ValueError("no number")
