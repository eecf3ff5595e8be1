"""Looking for everything that can be wrong with a library's catalog and vectors.

This works below `Store`, with plain SQLite: a catalog that is damaged is to be described, not
refused. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipsearch.errors import LibraryError
from clipsearch.index.layout import CATALOG, Layout
from clipsearch.index.paths import to_path
from clipsearch.index.records import SCHEMA_VERSION, FileState, Folder
from clipsearch.index.schema import (
    APPLICATION_ID,
    TABLES,
    check_version,
    not_a_catalog,
)
from clipsearch.index.upkeep.check_vectors import check_vectors, open_index_files
from clipsearch.index.upkeep.findings import REMADE_BY_INDEX, REPAIR, Checked, Problem
from clipsearch.index.upkeep.reading import (
    DAMAGE,
    READ_AGAIN,
    TEXT_TABLES,
    CatalogLost,
    CheckedModel,
    HeaderDamaged,
    Reading,
    check_header,
    missing_definitions,
    models_of,
    planted,
    reading,
    schema_of,
    schema_steps,
    undecodable,
)
from clipsearch.index.word_search import word_index

NOTHING_TO_SAVE = (
    "restore a backup into an empty folder (`clipsearch restore FILE`), or move "
    f"{CATALOG} away and index anew"
)

_MESSAGES = 20  # of SQLite's own check


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


def check_catalog(folder: Path, *, photos: bool = False) -> CatalogFindings:
    """Check all that the catalog and vectors/ hold; with `photos`, also return the photo rows.

    Raises LibraryNotFound, LibraryIncompatible (of a newer clipsearch, or none of ours),
    LibraryLocked or another LibraryError where nothing can be read at all.
    """
    found = CatalogFindings()
    try:
        check_header(folder)
        with reading(Layout(folder).catalog) as state:
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


def _check_state(state: Reading, folder: Path, found: CatalogFindings, *, photos: bool) -> None:
    if strange := planted(state):
        what = "names of tables belong to something else, which is not looked at"
        planted_there = Problem.of(strange, what, "restore a backup, or index into a new library")
        found.parts.append(Checked("tables", len(TABLES), "definition", planted_there))
        return
    files = open_index_files(state, Layout(folder).vectors)
    found.parts.append(check_pages(state))
    version, problems, notes = _check_version(state, folder)
    with _reported(found, "tables"):
        found.parts.append(_check_schema(state, version, problems, notes))
    with _reported(found, "rows"):
        found.models = models_of(state)
        found.parts.append(_check_rows(state, version, found.models))
    with _reported(found, "embeddings"):
        found.parts.extend(check_vectors(state, found.models, files))
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
            raise not_a_catalog(folder)
        problems.append(Problem("the catalog does not bear clipsearch's mark", REPAIR))
    if steps and version != steps:
        problems.append(
            Problem(f"the catalog calls itself schema {version} and is schema {steps}", REPAIR)
        )
        version = steps
    check_version(folder, version)
    older = f"made by an older clipsearch (schema {version}); the next index run brings it up"
    return version, problems, [f"{older} to date"] if version < SCHEMA_VERSION else []


def _check_schema(
    state: Reading, version: int, problems: list[Problem], notes: list[str]
) -> Checked:
    if version == SCHEMA_VERSION:
        wrong = list(missing_definitions(state.connection))
        what = "definitions are missing or changed"
        problems.extend(Problem.of(wrong, what, REPAIR))
        what = "names and texts can't be searched"
        problems.extend(Problem.of(word_index.faults(state), what, REPAIR))
    return Checked(
        "tables", len(schema_of(state.connection)), "definition", tuple(problems), tuple(notes)
    )


# Rows

_PHOTO_FILES = "SELECT path, size, mtime_ns, content_hash FROM photos ORDER BY path"
_FOLDERS = "SELECT path, kind, added_at, scanned_at FROM folders ORDER BY path"


def _photo(row: tuple[Any, ...]) -> CheckedPhoto:
    text, size, mtime_ns, content_hash = row
    return CheckedPhoto(FileState(to_path(text), size, mtime_ns), content_hash)


def _check_rows(state: Reading, version: int, models: Sequence[CheckedModel]) -> Checked:
    tables = [name for name, since in (TEXT_TABLES | READ_AGAIN).items() if version >= since]
    count = sum(state.value(f"SELECT count(*) FROM {table}") for table in tables)
    problems = [*_orphans(state), *_not_text(state, tables), *_library_row(state)]
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


def _not_text(state: Reading, tables: Sequence[str]) -> tuple[Problem, ...]:
    found = [f"{table} row {id_}" for table in tables for id_ in undecodable(state, table)]
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


# Leftovers


def leftovers(folder: Path) -> list[Path]:
    """Return files that nothing uses: left by a run that was stopped, or one still at work."""
    found = [*folder.glob(f"{CATALOG}.new*"), *folder.glob(f"{CATALOG}.repaired*")]
    found += [path for path in Layout(folder).models.glob(".*") if path.is_dir()]
    try:
        with reading(Layout(folder).catalog) as state:
            named = {str(row[0]) for row in state.rows("SELECT file FROM vector_indexes")}
    except (*DAMAGE, LibraryError):
        return sorted(found)
    found += [path for path in Layout(folder).vectors.glob("*") if path.name not in named]
    return sorted(found)
