"""A library in one file, and back: a plain tar with the catalog, the text models and a manifest.

The catalog is copied in one committed state while the library is in use. Index files are left out:
they are made from the catalog, and made anew when a backup is restored.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from clipsearch.errors import (
    InvalidInput,
    LibraryDamaged,
    LibraryError,
    LibraryIncompatible,
    LibraryNotFound,
)
from clipsearch.index.durable import disk_errors, make_folder, put_in_place
from clipsearch.index.layout import CATALOG, LOCK, MODELS, VECTORS, Layout
from clipsearch.index.lock import writer_lock
from clipsearch.index.paths import to_text
from clipsearch.index.records import utc_now
from clipsearch.index.store import Store
from clipsearch.index.upkeep.checking import check_pages
from clipsearch.index.upkeep.reading import (
    DAMAGE,
    CatalogLost,
    HeaderDamaged,
    Reading,
    check_header,
    planted,
    reading,
)

FORMAT = 1
MANIFEST = "clipsearch-backup.json"  # the last member: it holds the checksums of the others

_MEMBER = re.compile(r"models/[0-9a-f]{16}/[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_MANIFEST_BYTES = 1 << 20
_BLOCK = 1 << 20
_RESTORING = ".restoring"


@dataclass(frozen=True)
class BackupReport:
    """What a backup holds."""

    file: Path
    photos: int
    embeddings: int
    text_models: int
    bytes: int  # of the file

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        counts = {"photos": self.photos, "embeddings": self.embeddings}
        return {"file": to_text(self.file), **counts, "bytes": self.bytes}


@dataclass(frozen=True)
class RestoreReport:
    """What was restored, and from when it is."""

    folder: Path
    photos: int
    embeddings: int
    text_models: int
    made_at: str  # ISO 8601, UTC

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        counts = {"photos": self.photos, "embeddings": self.embeddings}
        return {"library": to_text(self.folder), **counts, "made_at": self.made_at}


# Backup


def back_up(folder: Path, file: Path, *, replace: bool = False) -> BackupReport:
    """Copy a library into one file; it may be in use meanwhile.

    The file appears whole or not at all: a copy that fails leaves the former one as it was.
    Raises InvalidInput for a place where no backup can be, LibraryDamaged for a library that
    should be repaired first, LibraryError where the disk refuses.
    """
    _check_source(folder)
    with _looking_at(file):
        _check_target(folder, file, replace=replace)
    catalog = file.with_name(f".{file.name}.{os.getpid()}.sqlite")
    aside = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        with _disk_errors(file):
            _copy_catalog(Layout(folder).catalog, catalog)
            report = _write_tar(folder, catalog, aside, file)
            put_in_place(aside, file)
    finally:
        for leftover in (aside, catalog, catalog.with_name(f"{catalog.name}-journal")):
            with suppress(OSError):  # of a name that is too long, say, there is none
                leftover.unlink()
    return report


@contextmanager
def _looking_at(path: Path) -> Iterator[None]:
    """Say what is wrong with a path that can't even be looked at."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{path} can't be used: {error.strerror or error}") from error


def _check_source(folder: Path) -> None:
    try:
        check_header(folder)
    except (CatalogLost, HeaderDamaged) as error:
        raise _damaged(folder, str(error)) from error


def _damaged(folder: Path, why: str) -> LibraryDamaged:
    return LibraryDamaged(
        f"{folder}: the catalog is damaged ({why}); a backup of it would be, too: "
        "run `clipsearch check --repair` first"
    )


def _check_target(folder: Path, file: Path, *, replace: bool) -> None:
    if file.is_dir():
        raise InvalidInput(f"{file} is a folder: name a file, such as {file / 'photos.clipsearch'}")
    if folder == file.parent or folder in file.resolve().parents or folder in file.parents:
        raise InvalidInput(f"{file} lies inside the library itself: it would be lost with it")
    if not file.parent.is_dir():
        raise InvalidInput(f"{file.parent} does not exist")
    if file.exists() and not (replace and file.is_file()):
        what = "--force replaces it" if file.is_file() else "it is no plain file"
        raise InvalidInput(f"{file} is already there; {what}")


@contextmanager
def _disk_errors(file: Path) -> Iterator[None]:
    """Say which file can't be written, and why."""
    try:
        yield
    except OSError as error:
        raise LibraryError(f"{file}: can't be written: {error.strerror or error}") from error
    except DAMAGE as error:
        if "full" in str(error):
            raise LibraryError(f"{file}: can't be written: no space left on the disk") from error
        raise LibraryError(f"{file}: can't be written: copying the catalog: {error}") from error


def _copy_catalog(source: Path, target: Path) -> None:
    """Write a compact copy of one committed state, without what speaks of index files."""
    target.unlink(missing_ok=True)
    try:
        with reading(source) as state:
            state.connection.execute("ROLLBACK")  # VACUUM is a transaction of its own
            # As bytes: a name need not be UTF-8.
            name = os.fsencode(target)
            state.connection.execute("VACUUM INTO CAST(? AS TEXT)", (name,))
    except DAMAGE as error:
        if "malformed" in str(error) or "not a database" in str(error):
            raise _damaged(source.parent, str(error)) from error
        raise
    with closing(sqlite3.connect(target, isolation_level=None)) as copy:
        said = check_pages(Reading(copy)).problems
        if said:
            raise _damaged(source.parent, said[0].examples[0])
        copy.execute("DELETE FROM vector_indexes")
        copy.execute("DELETE FROM removed_embeddings")


def _write_tar(folder: Path, catalog: Path, aside: Path, file: Path) -> BackupReport:
    with closing(sqlite3.connect(catalog)) as copy:
        manifest = _counts(copy)
        fingerprints = [str(row[0]) for row in copy.execute("SELECT fingerprint FROM models")]
    sums: dict[str, str] = {}
    with aside.open("wb") as raw:
        # GNU, not PAX: nothing is written that an old tar would not know
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
            _add(tar, catalog, CATALOG, sums)
            kept = sum(_add_text_model(tar, folder, name, sums) for name in fingerprints)
            manifest.update(text_models=kept, sha256=sums)
            _add_manifest(tar, manifest)
        raw.flush()
        os.fsync(raw.fileno())
    size = aside.stat().st_size
    return BackupReport(file, manifest["photos"], manifest["embeddings"], kept, size)


def _counts(db: sqlite3.Connection) -> dict[str, Any]:
    tables = ("photos", "embeddings", "failures", "folders")
    counts = {name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
    schema = db.execute("PRAGMA user_version").fetchone()[0]
    return {"format": FORMAT, "schema": schema, "made_at": utc_now(), **counts}


def _add_text_model(
    tar: tarfile.TarFile, folder: Path, fingerprint: str, sums: dict[str, str]
) -> bool:
    """Add what encodes text for a model, if it is there; it is not in the catalog."""
    place = Layout(folder).model(fingerprint)
    files = sorted(path for path in place.glob("*") if path.is_file() and not path.is_symlink())
    for path in files:
        name = f"models/{fingerprint}/{path.name}"
        if _MEMBER.fullmatch(name):
            _add(tar, path, name, sums)
    return bool(files)


def _add(tar: tarfile.TarFile, path: Path, name: str, sums: dict[str, str]) -> None:
    with path.open("rb") as file:
        member = tarfile.TarInfo(name)
        member.size = os.fstat(file.fileno()).st_size
        member.mode = 0o644
        source = _Hashing(file)
        tar.addfile(member, source)
    sums[name] = source.digest.hexdigest()


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block: bytes = self._file.read(size)
        self.digest.update(block)
        return block


def _add_manifest(tar: tarfile.TarFile, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=1).encode()
    member = tarfile.TarInfo(MANIFEST)
    member.size = len(text)
    member.mode = 0o644
    tar.addfile(member, BytesIO(text))


# Restore


def restore(file: Path, folder: Path) -> RestoreReport:
    """Make a library from a backup, in a folder that is empty or missing: whole or not at all.

    Raises InvalidInput for a file that is no backup or is damaged, or a folder that holds
    something; LibraryIncompatible for the backup of a newer clipsearch.
    """
    with _looking_at(folder):
        _check_vacant(folder)
        made = not folder.exists()
    with _looking_at(file):
        if not file.is_file():
            raise InvalidInput(f"{file} {'is no file' if file.exists() else 'does not exist'}")
    aside = folder / _RESTORING
    with disk_errors(folder):
        make_folder(folder)
        done = False
        try:
            with writer_lock(Layout(folder).lock):
                _check_vacant(folder)
                shutil.rmtree(aside, ignore_errors=True)
                aside.mkdir()
                manifest = _unpack(file, aside)
                _make_usable(aside, file, manifest)
                _move_in(aside, folder)
                done = True
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            if not done:
                _clear(folder, remove=made)
    return RestoreReport(
        *(folder, manifest["photos"], manifest["embeddings"], manifest["text_models"]),
        manifest["made_at"],
    )


def _check_vacant(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is a file: name a folder that is empty or missing")
    if folder.is_dir() and any(path.name not in (LOCK, _RESTORING) for path in folder.iterdir()):
        raise InvalidInput(
            f"{folder} is not empty: a backup is restored only into a folder that is empty or "
            "missing (choose one with --library)"
        )


def _clear(folder: Path, *, remove: bool) -> None:
    """Take away what this run made."""
    Layout(folder).lock.unlink(missing_ok=True)
    if remove:
        folder.rmdir()


def _no_backup(file: Path, why: str) -> InvalidInput:
    return InvalidInput(f"{file} can't be restored: {why}")


def _unpack(file: Path, place: Path) -> dict[str, Any]:
    """Unpack what a backup may hold, and nothing else; return its manifest, all sums compared."""
    sums: dict[str, str] = {}
    manifest: dict[str, Any] | None = None
    try:
        with tarfile.open(file, mode="r:") as tar:
            for member in tar:
                _check_member(file, member, sums)
                source = tar.extractfile(member)
                assert source is not None  # it is a plain file
                if member.name == MANIFEST:
                    manifest = json.loads(source.read(_MANIFEST_BYTES))
                    continue
                sums[member.name] = _unpack_file(source, place / member.name, member.size)
    except (tarfile.TarError, EOFError, ValueError, RecursionError) as error:
        raise _no_backup(file, f"it is damaged, or no backup ({error})") from error
    return _checked_manifest(file, manifest, sums)


def _check_member(file: Path, member: tarfile.TarInfo, seen: dict[str, str]) -> None:
    plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.sparse
    known = member.name in (CATALOG, MANIFEST) or _MEMBER.fullmatch(member.name)
    if not (plain and known) or member.name in seen:
        raise _no_backup(file, f"{member.name!r} is nothing that a backup holds")


def _unpack_file(source: Any, path: Path, size: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("xb") as target:
        while block := source.read(_BLOCK):
            digest.update(block)
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
        if target.tell() != size:
            raise EOFError("it ends too early")
    return digest.hexdigest()


def _checked_manifest(file: Path, manifest: Any, sums: dict[str, str]) -> dict[str, Any]:
    if not isinstance(manifest, dict):
        raise _no_backup(file, "it is incomplete, or no backup: it has no list of its files")
    if manifest.get("format") != FORMAT:
        raise LibraryIncompatible(f"{file}: made by a newer clipsearch; upgrade clipsearch")
    if manifest.get("sha256") != sums or CATALOG not in sums:
        raise _no_backup(file, "it is damaged: its files are not what its list says")
    numbers = [manifest.get(name) for name in ("photos", "embeddings", "text_models")]
    if not all(type(number) is int for number in numbers):
        raise _no_backup(file, "its list is incomplete")
    return {**manifest, "made_at": str(manifest.get("made_at"))}


def _make_usable(place: Path, file: Path, manifest: dict[str, Any]) -> None:
    """Check the catalog and make index files from it."""
    try:
        with closing(sqlite3.connect(Layout(place).catalog, isolation_level=None)) as db:
            state = Reading(db)
            if check_pages(state).problems or planted(state):
                raise _no_backup(file, "its catalog is damaged")
            db.execute("PRAGMA journal_mode = WAL")
            found = _counts(db)
    except DAMAGE as error:
        raise _no_backup(file, f"its catalog is damaged ({error})") from error
    if any(found[name] != manifest[name] for name in ("photos", "embeddings", "schema")):
        raise _no_backup(file, "its catalog is not what its list says")
    try:
        with Store.open(place) as store, store.writing():
            store.make_words_anew()  # as index files are: from what was checked
            for model in store.catalog.models():
                store.refresh_vectors(model.id)
    except (LibraryDamaged, LibraryNotFound) as error:
        raise _no_backup(file, str(error)) from error


def _move_in(aside: Path, folder: Path) -> None:
    """Move what is ready to its place; the catalog comes last, so that it is all or no library."""
    moved = []
    try:
        for name in (MODELS, VECTORS, CATALOG):
            if (aside / name).exists():
                put_in_place(aside / name, folder / name)
                moved.append(folder / name)
    except BaseException:
        for path in moved:
            shutil.rmtree(path, ignore_errors=True)
        raise
