"""Starting a server that goes on alone, and ending the one that runs."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from clipsearch.errors import LibraryError
from clipsearch.serving.client import server_process
from clipsearch.serving.protocol import socket_path

_SECONDS_TO_END = 30.0
_PAUSE = 0.1  # seconds


def start_alone(run: Callable[[Callable[[], None]], None]) -> int | None:
    """Run a server in a process of its own, which no terminal ends; return its number.

    `run` serves, and calls what it is given once it does: until then this process waits, and what
    goes wrong is said and ends both, with one exit code. In the process of the server, which goes
    on where this is called, the result is None, after its end.
    """
    if not hasattr(os, "fork"):
        raise LibraryError("this system can't start a server in the background")
    told, tell = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    server = os.fork()
    if not server:
        os.close(told)
        os.setsid()
        run(lambda: _go_on_alone(tell))
        return None
    os.close(tell)
    try:
        serves = os.read(told, 1)
    except KeyboardInterrupt:
        os.kill(server, signal.SIGTERM)
        raise
    if not serves:
        code = os.waitstatus_to_exitcode(os.waitpid(server, 0)[1])
        sys.exit(code if code >= 0 else 128 - code)
    return server


def _go_on_alone(tell: int) -> None:
    """Let go of the terminal and of the current folder, whose disk may be unmounted."""
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
    os.write(tell, b"1")
    os.close(tell)


def stop_server(folder: Path) -> int | None:
    """End the server of a library in good order; return which process it was, None if none ran.

    Raises LibraryError if it does not end.
    """
    process = server_process(folder)
    if process is None:
        return None
    path = socket_path(folder)
    try:
        os.kill(process, signal.SIGTERM)
    except ProcessLookupError:  # it has just ended
        return process
    for number in range(int(_SECONDS_TO_END / _PAUSE)):
        # It takes its socket away at its end, unless it was not ready yet.
        if not os.path.lexists(path or "") or (number % 10 == 9 and not server_process(folder)):
            return process
        time.sleep(_PAUSE)
    raise LibraryError(f"the server (process {process}) does not end: `kill -9 {process}` ends it")
