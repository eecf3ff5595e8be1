"""How a catalog is opened, as far as other processes can tell."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clipsearch import backup_library, check_library
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
