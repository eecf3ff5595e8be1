"""A library whose runs are killed again and again, and what must hold after each kill."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from changing_album import ChangingAlbum, source_pictures
from cli_process import clean_environment
from forked_program import ForkedProgram
from library_snapshot import (
    Snapshot,
    alike,
    differences,
    lost,
    not_in_step,
    snapshot,
    unanswered,
    unfinished,
)
from places import TESTS
from tiny_models import save_tiny_model

BATCH = 32  # photos a batch; what one kill may cost
# (share of the kills, the phase noted that starts the clock, seconds after it at most)
MOMENTS = (
    (0.40, "", 0.0),  # spread evenly over the whole run
    (0.15, "encode", 0.08),
    (0.20, "commit", 0.03),
    (0.20, "replace", 0.06),
    (0.05, "replaced", 0.06),
)


class Run(Protocol):
    """A run of the program that can be killed."""

    pid: int  # also of its process group

    def running(self) -> bool: ...

    def kill(self) -> None: ...

    def wait(self) -> tuple[int, str]:
        """Return the exit code (negative: the signal) and what it said."""
        ...


Start = Callable[[Path, "list[str | Path]"], Run]  # (notes, arguments of the program)


class OwnProcess:
    """The program started as users start it, but for the notes it takes."""

    def __init__(self, notes: Path, arguments: list[str | Path]) -> None:
        self._output = notes.with_suffix(".output")
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, TESTS / "doomed_program.py", notes, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=clean_environment(),
                start_new_session=True,
            )
        self.pid = self._process.pid

    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> tuple[int, str]:
        code = self._process.wait()
        return code, self._output.read_text(errors="replace").strip()


class ForkedRun:
    """The same, forked from a process that has imported torch already."""

    def __init__(self, program: ForkedProgram, notes: Path, arguments: list[str | Path]) -> None:
        prepare = (
            f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
            "from pathlib import Path; import doomed_program\n"
            f"doomed_program.note_phases(Path({str(notes)!r}))"
        )
        self._run = program.start(*arguments, prepare=prepare)
        self.pid = self._run.pid

    def wait_for(self, notes: Path, phase: str, *, times: int) -> None:
        """Wait until a phase was noted so many times."""
        self._run.until(
            lambda: notes.exists() and notes.read_text().split("\n").count(phase) >= times
        )

    def running(self) -> bool:
        return self._run.running()

    def kill(self) -> None:
        self._run.kill()

    def wait(self) -> tuple[int, str]:
        ended = self._run.wait()
        return ended.code, (ended.text + ended.err).strip()


@dataclass
class Tally:
    """What happened up to now."""

    kills: int = 0
    ended: int = 0  # runs that came to their end before their moment
    where: Counter[str] = field(default_factory=Counter)
    encoded: int = 0  # photos given to the encoder over all runs
    distinct: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    @property
    def again(self) -> int:
        return self.encoded - len(self.distinct)


class Campaign:
    """One library that is killed again and again."""

    def __init__(
        self, place: Path, start: Start, *, photos: int, seed: int, longest: float = 15.0
    ) -> None:
        self.tally = Tally()
        self.library = place / "library"
        self.album = ChangingAlbum(place / "photos", source_pictures(), seed)
        self.album.add(photos)
        self.model = save_tiny_model(place / "model")
        self._notes = place / "notes.txt"
        self._start = start
        self._random = random.Random(seed)
        self._longest = longest  # seconds of a run, about
        self._before = Snapshot({}, {}, [])
        self._vectors: dict[str, bytes] = {}  # by content, as first seen

    def kill_once(self) -> None:
        """Run until the moment drawn, kill, and check all that must hold after it."""
        shares = [share for share, _, _ in MOMENTS]
        _, phase, spread = self._random.choices(MOMENTS, shares)[0]
        run, started = self._started(self.library), time.monotonic()
        times, seconds = self._random.randint(1, 3), spread or self._longest
        self._wait(run, phase, times, self._random.uniform(0, seconds))
        if run.running():
            run.kill()
        code = self._ended(run)
        seconds = time.monotonic() - started
        # One that was killed would have taken longer; one that ended says how long they take now.
        self._longest = max(0.2, 1.1 * seconds if code == 0 else max(self._longest, seconds))
        self._check(finished=code == 0)

    def finish(self) -> None:
        """Run to the end and compare with a fresh index of the same folder."""
        fresh = self.album.folder.parent / "fresh"
        self._ended(self._started(self.library, "--model", self.model))
        self._check(finished=True)
        mine = self._before
        code, said = self._started(fresh, "--model", self.model).wait()
        self._wrong([] if code == 0 else [f"a fresh index ended with {code}: {said}"])
        self._wrong(differences(mine, snapshot(fresh)))
        self._wrong(unfinished(self.library, mine))

    def _started(self, library: Path, *options: str | Path) -> Run:
        self._notes.unlink(missing_ok=True)
        arguments = [self.album.folder, *(options or ("--model", self.model))]
        if self._before.vectors and not options:  # the library knows its folder and its model
            arguments = self._random.choice(([], [self.album.folder], arguments))
        return self._start(self._notes, ["index", *arguments, "--library", library])

    def _wait(self, run: Run, phase: str, times: int, seconds: float) -> None:
        """Wait until a phase began so many times (or more seldom, at the end), then for a while."""
        while phase and run.running():
            lines = self._noted()
            began = sum(line.split()[0] == phase for line in lines)
            if began >= times or (began and "replace" in lines):
                break
            time.sleep(0.001)
        end = time.monotonic() + seconds
        while run.running() and time.monotonic() < end:
            time.sleep(min(0.01, max(0.0, end - time.monotonic())))

    def _noted(self) -> list[str]:
        if not self._notes.exists():
            return []
        return [line for line in self._notes.read_text().split("\n") if line]

    def _ended(self, run: Run) -> int:
        """Wait for the end of a run of the library; take note of what it did."""
        code, said = run.wait()
        lines = self._noted()
        for line in lines:
            word, *hashes = line.split()
            if word == "encode":
                self.tally.encoded += len(hashes)
                self.tally.distinct |= set(hashes)
        if code == -signal.SIGKILL:
            self.tally.kills += 1
            self.tally.where["before the first phase" if not lines else _phase(lines[-1])] += 1
            self._wrong(_left_running(run.pid))
        elif code == 0:
            self.tally.ended += 1
        else:
            self._wrong([f"a run ended with {code}: {said}"])
        self._wrong([said] if "Traceback" in said else [])
        return code

    def _check(self, *, finished: bool) -> None:
        now = snapshot(self.library)
        self._wrong(lost(self._before, now, self.album.hashes))
        self._wrong(unanswered(self.library, now))
        for content, vector in now.by_content.items():
            if not alike(self._vectors.setdefault(content, vector), vector):
                self._wrong([f"another vector for the content {content}"])
        if finished:
            self._wrong(not_in_step(now, self.album.hashes))
        if self.tally.again > BATCH * self.tally.kills:
            self._wrong([f"{self.tally.again} photos encoded again after {self.tally.kills} kills"])
        self._before = now

    def _wrong(self, lines: list[str]) -> None:
        for line in lines:
            sys.stderr.write(f"WRONG after {self.tally.kills} kills: {line}\n")
        self.tally.wrong += lines


def _phase(line: str) -> str:
    return line.split()[0] if line.startswith("encode ") else line


def _left_running(group: int) -> list[str]:
    """Return whether any process of a killed run still runs after five seconds."""
    for _ in range(500):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return []
        time.sleep(0.01)
    return [f"processes of the group {group} outlived the killed run"]
