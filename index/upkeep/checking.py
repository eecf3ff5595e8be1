"""Looking for everything that can be wrong with a library's catalog and vectors.

This works below `Store`, with plain SQLite: a catalog that is damaged is to be described, not
refused. Nothing is written, no lock is needed, and all that is said is said of one committed
state, whatever others write meanwhile.
"""

from __future__ import annotations

import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database as SqliteUtils

from clipsearch.errors import (
    LibraryError,
    LibraryIncompatible,
    LibraryLocked,
    LibraryNotFound,
    LibraryReadOnly,
)
from clipsearch.index.migrations import APPLICATION_ID, SCHEMA_VERSION, TABLES, migrate
from clipsearch.index.paths import to_path, unescape
from clipsearch.index.records import FileState, Folder, ModelIdentity
from clipsearch.index.upkeep.findings import Checked, Problem
from clipsearch.index.vectors.vector_files import FileStamp, UnusableFile
from clipsearch.index.vectors.vector_index import VectorIndex

CATALOG = "catalog.sqlite"
MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100

NOTHING_TO_SAVE = (
    "restore a backup into an empty folder (`clipsearch restore FILE`), or move "
    f"{CATALOG} away and index anew"
)
REPAIR = "`clipsearch check --repair`"
REMADE_BY_INDEX = f"{REPAIR}; what it can't save, `clipsearch index` makes anew"

# A unit vector rounded to float16 is off by less than 0.0005; a broken one is far off.
UNIT_TOLERANCE = 0.002

# What reading a damaged catalog raises; the latter for a message that quotes damaged text.
DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)

_BUSY_SECONDS = 10.0
# Nothing planted in a schema calls what reaches beyond the file; damaged pages are noticed early.
_SETTINGS = ("PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON")
_ROWS_AT_ONCE = 10_000
_FIRST_PAGES = 1 << 17  # bytes
_OF_OUR_SCHEMA = (
    b"CREATE TABLE photos",
    b"CREATE TABLE embeddings",
    b"CREATE TRIGGER embedding_removed",
)
_MESSAGES = 20  # of SQLite's own check


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


@dataclass(frozen=True)
class CheckedPhoto:
    """What the catalog knows of a photo's file."""

    file: FileState
    content_hash: str


@dataclass
class CatalogFindings:
    """What is wrong with a catalog and its vectors, and what else a check needs to know of it."""

    parts: list[Checked] = field(default_factory=list)
    models: list[CheckedModel] = field(default_factory=list)
    photos: list[CheckedPhoto] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    mounts: list[Path] = field(default_factory=list)


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


def check_catalog(folder: Path, *, photos: bool = False) -> CatalogFindings:
    """Check all that the catalog and vectors/ hold; with `photos`, also return the photo rows.

    Raises LibraryNotFound, LibraryIncompatible (of a newer clipsearch, or none of ours),
    LibraryLocked or another LibraryError where nothing can be read at all.
    """
    found = CatalogFindings()
    try:
        check_header(folder)
        with reading(folder / CATALOG) as state:
            _check_state(state, folder, found, photos=photos)
    except HeaderDamaged as error:
        problem = Problem(str(error), REMADE_BY_INDEX)
        found.parts.append(Checked("catalog file", 1, "file", (problem,)))
    except CatalogLost as error:
        found.parts.append(Checked("catalog file", 1, "file", (lost(str(error)),)))
    except DAMAGE as error:
        found.parts.append(Checked("catalog file", 1, "file", (_unreadable(error, "it"),)))
    return found


def lost(why: str) -> Problem:
    """Return the problem of a catalog of which nothing can be read."""
    return Problem(
        f"the catalog is lost: {why}",
        f"nothing of it can be read, so nothing can be repaired: {NOTHING_TO_SAVE}",
        is_final=True,
    )


def check_header(folder: Path) -> None:
    """Raise unless there is a SQLite database with clipsearch's mark, or the remains of one."""
    path = folder / CATALOG
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep us waiting
            raise LibraryIncompatible(f"{path}: not the catalog of a clipsearch library")
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        header = None
    except OSError as error:
        raise LibraryError(f"{path}: {error.strerror}") from error
    if not header:
        if not _has_remains(folder):
            raise LibraryNotFound(
                f"{folder}: no library here; make one with `clipsearch index PATH`"
            )
        raise CatalogLost("the file is missing" if header is None else "the file is empty")
    if not header.startswith(MAGIC) or len(header) < HEADER_BYTES:
        if holds_our_schema(path):
            raise HeaderDamaged("the catalog's header is overwritten")
        if not _has_remains(folder):
            raise LibraryIncompatible(f"{path}: not the catalog of a clipsearch library")
        raise CatalogLost("the file is not a SQLite database any more")


def holds_our_schema(path: Path) -> bool:
    """Tell whether the first pages of a file hold the definition of our tables."""
    with path.open("rb") as file:
        pages = file.read(_FIRST_PAGES)
    return any(text in pages for text in _OF_OUR_SCHEMA)


def _has_remains(folder: Path) -> bool:
    """Tell whether a folder holds what only a library has beside its catalog."""
    return any(folder.glob("vectors/model-*.faiss")) or any(folder.glob("models/*/text.onnx"))


@contextmanager
def reading(path: Path) -> Iterator[Reading]:
    """Open a catalog for reading and show the block one committed state of it."""
    connection = _connect(path)
    try:
        # Text comes as it is: what is not UTF-8 is a finding, not an error.
        connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
        for setting in _SETTINGS:
            connection.execute(setting)
        connection.execute("BEGIN")
        yield Reading(connection)
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise LibraryLocked(
                f"{path.parent}: another program holds the catalog; try again when it is done"
            ) from error
        raise
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    uri = path.absolute().as_uri()
    for mode in ("mode=ro", "mode=ro&immutable=1"):  # the latter for media that can't be written
        connection = sqlite3.connect(
            f"{uri}?{mode}", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
        )
        try:
            connection.execute("SELECT 1 FROM sqlite_master").close()
        except DAMAGE as error:
            if not any(words in str(error) for words in ("readonly", "unable to open")):
                return connection  # damaged: the check says how
            connection.close()
            wal = path.with_name(path.name + "-wal")
            if wal.exists() and wal.stat().st_size:
                raise LibraryReadOnly(
                    f"{path.parent}: its last writer did not finish; open it once where it can "
                    "be written to"
                ) from error
        else:
            return connection
    raise LibraryError(f"{path}: the catalog can't be opened")


def _check_state(state: Reading, folder: Path, found: CatalogFindings, *, photos: bool) -> None:
    if strange := planted(state):
        what = "names of tables belong to something else, which is not looked at"
        planted_there = Problem.of(strange, what, "restore a backup, or index into a new library")
        found.parts.append(Checked("tables", len(TABLES), "definition", planted_there))
        return
    files = open_index_files(state, folder / "vectors")
    found.parts.append(check_pages(state))
    version, problems, notes = _check_version(state, folder)
    with _reported(found, "tables"):
        found.parts.append(_check_schema(state, version, problems, notes))
    with _reported(found, "rows"):
        found.models = models_of(state)
        found.parts.append(_check_rows(state, found.models))
    with _reported(found, "embeddings"):
        found.parts.extend(_check_vectors(state, found.models, files))
    if photos:
        with _reported(found, "photos"):
            found.photos = [_photo(row) for row in state.rows(_PHOTO_FILES)]
            found.folders = [Folder(to_path(path), *rest) for path, *rest in state.rows(_FOLDERS)]
            if version >= 2:
                found.mounts = [to_path(path) for (path,) in state.rows("SELECT path FROM mounts")]


@contextmanager
def _reported(found: CatalogFindings, part: str) -> Iterator[None]:
    """Turn an error of SQLite into a problem of this part."""
    try:
        yield
    except DAMAGE as error:
        if "locked" in str(error):
            raise
        found.parts.append(Checked(part, 0, "row", (_unreadable(error, f"the {part}"),)))


def _unreadable(error: Exception, what: str) -> Problem:
    return Problem(f"{what} can't be read: {error}", REMADE_BY_INDEX)


def planted(state: Reading) -> list[str]:
    """Return the tables in whose place is a view, say, which runs what it likes when it is read."""
    others = "SELECT name FROM sqlite_master WHERE type <> 'table' OR coalesce(rootpage, 0) = 0"
    with suppress(*DAMAGE):
        return sorted(TABLES & {name for (name,) in state.rows(others)})
    return []


# The file and the schema


def check_pages(state: Reading) -> Checked:
    """Let SQLite look at every page, row and index."""
    pages = 0
    with suppress(*DAMAGE):
        pages = int(state.value("PRAGMA page_count"))
    try:
        said = [str(row[0]) for row in state.rows(f"PRAGMA integrity_check({_MESSAGES})")]
    except DAMAGE as error:
        if "locked" in str(error):
            raise
        said = [str(error)]
    wrong = [" ".join(line.split()) for line in said if line != "ok"]
    problems = Problem.of(wrong, "SQLite finds the catalog damaged", REMADE_BY_INDEX)
    return Checked("catalog file", pages, "page", problems)


def _check_version(state: Reading, folder: Path) -> tuple[int, list[Problem], list[str]]:
    """Return the schema's version; raise if it is none that this clipsearch knows."""
    problems = []
    version = int(state.value("PRAGMA user_version"))
    steps = schema_steps(state)
    if state.value("PRAGMA application_id") != APPLICATION_ID:
        if not steps:
            raise LibraryIncompatible(f"{folder}: not the catalog of a clipsearch library")
        problems.append(Problem("the catalog does not bear clipsearch's mark", REPAIR))
    if steps and version != steps:
        problems.append(
            Problem(f"the catalog calls itself schema {version} and is schema {steps}", REPAIR)
        )
        version = steps
    if version > SCHEMA_VERSION:
        raise LibraryIncompatible(
            f"{folder}: made by a newer clipsearch (schema {version}, this one knows up to "
            f"{SCHEMA_VERSION}); upgrade clipsearch"
        )
    older = f"made by an older clipsearch (schema {version}); the next index run brings it up"
    return version, problems, [f"{older} to date"] if version < SCHEMA_VERSION else []


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
        return _schema(db.conn)
    finally:
        db.close()


def _schema(connection: sqlite3.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {str(name): str(sql) for name, sql in rows}


def missing_definitions(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the SQL of what the schema lacks or has otherwise, by name; tables come first."""
    there = {name: sql.split() for name, sql in _schema(connection).items()}
    expected = expected_schema()
    wrong = {name: sql for name, sql in expected.items() if there.get(name) != sql.split()}
    return dict(sorted(wrong.items(), key=lambda item: not item[1].startswith("CREATE TABLE")))


def _check_schema(
    state: Reading, version: int, problems: list[Problem], notes: list[str]
) -> Checked:
    if version == SCHEMA_VERSION:
        wrong = list(missing_definitions(state.connection))
        what = "definitions are missing or changed"
        problems.extend(Problem.of(wrong, what, REPAIR))
    return Checked(
        "tables", len(_schema(state.connection)), "definition", tuple(problems), tuple(notes)
    )


# Rows

_PHOTO_FILES = "SELECT path, size, mtime_ns, content_hash FROM photos ORDER BY path"
_MODELS = (
    "SELECT id, name, architecture, weights_sha256, preprocessing, width, fingerprint "
    "FROM models ORDER BY id"
)
_FOLDERS = "SELECT path, kind, added_at, scanned_at FROM folders ORDER BY path"
_TEXT_TABLES = ("photos", "failures", "folders", "models", "library")


def _photo(row: tuple[Any, ...]) -> CheckedPhoto:
    text, size, mtime_ns, content_hash = row
    return CheckedPhoto(FileState(to_path(text), size, mtime_ns), content_hash)


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


def _check_rows(state: Reading, models: Sequence[CheckedModel]) -> Checked:
    count = sum(state.value(f"SELECT count(*) FROM {table}") for table in _TEXT_TABLES)
    problems = [*_orphans(state), *_not_text(state), *_library_row(state)]
    problems += Problem.of(
        list(lagging_sequences(state)), "tables would give an id for the second time", REPAIR
    )
    problems += Problem.of(
        [model.name for model in models if not model.intact],
        "rows of models are not what their fingerprints were made of",
        "restore a backup, or index into a new library",
    )
    problems += Problem.of(
        _paths_of(
            state,
            "SELECT path FROM photos WHERE NOT EXISTS "
            "(SELECT 1 FROM embeddings WHERE photo_id = photos.id) ORDER BY path",
        ),
        "photos have no embedding, so that no query finds them",
        "`clipsearch index` makes them",
    )
    return Checked("rows", count, "row", tuple(problems), tuple(_unfinished(state)))


def _paths_of(state: Reading, sql: str) -> list[str]:
    return [str(to_path(path)) for (path,) in state.rows(sql)]


def _orphans(state: Reading) -> tuple[Problem, ...]:
    found = [
        f"{table} row {rowid} names no row of {parent}"
        for table, rowid, parent, _ in state.rows("PRAGMA foreign_key_check")
    ]
    return Problem.of(found, "rows belong to rows that are not there", REPAIR)


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


def _not_text(state: Reading) -> tuple[Problem, ...]:
    found = [f"{table} row {id_}" for table in _TEXT_TABLES for id_ in undecodable(state, table)]
    return Problem.of(found, "rows hold bytes that are not text", REMADE_BY_INDEX)


def _library_row(state: Reading) -> Iterator[Problem]:
    if not state.rows("SELECT 1 FROM library WHERE id = 1"):
        yield Problem("the row that says which model queries use is missing", REPAIR)


def lagging_sequences(state: Reading) -> dict[str, int]:
    """Return the tables that would give an id for the second time, with the highest one given."""
    given = {
        "photos": "SELECT max(id) FROM photos",
        "embeddings": "SELECT max(id) FROM (SELECT max(id) AS id FROM embeddings "
        "UNION ALL SELECT max(embedding_id) FROM removed_embeddings "
        "UNION ALL SELECT max(watermark) FROM vector_indexes)",
    }
    said = dict(state.rows("SELECT name, seq FROM sqlite_sequence"))
    highest = {table: state.value(sql) or 0 for table, sql in given.items()}
    return {table: id_ for table, id_ in highest.items() if (said.get(table) or 0) < id_}


def _unfinished(state: Reading) -> Iterator[str]:
    """Yield what an index run that is under way, or was stopped, leaves to the next one."""
    current = state.value("SELECT current_model FROM library")
    if current is None:
        if state.value("SELECT count(*) FROM embeddings"):
            yield "no model is chosen yet: the first index run has not finished"
        return
    others = state.value(
        "SELECT count(*) FROM photos WHERE NOT EXISTS (SELECT 1 FROM embeddings "
        "WHERE photo_id = photos.id AND model_id = ?) AND EXISTS "
        "(SELECT 1 FROM embeddings WHERE photo_id = photos.id)",
        (current,),
    )
    if others:
        yield (
            f"{others} photos are embedded by another model only: a change of model has not "
            "finished, `clipsearch index` goes on"
        )


# Vectors


@dataclass(frozen=True)
class IndexFile:
    """An index file of a model, open, or why it is no good."""

    name: str
    stamp: FileStamp
    after: int  # it holds the embeddings with ids above this one, up to its watermark
    index: VectorIndex | None
    fault: str = ""


@dataclass
class VectorFindings:
    """What is wrong with the vectors of one model."""

    looked_at: int = 0
    bad: dict[int, tuple[int, str]] = field(default_factory=dict)  # embedding -> photo, why
    differing: dict[int, int] = field(default_factory=dict)  # embedding -> photo: file is right
    # By file: embeddings in the catalog, not in the file that should cover them; and in the file,
    # neither in the catalog nor known as removed.
    missing: Counter[str] = field(default_factory=Counter)
    surplus: Counter[str] = field(default_factory=Counter)


def open_index_files(state: Reading, folder: Path) -> dict[int, list[IndexFile]]:
    """Open the files that the catalog names, by model, in the state in which it names them.

    A writer may replace a file between the two; then a newer state names another.
    """
    try:
        named = _named_files(state)
        while True:
            files = _open_files(named, folder)
            if all(file.index for some in files.values() for file in some):
                return files
            before = named
            state.again()
            named = _named_files(state)
            if named == before:
                return files
    except DAMAGE as error:
        if "locked" in str(error):
            raise
        return {}  # the damage is reported where the catalog itself is looked at


def _named_files(state: Reading) -> list[tuple[Any, ...]]:
    known = {row[1] for row in state.rows("PRAGMA table_info(vector_indexes)")}
    lists = "lists, probes" if "lists" in known else "0, 0"  # of schema 1
    return state.rows(
        f"SELECT model_id, file, vectors, width, watermark, bytes, checksum, {lists} "
        "FROM vector_indexes JOIN models ON models.id = model_id ORDER BY model_id, watermark"
    )


def _open_files(named: Sequence[tuple[Any, ...]], folder: Path) -> dict[int, list[IndexFile]]:
    files: dict[int, list[IndexFile]] = {}
    for model_id, name, *stamp in named:
        of_model = files.setdefault(model_id, [])
        after = of_model[-1].stamp.watermark if of_model else 0
        of_model.append(_open_file(folder, name, FileStamp(*stamp), after))
    return files


def _open_file(folder: Path, name: str, stamp: FileStamp, after: int) -> IndexFile:
    """Open an index file, all of it compared with its checksum."""
    if Path(name).name != name or not name:
        return IndexFile(name, stamp, after, None, "has a name that is no file name")
    try:
        index = VectorIndex.open(folder / name, stamp, verify=True)
        return IndexFile(name, stamp, after, index)
    except (UnusableFile, ValueError, MemoryError) as error:  # the stamp may be damaged, too
        return IndexFile(name, stamp, after, None, str(error) or "can't be read")


def compare_vectors(
    state: Reading, model: CheckedModel, files: Sequence[IndexFile]
) -> VectorFindings:
    """Look at every embedding of a model, and compare it with its row in the index files."""
    found = VectorFindings()
    in_catalog = {file.name: np.zeros(len(file.index), dtype=bool) for file in files if file.index}
    sql = "SELECT id, photo_id, vector FROM embeddings WHERE model_id = ? ORDER BY id"
    for rows in state.batches(sql, (model.id,)):
        found.looked_at += len(rows)
        good, vectors = _look_at(rows, model.width, found)
        ids = np.array([row[:2] for row in rows], dtype=np.int64)
        for file in files:
            if file.index:
                covered = (ids[:, 0] > file.after) & (ids[:, 0] <= file.stamp.watermark)
                at, same = _found_in(file.index.ids, ids, covered)
                in_catalog[file.name][at[same]] = True
                found.missing[file.name] += int((covered & ~same).sum())
                _compare(file.index, at, same & good, vectors, ids, found)
    removed = [
        row[0]
        for row in state.rows(
            "SELECT embedding_id FROM removed_embeddings WHERE model_id = ?", (model.id,)
        )
    ]
    for file in files:
        if file.index:
            known = in_catalog[file.name] | np.isin(file.index.ids[:, 0], removed)
            found.surplus[file.name] = int((~known).sum())
    return found


def _found_in(
    file_ids: NDArray[np.int64], ids: NDArray[np.int64], covered: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return at which rows of a file these ids should stand, and whether they do."""
    at = np.searchsorted(file_ids[:, 0], ids[:, 0]).clip(max=len(file_ids) - 1)
    return at, covered & (file_ids[at] == ids).all(axis=1)


def _look_at(
    rows: Sequence[tuple[Any, ...]], width: int, found: VectorFindings
) -> tuple[NDArray[np.bool_], NDArray[np.float16]]:
    """Return which rows hold unit vectors, and the vectors of all (zeros where there is none)."""
    zeros = bytes(2 * width)
    fits = np.array([type(row[2]) is bytes and len(row[2]) == 2 * width for row in rows])
    blobs = [row[2] if fit else zeros for row, fit in zip(rows, fits, strict=True)]
    vectors = np.frombuffer(b"".join(blobs), dtype="<f2").reshape(len(rows), width)
    good: NDArray[np.bool_] = fits & are_unit(vectors)
    for i in np.flatnonzero(~good).tolist():
        why = "not unit length" if np.isfinite(vectors[i]).all() else "not finite"
        found.bad[rows[i][0]] = (rows[i][1], why if fits[i] else "wrong size")
    return good, vectors


def are_unit(vectors: NDArray[np.float16]) -> NDArray[np.bool_]:
    """Return which vectors [n, width] are finite and of unit length, as far as float16 goes."""
    numbers = vectors.astype(np.float32)
    squares = np.einsum("ij,ij->i", numbers, numbers)
    unit: NDArray[np.bool_] = np.abs(np.sqrt(squares) - 1) <= UNIT_TOLERANCE  # NaN is not
    return unit


def _compare(
    index: VectorIndex,
    at: NDArray[np.intp],
    which: NDArray[np.bool_],
    vectors: NDArray[np.float16],
    ids: NDArray[np.int64],
    found: VectorFindings,
) -> None:
    """Note the rows, of those chosen, whose vector in the file differs; both are in id order."""
    chosen = np.flatnonzero(which)
    if not len(chosen):
        return
    first, last = int(at[chosen[0]]), int(at[chosen[-1]])
    stored = index.vectors(first, last - first + 1)
    differs = (stored[at[chosen] - first] != vectors[chosen]).any(axis=1)
    found.differing.update({int(id_): int(photo) for id_, photo in ids[chosen[differs]]})


def _check_vectors(
    state: Reading, models: Sequence[CheckedModel], files: dict[int, list[IndexFile]]
) -> Iterator[Checked]:
    embeddings: list[Problem] = []
    index: list[Problem] = []
    looked_at = in_files = 0
    for model in models:
        if not model.intact:
            continue  # its width may be any number; said where the rows are looked at
        of_model = files.get(model.id, [])
        found = compare_vectors(state, model, of_model)
        looked_at += found.looked_at
        in_files += sum(file.stamp.vectors for file in of_model)
        embeddings += _embedding_problems(state, found)
        for file in of_model:
            index += _file_problems(file, found)
    yield Checked("embeddings", looked_at, "vector", tuple(embeddings))
    yield Checked("vector index", in_files, "vector", tuple(index))


def _embedding_problems(state: Reading, found: VectorFindings) -> Iterator[Problem]:
    for why in sorted({why for _, why in found.bad.values()}):
        photos = [photo for photo, said in found.bad.values() if said == why]
        yield from Problem.of(_names(state, photos), f"embeddings: {why}", REMADE_BY_INDEX)
    yield from Problem.of(
        _names(state, list(found.differing.values())),
        "embeddings differ from their copies in the index file, which is intact",
        REPAIR,
    )


def _names(state: Reading, photo_ids: Sequence[int]) -> list[str]:
    """Return the paths of the first few photos; of the rest only that they are there."""
    names = [""] * len(photo_ids)
    for i, photo_id in enumerate(photo_ids[:10]):
        path = state.value("SELECT path FROM photos WHERE id = ?", (photo_id,))
        names[i] = str(to_path(path)) if path is not None else f"photo {photo_id}"
    return names


def _file_problems(file: IndexFile, found: VectorFindings) -> Iterator[Problem]:
    if file.fault:
        yield Problem(f"vectors/{file.name} {file.fault}", REPAIR)
    for count, what in (
        (found.missing[file.name], "vectors/{} lacks embeddings that it should hold"),
        (found.surplus[file.name], "vectors/{} holds embeddings that the catalog does not"),
    ):
        if count:
            yield Problem(what.format(file.name), REPAIR, count)


# Leftovers


def leftovers(folder: Path) -> list[Path]:
    """Return files that nothing uses: left by a run that was stopped, or one still at work."""
    found = [*folder.glob(f"{CATALOG}.new*"), *folder.glob(f"{CATALOG}.repaired*")]
    found += [path for path in folder.glob("models/.*") if path.is_dir()]
    try:
        with reading(folder / CATALOG) as state:
            named = {str(row[0]) for row in state.rows("SELECT file FROM vector_indexes")}
    except (*DAMAGE, LibraryError):
        return sorted(found)
    found += [path for path in folder.glob("vectors/*") if path.name not in named]
    return sorted(found)
