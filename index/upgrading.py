"""Bringing the catalog of an older library up to date, in place.

    catalog.sqlite              upgraded and checked in one transaction
    catalog.sqlite.schema-1     a copy of what it was, until that is committed

So a crash at any step leaves the old catalog or the new one, whole, and at worst a copy that the
next opening for writing removes. Vectors and their files stay as they are.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from clipsearch.errors import LibraryError
from clipsearch.index.database import Database
from clipsearch.index.durable import NO_SPACE, disk_errors, put_in_place
from clipsearch.index.layout import Layout
from clipsearch.index.lock import do_once
from clipsearch.index.records import SCHEMA_VERSION


def bring_up_to_date(db: Database) -> None:
    """Upgrade an older catalog that is open for writing, unless another process does it now.

    Raises LibraryLocked while another process writes to the library, LibraryDamaged if the catalog
    does not pass its check, and LibraryError where the disk has no room: it stays as it was.
    """
    do_once(
        Layout(db.path.parent).lock,
        needed=lambda: db.schema_version() < SCHEMA_VERSION,
        do=lambda: _upgrade(db),
    )
    with disk_errors(db.path.parent):
        _remove_copies(db.path)


def _upgrade(db: Database) -> None:
    version = db.schema_version()
    copy = _copy_of(db.path, version)
    with disk_errors(db.path.parent):
        _remove_copies(db.path)  # of an attempt that ended in a crash
        try:
            _keep_copy(db, copy)
            db.upgrade()
        except BaseException:
            with suppress(LibraryError):
                if db.schema_version() == version:
                    _remove_copies(db.path)
            raise


def _keep_copy(db: Database, copy: Path) -> None:
    aside = _unfinished(copy)
    try:
        db.copy_to(aside)
        put_in_place(aside, copy)
    except LibraryError as error:
        if NO_SPACE not in str(error):
            raise
        size = db.path.stat().st_size / 1e6
        raise LibraryError(
            f"{db.path.parent}: {NO_SPACE}: upgrading it from an older clipsearch needs room for "
            f"a copy of its catalog meanwhile ({size:.1f} MB); nothing was changed"
        ) from error


def _remove_copies(catalog: Path) -> None:
    """Remove the copies of older schemas; one of this schema may be a newer clipsearch's."""
    for version in range(1, SCHEMA_VERSION):
        copy = _copy_of(catalog, version)
        for part in (copy, _unfinished(copy), _unfinished(copy, "-journal")):
            part.unlink(missing_ok=True)


def _copy_of(catalog: Path, version: int) -> Path:
    return catalog.with_name(f"{catalog.name}.schema-{version}")


def _unfinished(copy: Path, suffix: str = "") -> Path:
    return copy.with_name(f"{copy.name}.new{suffix}")
