"""How a catalog is opened, as far as other processes can tell."""

import subprocess
import sys
from pathlib import Path

from clipsearch.index.store import Store

ADD = """
import sys
from pathlib import Path
from clipsearch.index.changes import KeepFolder
from clipsearch.index.store import Store
with Store.open(Path(sys.argv[1])) as store, store.writing():
    store.apply([KeepFolder(Path(sys.argv[2]), "folder")])
"""


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
