"""The program, made to note what it does or to kill itself at one step; for tests that kill it.

    python doomed_program.py NOTES index PHOTOS ...

runs `clipsearch index PHOTOS ...` and appends a line to the file NOTES whenever a phase begins.
Only calls are wrapped: what the program does, and in which order, stays as it is.
"""

from __future__ import annotations

import functools
import hashlib
import os
import signal
import sqlite3
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Class -> method -> what to note when it begins and when it has ended.
PHASES = {
    ("clipsearch.indexing.run", "IndexRun", "run"): ("scan", "scanned and embedded"),
    ("clipsearch.models.loaded", "LoadedModels", "load"): ("load model", "open photos"),
    ("clipsearch.models.loaded", "LoadedModels", "keep_text_encoder"): ("export", "exported"),
    ("clipsearch.index.store", "Store", "apply"): ("commit", "committed"),
    ("clipsearch.index.store", "Store", "refresh_vectors"): ("replace", "replaced"),
}
WRITING_SQL = (
    *("BEGIN IMMEDIATE", "COMMIT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER"),
    *("VACUUM", "PRAGMA JOURNAL_MODE", "PRAGMA USER_VERSION", "PRAGMA PAGE_SIZE"),
)

HALF = "half of a file"


def note_phases(notes: Path) -> None:
    """Append a line to `notes` at each phase, and the hashes of photos before they are encoded."""
    import importlib

    descriptor = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def note(line: str) -> None:
        os.write(descriptor, f"{line}\n".encode())

    note("start")
    for (module, kind, method), (begins, ended) in PHASES.items():
        owner = getattr(importlib.import_module(module), kind)
        after = _note_encoding(note) if method == "load" else None
        setattr(owner, method, _noted(getattr(owner, method), note, begins, ended, after))


def _noted(
    method: Callable[..., Any],
    note: Callable[[str], None],
    begins: str,
    ended: str,
    after: Callable[[Any], None] | None,
) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if begins == "commit" and not is_of_photos(arguments[1]):
            return method(*arguments, **named)
        note(begins)
        result = method(*arguments, **named)
        if after is not None:
            after(result)
        note(ended)
        return result

    return wrapped


def is_of_photos(changes: Sequence[object]) -> bool:
    """Tell whether a batch is more than a change of folders or of the model in use."""
    others = ("KeepFolder", "Scanned", "ForgetFolder", "SeenMount", "ForgetMount", "UseModel")
    return any(type(change).__name__ not in others for change in changes)


def _note_encoding(note: Callable[[str], None]) -> Callable[[Any], None]:
    """Return what makes encoders, once one is loaded, note the photos that they encode next.

    Of both kinds: one that was loaded to be exported need not be the one that encodes.
    """

    def wrap(_: Any) -> None:
        from clipsearch.models.encoder import Encoder
        from clipsearch.models.image.encoder import ImageEncoder

        for kind in (Encoder, ImageEncoder):
            if not hasattr(kind.encode_pixels, "__wrapped__"):
                kind.encode_pixels = _noting(kind.encode_pixels, note)  # type: ignore[method-assign]

    return wrap


def _noting(method: Callable[..., Any], note: Callable[[str], None]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapped(self: Any, pixels: Any) -> Any:
        hashes = (hashlib.sha256(photo.tobytes()).hexdigest()[:16] for photo in pixels)
        note(f"encode {' '.join(hashes)}")
        result = method(self, pixels)
        note("encoded")
        return result

    return wrapped


def die_at_step(number: int, folder: Path, steps: Path) -> None:
    """Kill this process before step `number` of what it writes below `folder` (0: never).

    A step is one call that reaches the disk: opening a file for writing, a rename, a removal, a
    sync (before which the file is also left half written), an SQL statement that writes, a commit.
    Each is noted in the file `steps` before it is done, by a hash of what lies below `folder` then
    and its name.
    """
    descriptor = os.open(steps, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    below = os.fspath(folder)
    done = 0

    def step(name: str) -> None:
        nonlocal done
        done += 1
        os.write(descriptor, f"{content(folder)} {name}\n".encode())
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "open"):
            if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
            named = arguments[0]
            text = os.fsdecode(named) if isinstance(named, str | bytes | os.PathLike) else ""
            if text.startswith(below):
                step(f"{event} {text[len(below) :]}")

    sys.addaudithook(audit)
    fsync = os.fsync

    def half_then_whole(file: Any) -> None:
        number_of = file if isinstance(file, int) else file.fileno()
        if stat.S_ISREG(os.fstat(number_of).st_mode):
            if done + 1 == number:
                os.ftruncate(number_of, os.fstat(number_of).st_size // 2)  # as if half was written
            step(HALF)
        step("fsync")
        fsync(file)

    os.fsync = half_then_whole
    _count_statements(step)


def content(place: Path) -> str:
    """Return a hash of all that lies at a path, but what SQLite shares among running processes."""
    found = hashlib.sha256()
    for path in sorted((place, *place.rglob("*"))):
        if path.exists() and not path.name.endswith("-shm"):
            found.update(os.fsencode(path) + b"\0")
            found.update(path.read_bytes() if path.is_file() else b"")
    return found.hexdigest()


def _count_statements(step: Callable[[str], None]) -> None:
    from clipsearch.index import database

    class Counted(database.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql.lstrip().upper().startswith(WRITING_SQL):
                step(" ".join(sql.split())[:60])
            return super().execute(sql, *parameters)

        def executescript(self, sql: str) -> sqlite3.Cursor:
            step("script")
            return super().executescript(sql)

        def commit(self) -> None:
            if self.in_transaction:
                step("commit")
            super().commit()

        def backup(self, *arguments: Any, **named: Any) -> None:
            step("backup")
            super().backup(*arguments, **named)

    database.Connection = Counted
    sqlite3.connect = functools.partial(sqlite3.connect, factory=Counted)


if __name__ == "__main__":
    note_phases(Path(sys.argv[1]))
    sys.argv[1:] = sys.argv[2:]
    from clipsearch.cli import main

    main()
