"""Mending a library's catalog and vectors without losing anything that can still be read."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clipsearch.errors import LibraryDamaged, LibraryError, LibraryIncompatible, LibraryLocked
from clipsearch.index.database import HELD_BY_ANOTHER, Connection, Database, connect
from clipsearch.index.identities import kept_identity
from clipsearch.index.layout import Layout
from clipsearch.index.lock import writer_lock
from clipsearch.index.paths import escape
from clipsearch.index.photo_columns import dispensable
from clipsearch.index.records import SCHEMA_VERSION, utc_now
from clipsearch.index.schema import APPLICATION_ID
from clipsearch.index.upkeep.check_vectors import (
    IndexFile,
    VectorFindings,
    are_unit,
    compare_vectors,
    open_index_files,
)
from clipsearch.index.upkeep.checking import check_pages, lagging_sequences, leftovers
from clipsearch.index.upkeep.reading import (
    DAMAGE,
    READ_AGAIN,
    TEXT_TABLES,
    CatalogLost,
    CheckedModel,
    HeaderDamaged,
    Reading,
    any_text,
    check_header,
    is_utf8,
    missing_definitions,
    models_of,
    planted,
    schema_steps,
    undecodable,
)
from clipsearch.index.upkeep.salvaging import raise_sequence, read_again, salvage
from clipsearch.index.vectors.segments import rebuild
from clipsearch.index.word_search import word_index

# What SQLite says when a table is whole and an index does not match it.
_ONLY_AN_INDEX = re.compile(
    r"row \d+ missing from index|wrong # of entries in index|non-unique entry in index"
)


@dataclass
class Repairs:
    """What a repair did, a line each."""

    done: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # what could not be saved


def repair_catalog(folder: Path) -> Repairs:
    """Mend what is wrong with the catalog and its vectors; the lock is held meanwhile.

    Raises LibraryDamaged if nothing of the catalog can be read: then nothing is changed.
    """
    repairs = Repairs()
    with writer_lock(Layout(folder).lock):
        try:
            _mend_file(folder, repairs)
        except CatalogLost as error:
            raise LibraryDamaged(f"{folder}: the catalog is lost: {error}") from error
        with _errors_translated(folder), closing(_connect(Layout(folder).catalog)) as connection:
            _mend_rows(folder, connection, repairs)
            _mend_words(Database(Layout(folder).catalog, connection), repairs)
        _remove_leftovers(folder, repairs)
    return repairs


@contextmanager
def _errors_translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        if "locked" in str(error):
            raise LibraryLocked(f"{folder}: {HELD_BY_ANOTHER}") from error
        raise LibraryError(f"{folder}: the catalog can't be repaired ({error})") from error


def _connect(path: Path) -> Connection:
    connection = connect(path, "rw")
    connection.text_factory = any_text
    return connection


# The file


def _mend_file(folder: Path, repairs: Repairs) -> None:
    """Make the catalog one that SQLite finds sound."""
    try:
        check_header(folder)
    except HeaderDamaged:
        salvage(folder, repairs.done, repairs.lost)
        return
    try:
        with closing(_connect(Layout(folder).catalog)) as connection:
            if planted(Reading(connection)):
                raise LibraryDamaged(f"{folder}: names of tables belong to something else")
            _remove_damaged_words(connection)
            said = check_pages(Reading(connection)).problems
            if _tables_changed(connection):
                raise sqlite3.DatabaseError("its definitions are damaged")
            if not said or _reindexed(connection):
                if said:
                    repairs.done.append("made SQLite's indexes anew from their tables")
                _set_mark(connection, folder, repairs)
                return
    except DAMAGE as error:
        if "locked" in str(error):
            raise LibraryLocked(
                f"{folder}: another program holds the catalog; try again when it is done"
            ) from error
    salvage(folder, repairs.done, repairs.lost)


def _remove_damaged_words(connection: Connection) -> None:
    """Remove the index of words where a newer SQLite finds it damaged, and nothing else."""
    said = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(100000)")]
    if all(word_index.INDEX in line for line in said):
        connection.execute(f"DROP TABLE IF EXISTS {word_index.INDEX}")


def _tables_changed(connection: sqlite3.Connection) -> bool:
    """Tell whether a table that is there has another definition than it should have."""
    if connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
        return False
    there = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    wrong = missing_definitions(connection)
    return any(
        sql.startswith("CREATE TABLE") and connection.execute(there, (name,)).fetchall()
        for name, sql in wrong.items()
    )


def _reindexed(connection: sqlite3.Connection) -> bool:
    """Make the indexes anew if nothing else is damaged; return whether all is well then."""
    said = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(100000)")]
    if not all(_ONLY_AN_INDEX.search(line) for line in said):
        return False
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("REINDEX")
        well = not check_pages(Reading(connection)).problems
    except DAMAGE:  # two rows of a path that must be unique, say
        well = False
    connection.execute("COMMIT" if well else "ROLLBACK")
    return well


def _set_mark(connection: sqlite3.Connection, folder: Path, repairs: Repairs) -> None:
    """Let the catalog say what it is, if its own tables say so."""
    steps = schema_steps(Reading(connection))
    if not steps:
        return
    if steps > SCHEMA_VERSION:
        raise LibraryIncompatible(f"{folder}: not a catalog that this clipsearch knows")
    for name, value in (("application_id", APPLICATION_ID), ("user_version", steps)):
        if connection.execute(f"PRAGMA {name}").fetchone()[0] != value:
            connection.execute(f"PRAGMA {name} = {value}")
            repairs.done.append(f"set the catalog's {name.replace('_', ' ')} right")


# Rows


def _mend_rows(folder: Path, connection: sqlite3.Connection, repairs: Repairs) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        state = Reading(connection)
        _mend_schema(state, repairs)
        _drop_orphans(state, repairs)
        _mend_text(state, repairs)
        _mend_models(folder, state, repairs)
        models = [model for model in models_of(state) if model.intact]
        files = open_index_files(state, Layout(folder).vectors)
        to_build = [
            model
            for model in models
            if _mend_vectors(state, model, files.get(model.id, []), repairs)
        ]
        _mend_library_row(state, repairs)
        for table, least in lagging_sequences(state).items():
            raise_sequence(connection, table, least)
            repairs.done.append(f"set the highest id of {table} right")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    del files  # a file that is mapped can't be removed everywhere
    with closing(_connect(Layout(folder).catalog)) as own:
        db = Database(Layout(folder).catalog, own)
        for model in to_build:
            if db.schema_version() < SCHEMA_VERSION:
                db.write("DELETE FROM vector_indexes WHERE model_id = ?", (model.id,))
                repairs.done.append(f"gave up the index file of the model {model.name}")
            else:
                rebuild(db, Layout(folder).vectors, model.id, model.width)
                repairs.done.append(f"made the index file of the model {model.name} anew")


def _mend_schema(state: Reading, repairs: Repairs) -> None:
    """Make anew what the schema lacks; a table that is there is never touched."""
    if state.value("PRAGMA user_version") != SCHEMA_VERSION:
        return  # the next index run brings it up to date
    mended = []
    for name, sql in missing_definitions(state.connection).items():
        kind = sql.split()[1]
        if kind == "TABLE" and state.rows("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)):
            continue
        if kind != "TABLE":
            kind = "INDEX" if kind == "UNIQUE" else kind
            state.connection.execute(f"DROP {kind} IF EXISTS [{name}]")
        state.connection.execute(sql)
        mended.append(name)
    if mended:
        repairs.done.append(f"made definitions anew: {', '.join(mended)}")


def _drop_orphans(state: Reading, repairs: Repairs) -> None:
    orphans = state.rows("PRAGMA foreign_key_check")
    for table, rowid, _, _ in orphans:
        if table == "library":
            state.connection.execute("UPDATE library SET current_model = NULL")
        else:
            state.connection.execute(f"DELETE FROM [{table}] WHERE rowid = ?", (rowid,))
    if orphans:
        repairs.done.append(f"removed {len(orphans)} references to rows that are not there")


def _mend_text(state: Reading, repairs: Repairs) -> None:
    """Take out text that is none: what a photo can be without, or else the row."""
    version = state.value("PRAGMA user_version")
    columns = dispensable(version)
    for rowid in undecodable(state, "photos"):
        values = state.rows(f"SELECT {', '.join(columns)} FROM photos WHERE id = ?", (rowid,))
        for column, value in zip(columns, values[0], strict=True):
            if not is_utf8((value,)):
                sql = f"UPDATE photos SET {column} = NULL WHERE id = ?"
                state.connection.execute(sql, (rowid,))
                repairs.lost.append(f"the {column.replace('_', ' ')} of photo {rowid}")
    if any(undecodable(state, table) for table, since in READ_AGAIN.items() if version >= since):
        read_again(state.connection)
        repairs.done.append("dropped words that are not text: `clipsearch index` reads them again")
    newer = [
        name for name in ("exclusions", "tags", "tag_examples") if version >= TEXT_TABLES[name]
    ]
    for table in ("photos", "failures", *newer):
        dropped = undecodable(state, table)
        for rowid in dropped:
            state.connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))
        if dropped:
            repairs.lost.append(
                f"{len(dropped)} rows of {table}, which held bytes that are not text"
            )


def _mend_words(db: Database, repairs: Repairs) -> None:
    """Make the index of words anew if it is no good; it is derived from the rest."""
    if db.schema_version() < word_index.SINCE:
        return
    if faults := word_index.faults(db):
        repairs.done.append(f"made the index of words anew ({faults[0]})")
        word_index.make_anew(db)
    word_index.keep(db)


def _mend_models(folder: Path, state: Reading, repairs: Repairs) -> None:
    """Give a damaged row the identity that is kept beside the text model."""
    for model in models_of(state):
        identity = kept_identity(Layout(folder).model(Path(model.fingerprint).name))
        if model.intact or identity is None:
            continue
        state.connection.execute(
            "UPDATE models SET name = ?, architecture = ?, weights_sha256 = ?, "
            "preprocessing = ?, width = ? WHERE id = ?",
            (
                *(escape(identity.name), identity.architecture, identity.weights_sha256),
                *(identity.preprocessing, identity.width, model.id),
            ),
        )
        repairs.done.append(f"made the row of the model {identity.name} anew")


def _mend_library_row(state: Reading, repairs: Repairs) -> None:
    """Let the library have its row, and a model for queries if it had none any more."""
    most = state.value(
        "SELECT model_id FROM embeddings GROUP BY model_id ORDER BY count(*) DESC LIMIT 1"
    )
    if not state.rows("SELECT 1 FROM library WHERE id = 1"):
        state.connection.execute(
            "INSERT INTO library (id, created_at, current_model) VALUES (1, ?, ?)",
            (utc_now(), most),
        )
        repairs.done.append("made the library's own row anew; queries use the fullest model")


# Vectors


def _mend_vectors(
    state: Reading, model: CheckedModel, files: Sequence[IndexFile], repairs: Repairs
) -> bool:
    """Mend a model's embeddings; return whether its index files are to be made anew."""
    found = compare_vectors(state, model, files)
    dropped = {**{id_: photo for id_, (photo, _) in found.bad.items()}, **found.differing}
    for embedding_id in dropped:
        state.connection.execute("DELETE FROM embeddings WHERE id = ?", (embedding_id,))
    restored = set().union(*(_restore(state, model, file, dropped) for file in files))
    left = len(set(dropped) - restored)
    if restored:
        repairs.done.append(f"took {len(restored)} embeddings from the index file")
    if left:
        repairs.done.append(
            f"dropped {left} bad embeddings: `clipsearch index` makes them anew from the photos"
        )
    return bool(dropped or restored) or any(_file_is_wrong(file, found) for file in files)


def _file_is_wrong(file: IndexFile, found: VectorFindings) -> bool:
    return bool(file.fault or found.missing[file.name] or found.surplus[file.name])


def _restore(
    state: Reading, model: CheckedModel, file: IndexFile, dropped: dict[int, int]
) -> set[int]:
    """Take from an intact index file the embeddings that the catalog lost; return their ids.

    The file holds what the catalog held, bit by bit; it says nothing of what is newer than it.
    """
    if file.index is None:
        return set()
    ids = file.index.ids
    removed = {
        row[0]
        for row in state.rows(
            "SELECT embedding_id FROM removed_embeddings WHERE model_id = ?", (model.id,)
        )
    }
    have = {row[0] for row in state.rows(_HAVE, (model.id,))}
    photos = {row[0] for row in state.rows("SELECT id FROM photos")}
    restored = set()
    for row in np.flatnonzero(~np.isin(ids[:, 1], list(have))).tolist():
        embedding_id, photo_id = ids[row].tolist()
        gone = embedding_id in removed and embedding_id not in dropped
        if gone or photo_id not in photos or dropped.get(embedding_id, photo_id) != photo_id:
            continue
        vector = file.index.vectors(row, 1)
        if are_unit(vector).all():
            values = (embedding_id, photo_id, model.id, vector.astype("<f2").tobytes())
            state.connection.execute(_INSERT, values)
            restored.add(embedding_id)
    for embedding_id in restored:
        state.connection.execute(
            "DELETE FROM removed_embeddings WHERE model_id = ? AND embedding_id = ?",
            (model.id, embedding_id),
        )
    return restored


_HAVE = "SELECT photo_id FROM embeddings WHERE model_id = ?"
_INSERT = "INSERT OR IGNORE INTO embeddings (id, photo_id, model_id, vector) VALUES (?, ?, ?, ?)"


# Leftovers


def _remove_leftovers(folder: Path, repairs: Repairs) -> None:
    removed = []
    for path in leftovers(folder):
        try:
            _remove(path)
        except OSError:
            continue  # in use on a system that keeps such files
        removed.append(path.name)
    if removed:
        repairs.done.append(f"removed what stopped runs left: {', '.join(removed)}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
