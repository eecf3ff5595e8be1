"""How a catalog is opened, as far as other processes can tell."""

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from clipsearch import backup_library, check_library
from clipsearch.index.database import Database
from clipsearch.index.store import Store

ADD = """
import sys
from pathlib import Path
from clipsearch.index.changes import KeepFolder
from clipsearch.index.store import Store
with Store.open(Path(sys.argv[1])) as store, store.writing():
    store.apply([KeepFolder(Path(sys.argv[2]), "folder")])
"""


def open_again(library: Path, place: Path) -> None:
    Store.open(library, read_only=True).close()


def check(library: Path, place: Path) -> None:
    assert check_library(library).ok


def repair(library: Path, place: Path) -> None:
    assert check_library(library, repair=True).ok


def back_up(library: Path, place: Path) -> None:
    backup_library(library, place / "backup", replace=True)


@pytest.mark.parametrize("look", [open_again, check, repair, back_up])
def test_what_looks_at_an_open_catalog_does_not_blind_it(
    tmp_path: Path, look: Callable[[Path, Path], None]
) -> None:
    """SQLite's locks go from the whole process when any descriptor of the file is closed."""
    library = tmp_path / "library"
    Store.open(library, create=True).close()
    with Store.open(library, read_only=True) as first:
        assert first.places().folders == ()
        for number in (1, 2, 3):
            look(library, tmp_path)
            command = [sys.executable, "-c", ADD, str(library), f"/{number}"]
            subprocess.run(command, check=True)
            assert len(first.places().folders) == number
    assert check_library(library).ok


def test_a_second_opening_in_a_process_does_not_blind_the_first(tmp_path: Path) -> None:
    """SQLite's locks go from the whole process when any descriptor of the file is closed."""
    Store.open(tmp_path, create=True).close()
    with Store.open(tmp_path, read_only=True) as first:
        assert first.places().folders == ()
        with Store.open(tmp_path, read_only=True) as second:
            for number in (1, 2, 3):
                command = [sys.executable, "-c", ADD, str(tmp_path), f"/{number}"]
                subprocess.run(command, check=True)
                assert len(second.places().folders) == len(first.places().folders) == number


def states_at_once(db: Database, threads: int = 4) -> list[tuple[int, int, int]]:
    """Return the states that threads see, each in a block of its own while all are in one."""
    all_in = threading.Barrier(threads)

    def look(_: int) -> tuple[int, int, int]:
        with db.reading():
            state = db.state()
            all_in.wait(20)
            assert db.state() == state
            return state

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(look, range(threads)))


def test_all_connections_tell_the_same_state_until_somebody_commits(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    Database.create(path)
    db, other = Database.open(path, read_only=False), Database.open(path, read_only=False)
    with closing(db), closing(other):
        states_at_once(db)  # connections are made
        seen = set()
        for writer in (None, other, db, other, None):
            if writer is not None:
                writer.write("UPDATE library SET created_at = created_at || '.'")
            states = set(states_at_once(db))
            assert len(states) == 1
            assert (states <= seen) == (writer is None and bool(seen))
            seen |= states
        assert len(seen) == 4


def test_a_block_that_others_commit_beside_has_a_state_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    Database.create(path)
    db, other = Database.open(path, read_only=False), Database.open(path, read_only=False)
    with closing(db), closing(other):
        (before, *_) = states_at_once(db)
        with db.reading():
            db.rows("SELECT * FROM library")  # what it sees is settled
            other.write("UPDATE library SET created_at = created_at || '.'")
            inside = db.state()
        (after, *_) = states_at_once(db)
        assert after not in (before, inside)
        with db.writing():
            first = db.state()
            db.write("UPDATE library SET created_at = created_at || '.'")
            assert db.state() != first
