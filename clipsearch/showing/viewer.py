"""The program with which this machine shows a file: a viewer for a photo, a browser for a page."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from clipsearch.errors import ClipsearchError


def open_file(file: Path) -> None:
    """Show a file in the program that this machine has for it; returns at once.

    Raises ClipsearchError where the file is gone, or where there is no display or no such program.
    """
    if not file.exists():
        raise ClipsearchError(f"{file} is not there any more")
    if sys.platform == "win32":
        _start(file)
        return
    check_display()
    _run("open" if sys.platform == "darwin" else "xdg-open", file)


def check_display() -> None:
    """Raise ClipsearchError where nothing can be shown."""
    if sys.platform not in ("win32", "darwin") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise ClipsearchError("there is no display here to show photos on")


def _run(command: str, file: Path) -> None:
    """Start a program with a file as its one argument; it lives on when this one ends."""
    import shutil
    import subprocess
    import threading

    found = shutil.which(command)
    if found is None:
        raise ClipsearchError(f"{command}, which opens files, is not on this machine")
    nowhere = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            [found, os.fspath(file.absolute())],
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
            start_new_session=True,
        )
    except OSError as error:
        raise ClipsearchError(f"{command} can't be started: {error.strerror or error}") from error
    # Nobody waits for it, but for the system, which wants its end to be taken note of.
    threading.Thread(target=process.wait, name="clipsearch-viewer", daemon=True).start()


def _start(file: Path) -> None:
    try:
        os.startfile(file)  # type: ignore[attr-defined,unused-ignore]
    except OSError as error:
        raise ClipsearchError(f"{file} can't be shown: {error.strerror or error}") from error
