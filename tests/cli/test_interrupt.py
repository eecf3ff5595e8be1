"""Ctrl-C and SIGTERM: once saves what was begun and says how to go on, twice ends at once."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from changing_album import ChangingAlbum, source_pictures
from forked_program import Running, forked_program
from library_snapshot import lost, not_in_step, snapshot, unanswered, unfinished
from places import TESTS

BATCH = 32
BATCHES = 6
SLOWLY = """
import sys, time; sys.path.insert(0, {tests!r})
from pathlib import Path
from clipsearch.index.store import Store
import doomed_program
apply = Store.apply

def slow_apply(store, changes, *more):
    if doomed_program.is_of_photos(changes):
        time.sleep({seconds})
    return apply(store, changes, *more)

Store.apply = slow_apply
doomed_program.note_phases(Path({notes!r}))
"""


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> ChangingAlbum:
    """Return photos for six batches; don't change them."""
    album = ChangingAlbum(tmp_path_factory.mktemp("album") / "photos", source_pictures(), seed=6)
    album.add(BATCHES * BATCH)
    return album


class Case:
    """A library in the making, and what its runs noted."""

    def __init__(self, place: Path, album: ChangingAlbum, model: Path) -> None:
        self.library = place / "library"
        self.arguments = ["index", album.folder, "--library", self.library, "--model", model]
        self._place = place
        self._runs = 0

    def start(self, *options: str, seconds: float) -> Running:
        """Start a run that needs so many seconds to commit each batch."""
        self._runs += 1
        notes = str(self._place / f"notes-{self._runs}")
        slowly = SLOWLY.format(tests=str(TESTS), seconds=seconds, notes=notes)
        return forked_program().start(*self.arguments, *options, prepare=slowly)

    def noted(self, phase: str) -> int:
        """Return how often the latest run noted a phase."""
        notes = self._place / f"notes-{self._runs}"
        return notes.read_text().split("\n").count(phase) if notes.exists() else 0

    def encoded(self) -> Counter[str]:
        """Return how often each photo was given to the encoder over all runs."""
        lines = "\n".join(file.read_text() for file in self._place.glob("notes-*")).split("\n")
        return Counter(h for line in lines if line.startswith("encode ") for h in line.split()[1:])


@pytest.fixture
def case(tmp_path: Path, album: ChangingAlbum, tiny_model_folder: Path) -> Case:
    return Case(tmp_path, album, tiny_model_folder)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_once_saves_the_batch_and_says_how_to_go_on(
    case: Case, album: ChangingAlbum, number: int, code: int
) -> None:
    run = case.start(seconds=0.3)
    run.until(lambda: case.noted("committed") >= 1)
    os.killpg(run.pid, number)  # as a terminal does: the whole group, decoders too
    ended = run.wait()
    assert ended.code == code, ended.err
    *before, last = ended.err.splitlines()  # on a slow machine, progress too
    assert before.count("stopping when this batch is saved; once more stops at once") == 1
    assert last.startswith("interrupted: what was finished is kept; ")
    assert "run the same command to go on" in last
    assert ended.text.startswith(f"{len(snapshot(case.library).vectors)} added in ")
    held = snapshot(case.library)
    assert BATCH <= len(held.vectors) < BATCHES * BATCH
    assert unfinished(case.library, held) == []  # the index file covers it
    assert unanswered(case.library, held) == []
    assert case.start(seconds=0).wait().code == 0
    now = snapshot(case.library)
    assert not_in_step(now, album.hashes) == []
    assert lost(held, now, album.hashes) == []
    assert set(case.encoded().values()) == {1}  # nothing was done twice


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_twice_stops_at_once_without_loss(
    case: Case, album: ChangingAlbum, number: int, code: int
) -> None:
    run = case.start(seconds=2)
    run.until(lambda: case.noted("encoded") >= 2)
    os.killpg(run.pid, number)
    run.until(lambda: "once more stops at once" in run.err())
    os.killpg(run.pid, number)
    ended = run.wait()
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    assert "interrupted" not in ended.err  # it did not wait for the end
    held = snapshot(case.library)
    assert held.problems == []
    assert len(held.vectors) == BATCH
    assert unanswered(case.library, held) == []
    assert case.start(seconds=0).wait().code == 0
    now = snapshot(case.library)
    assert not_in_step(now, album.hashes) == []
    assert lost(held, now, album.hashes) == []
    assert case.encoded().total() <= BATCHES * BATCH + BATCH


def test_an_interrupt_before_the_first_photo_leaves_an_empty_library(
    case: Case, album: ChangingAlbum
) -> None:
    run = case.start(seconds=0)
    run.until(lambda: case.noted("load model") >= 1)
    os.killpg(run.pid, signal.SIGINT)
    ended = run.wait()
    assert ended.code == 130, ended.err
    assert "Traceback" not in ended.err
    assert snapshot(case.library).problems == []
    assert case.start(seconds=0).wait().code == 0
    assert not_in_step(snapshot(case.library), album.hashes) == []


def test_an_interrupt_ends_the_waiting_for_another_process(case: Case) -> None:
    writer = case.start(seconds=1)
    writer.until(lambda: case.noted("commit") >= 1)
    waiting = forked_program().start(*case.arguments, "--wait")
    waiting.until(lambda: f"process {writer.pid} is writing" in waiting.err())
    waiting.kill(signal.SIGINT)
    ended = waiting.wait()
    assert ended.code == 130, ended.err
    assert "Traceback" not in ended.err
    assert writer.running()
    writer.kill()
    writer.wait()
