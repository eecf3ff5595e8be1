"""How the program ends: exit codes, and errors as one line for people."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn

from clipsearch.cli.printable import printable
from clipsearch.errors import ClipsearchError, one_line

NOTHING_FOUND = 1
BAD_INPUT = 2
SOME_UNREAD = 4  # done, but some files could not be read
FAULT = 70  # as sysexits.h has it for a fault in the program
INTERRUPTED = 130
BROKEN_PIPE = 141  # what a shell reports of a process that SIGPIPE ended


def say(line: str) -> None:
    """Write one line to standard error, safe for a terminal."""
    with suppress(OSError):  # nobody reads it
        sys.stderr.write(f"{printable(line)}\n")


def end_with_error(error: ClipsearchError) -> NoReturn:
    """Say what went wrong in one line (with --verbose also where) and end the process."""
    _end(error, str(error), error.exit_code)


def end_with_fault(error: Exception) -> NoReturn:
    """Say in one line that an error came that nobody foresaw, and end the process."""
    refused = isinstance(error, (OSError, MemoryError))
    whose = "this machine refuses what is needed" if refused else "this is a fault of clipsearch"
    what = f"{type(error).__name__}: {one_line(error)}"
    _end(error, f"{whose} (--verbose shows where): {what}", FAULT)


def _end(error: Exception, line: str, code: int) -> NoReturn:
    import logging

    logging.getLogger("clipsearch").debug("this is where it went wrong", exc_info=error)
    say(f"clipsearch: {line}")
    sys.exit(code)


def open_closed_streams() -> None:
    """Give a program whose standard streams are closed streams to nowhere.

    Else the next file that it opens would be its standard output.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if None in (sys.stdin, sys.stdout, sys.stderr):
        sys.stdin = sys.stdin or open(0)  # noqa: SIM115
        sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
        sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115


def log_everything() -> None:
    """Send the log, with tracebacks of errors, to standard error."""
    import logging

    logging.basicConfig(stream=sys.stderr, format="%(name)s: %(message)s")
    logging.getLogger("clipsearch").setLevel(logging.DEBUG)
