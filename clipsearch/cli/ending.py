"""How the program ends: exit codes, and errors as one line for people."""

from __future__ import annotations

import sys
from typing import NoReturn

from clipsearch.cli.printable import printable
from clipsearch.errors import ClipsearchError

NOTHING_FOUND = 1
INTERRUPTED = 130
BROKEN_PIPE = 141  # what a shell reports of a process that SIGPIPE ended


def say(line: str) -> None:
    """Write one line to standard error, safe for a terminal."""
    sys.stderr.write(f"{printable(line)}\n")


def end_with_error(error: ClipsearchError) -> NoReturn:
    """Say what went wrong in one line (with --verbose also where) and end the process."""
    import logging

    logging.getLogger("clipsearch").debug("this is where it went wrong", exc_info=error)
    say(f"clipsearch: {error}")
    sys.exit(error.exit_code)


def log_everything() -> None:
    """Send the log, with tracebacks of errors, to standard error."""
    import logging

    logging.basicConfig(stream=sys.stderr, format="%(name)s: %(message)s")
    logging.getLogger("clipsearch").setLevel(logging.DEBUG)
