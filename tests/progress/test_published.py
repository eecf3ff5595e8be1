"""How far a run is, told to other processes."""

import json
import os
import time
from pathlib import Path

from clipsearch.options import IndexProgress
from clipsearch.progress.published import RunUnderWay, published, run_under_way


def told(folder: Path, seconds: float) -> list[IndexProgress]:
    heard: list[IndexProgress] = []
    with published(folder, heard.append) as tell:
        time.sleep(seconds)
        tell(IndexProgress("encoding", 3, 9))
        assert run_under_way(folder) == (
            RunUnderWay("encoding", 3, 9, os.getpid()) if seconds else None
        )
    return heard


def test_a_run_that_lasts_is_told_until_it_ends(tmp_path: Path) -> None:
    assert told(tmp_path, 0.6) == [IndexProgress("encoding", 3, 9)]
    assert run_under_way(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_short_run_writes_nothing(tmp_path: Path) -> None:
    assert told(tmp_path, 0) == [IndexProgress("encoding", 3, 9)]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_stops_nobody(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with published(gone, lambda _: None) as tell:
        time.sleep(0.6)
        tell(IndexProgress("encoding", 3, 9))
    assert not gone.exists()


def test_what_a_killed_run_left_is_known(tmp_path: Path) -> None:
    process = os.spawnv(os.P_NOWAIT, "/bin/true", ["true"])
    os.waitpid(process, 0)
    left = {"phase": "encoding", "done": 1, "total": 2, "process": process}
    file = tmp_path / "progress.json"
    file.write_text(json.dumps(left))
    assert run_under_way(tmp_path) is None
    file.write_text(json.dumps({**left, "process": os.getpid()}))
    assert run_under_way(tmp_path) is not None
    os.utime(file, (1, 1))  # so old that the number is another process's by now
    assert run_under_way(tmp_path) is None


def test_what_is_no_progress_is_none(tmp_path: Path) -> None:
    for text in ("", "[]", '{"phase": 1}', '{"phase": "x", "done": "y"}', "\0" * 100):
        (tmp_path / "progress.json").write_text(text)
        assert run_under_way(tmp_path) is None
