"""Killed with SIGKILL at any moment, a library opens, answers, and ends as if nothing had been.

The short form: kills at random moments, and at each step that reaches the disk. The long form is
benchmarks/kills.py.
"""

import gzip
import shutil
import signal
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from changing_album import ChangingAlbum, source_pictures
from cli_process import Ended
from doomed_program import HALF
from forked_program import ForkedProgram, forked_program
from kill_campaign import BATCH, Campaign, ForkedRun
from library_snapshot import differences, lost, not_in_step, snapshot, unanswered, unfinished
from places import TESTS

from clipsearch import Library

OLD_LIBRARY = TESTS / "data" / "schema-1"


@pytest.fixture(scope="module")
def program() -> ForkedProgram:
    return forked_program()


def test_a_library_killed_at_random_moments_ends_equal_to_a_fresh_one(
    tmp_path: Path, program: ForkedProgram
) -> None:
    campaign = Campaign(tmp_path, partial(ForkedRun, program), photos=100, seed=3, longest=1.0)
    tally = campaign.tally
    while tally.kills < 4 and tally.ended < 40:  # some end before their moment
        campaign.kill_once()
        campaign.album.change(16)
    campaign.finish()
    assert tally.wrong == []
    assert tally.kills == 4
    assert 100 < len(tally.distinct) <= tally.encoded <= len(tally.distinct) + BATCH * tally.kills


def test_a_first_run_that_was_killed_leaves_a_library_that_answers(
    tmp_path: Path, program: ForkedProgram, tiny_model_folder: Path
) -> None:
    """And the next run goes on with the same model, though it does not name it."""
    album = ChangingAlbum(tmp_path / "photos", source_pictures(), seed=4)
    album.add(3 * BATCH)
    library, notes = tmp_path / "library", tmp_path / "notes"
    arguments = ["index", album.folder, "--library", library]
    run = ForkedRun(program, notes, [*arguments, "--model", tiny_model_folder])
    run.wait_for(notes, "committed", times=2)
    run.kill()
    assert run.wait()[0] == -signal.SIGKILL
    held = snapshot(library)
    assert 0 < len(held.vectors) < 3 * BATCH
    assert unanswered(library, held) == []
    assert program.run(*arguments).code == 0
    now = snapshot(library)
    assert lost(held, now, album.hashes) == []
    assert not_in_step(now, album.hashes) == []


@pytest.fixture(params=["changes", pytest.param("each", marks=pytest.mark.slow)])
def every(request: pytest.FixtureRequest) -> bool:
    """Whether to kill at steps at which the library lies on the disk as at the one before, too."""
    return request.param == "each"


def killed_at_each_step(
    place: Path,
    program: ForkedProgram,
    arguments: list[str | Path],
    prepare: Callable[[Path], None],
    check: Callable[[Path, str], None],
    *,
    every: bool,
    code: int = 0,
) -> list[str]:
    """Kill a run before each of its steps, each time on a library prepared anew.

    One that is left alone, first, ends with `code`. Return the names of the steps.
    """

    def run(number: int) -> tuple[Ended, list[str]]:
        library, steps = place / f"library-{number}", place / f"steps-{number}"
        prepare(library)
        die = (
            f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
            "from pathlib import Path; import doomed_program\n"
            f"doomed_program.die_at_step({number}, Path({str(library)!r}), Path({str(steps)!r}))"
        )
        ended = program.run(*arguments, "--library", library, prepare=die)
        noted = steps.read_text().splitlines()
        check(library, noted[-1].split(" ", 1)[1] if number else "the end")
        shutil.rmtree(library)
        return ended, noted

    ended, noted = run(0)
    assert ended.code == code, ended.err
    names, before = [], ""
    for number, line in enumerate(noted, 1):
        content, name = line.split(" ", 1)
        if every or content != before or name == HALF:
            ended, _ = run(number)
            assert ended.code == -signal.SIGKILL, f"{name}: {ended.err}"
        names.append(name)
        before = content
    return names


def test_a_kill_at_each_step_of_replacing_the_faiss_file_loses_nothing(
    tmp_path: Path, program: ForkedProgram, tiny_model_folder: Path, every: bool
) -> None:
    album = ChangingAlbum(tmp_path / "photos", source_pictures(), seed=5)
    album.add(20)
    first = tmp_path / "first"
    made = program.run("index", album.folder, "--library", first, "--model", tiny_model_folder)
    assert made.code == 0, made.err
    album.delete(3)
    album.move(2)  # a run that needs no model, but a new file
    before = snapshot(first)

    def check(library: Path, step: str) -> None:
        held = snapshot(library)
        assert lost(before, held, album.hashes) == [], step
        assert unanswered(library, held) == [], step
        with Library(library) as last:
            last.index([album.folder])
        now = snapshot(library)
        assert not_in_step(now, album.hashes) == [], step
        assert unfinished(library, now) == [], step

    steps = killed_at_each_step(
        *(tmp_path, program, ["index", album.folder], partial(shutil.copytree, first), check),
        every=every,
    )
    assert any(step.startswith("os.rename /vectors/model-1.new") for step in steps)
    assert HALF in steps
    assert any(step.startswith("INSERT INTO vector_indexes") for step in steps)
    assert any(step.startswith("os.remove /vectors/model-1-") for step in steps)


def test_a_kill_at_each_step_of_making_a_library_leaves_one_or_none(
    tmp_path: Path, program: ForkedProgram, every: bool
) -> None:
    """An empty folder of photos: no model is needed, so each run is quick."""
    (tmp_path / "photos").mkdir()

    def check(library: Path, step: str) -> None:
        with Library(library) as last:  # made now, or whole
            last.index([tmp_path / "photos"])
            assert [folder.path for folder in last.info().folders] == [tmp_path / "photos"], step
        left = {path.name for path in library.iterdir()} - {
            "catalog.sqlite-wal",
            "catalog.sqlite-shm",
        }
        assert left <= {"catalog.sqlite", "lock", "models", "vectors"}, step

    steps = killed_at_each_step(
        *(tmp_path, program, ["index", tmp_path / "photos"], lambda library: None, check),
        every=every,
    )
    assert any(step.startswith("os.rename /catalog.sqlite") for step in steps)


def old_library(folder: Path) -> None:
    shutil.copytree(OLD_LIBRARY, folder)
    packed = folder / "catalog.sqlite.gz"
    (folder / "catalog.sqlite").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()


def test_a_kill_at_each_step_of_an_upgrade_leaves_the_old_library_or_the_new(
    tmp_path: Path, program: ForkedProgram, every: bool
) -> None:
    """Any command that may write upgrades; this one then finds nothing to do."""
    old_library(tmp_path / "old")
    before = snapshot(tmp_path / "old")
    assert len(before.vectors) == 5

    def check(library: Path, step: str) -> None:
        assert differences(before, snapshot(library)) == [], step
        with Library(library) as now:  # upgrades, where that was not finished
            assert now.info().photos == 5, step
        assert differences(before, snapshot(library)) == [], step
        left = {path.name for path in library.iterdir()} - {
            "catalog.sqlite-wal",
            "catalog.sqlite-shm",
        }
        assert left <= {"catalog.sqlite", "lock", "models", "vectors"}, step
        with sqlite3.connect(library / "catalog.sqlite") as db:
            assert db.execute("PRAGMA user_version").fetchone()[0] > 1, step

    steps = killed_at_each_step(
        *(tmp_path, program, ["remove", tmp_path / "unknown"], old_library, check),
        every=every,
        code=2,
    )
    assert any("schema-1" in step for step in steps)
