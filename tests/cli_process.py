"""Runs the program as a process, as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROGRAM = (sys.executable, "-m", "clipsearch")


@dataclass(frozen=True)
class Ended:
    """A process that ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def clean_environment(**extra: str) -> dict[str, str]:
    """Return this environment without what would change the program's answers."""
    ours = {"CLIPSEARCH_LIBRARY", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "CLIPSEARCH_THUMBNAILS"}
    ours |= {"COLORTERM", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "KONSOLE_VERSION"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "OMP_NUM_THREADS": "1", **extra}


def clipsearch(
    *arguments: str | bytes | Path,
    stdin: bytes = b"",
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run the program to its end with pipes for standard streams."""
    done = subprocess.run(
        [*PROGRAM, *arguments],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env=clean_environment(**(environment or {})),
        timeout=300,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr.decode(errors="backslashreplace"))
