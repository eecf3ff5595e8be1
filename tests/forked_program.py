"""Runs the program as processes that need no start-up: forked from one that has all imported.

Each run is a process of its own, with its own exit code, signals, rights and limits; only the
seconds that importing torch takes are saved.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli_process import Ended, clean_environment

HERE = Path(__file__).resolve().parent
SECONDS = 120
PR_SET_PDEATHSIG = 1


@dataclass
class Running:
    """A run that was started."""

    pid: int
    _program: ForkedProgram
    _output: Path
    ended: bool = False

    def running(self) -> bool:
        """Tell whether it has not ended."""
        return not self.ended and self._program.is_running(self.pid)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; safe also when the process has ended, until `wait` was called."""
        os.kill(self.pid, number)

    def err(self) -> str:
        """Return what was written to standard error up to now."""
        return self._output.with_suffix(".err").read_text(errors="backslashreplace")

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait until something is so; fail if the process ends before."""
        give_up = time.monotonic() + SECONDS
        while not ready():
            assert self.running(), f"ended too early: {self.err()}"
            assert time.monotonic() < give_up, f"waited in vain: {self.err()}"
            time.sleep(0.002)

    def wait(self) -> Ended:
        """Wait for the end; a run that a signal ended has its negative number as code."""
        code = self._program.ask(wait=self.pid)
        self.ended = True
        return Ended(code, self._output.with_suffix(".out").read_bytes(), self.err())


class ForkedProgram:
    """The process that forks."""

    def __init__(self) -> None:
        self._place = Path(tempfile.mkdtemp(prefix="clipsearch-runs-"))
        self._place.chmod(0o755)
        atexit.register(shutil.rmtree, self._place, ignore_errors=True)
        self._runs = 0
        self._server = subprocess.Popen(
            [sys.executable, HERE / "forked_program.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        )

    def ask(self, **request: Any) -> int:
        """Send a request to the server; return its answer."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(request), file=self._server.stdin, flush=True)
        return int(self._server.stdout.readline())

    def is_running(self, pid: int) -> bool:
        """Tell whether a run that was not yet waited for goes on."""
        return bool(self.ask(look=pid))

    def start(
        self,
        *arguments: str | Path,
        prepare: str = "",
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Running:
        """Start the program; `prepare` is Python run in its process before it.

        Its environment is that of the first run, but for the library and what is given here.
        """
        self._runs += 1
        output = self._place / f"run-{self._runs}"
        for suffix in (".out", ".err"):  # to be read before the process has come so far
            output.with_suffix(suffix).touch()
        pid = self.ask(
            arguments=[os.fspath(argument) for argument in arguments],
            prepare=prepare,
            cwd=os.fspath(cwd or Path.cwd()),
            output=os.fspath(output),
            environment={
                "CLIPSEARCH_LIBRARY": os.environ.get("CLIPSEARCH_LIBRARY", ""),
                **(environment or {}),
            },
        )
        return Running(pid, self, output)

    def run(self, *arguments: str | Path, **how: Any) -> Ended:
        """Run the program to its end; see `start`."""
        return self.start(*arguments, **how).wait()


@functools.cache
def forked_program() -> ForkedProgram:
    """Return the one server of this process; it ends when this process does."""
    return ForkedProgram()


def serve() -> None:
    """Import what the program needs, then fork a process for each request."""
    import faiss  # noqa: F401
    import open_clip  # noqa: F401
    import torch.onnx  # noqa: F401

    import clipsearch.cli.app
    import clipsearch.indexing.run
    import clipsearch.models.encoder
    import clipsearch.models.text.export  # noqa: F401
    from clipsearch.privacy import onnx_runtime

    onnx_runtime()
    for line in sys.stdin:
        request = json.loads(line)
        if "look" in request:
            state = os.waitid(os.P_PID, request["look"], os.WEXITED | os.WNOHANG | os.WNOWAIT)
            answer = int(state is None)
        elif "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                _become_program(request)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _become_program(request: dict[str, Any]) -> None:
    """Do in a forked process what a new one does; never returns."""
    code: Any = 70
    try:
        _die_with_the_tests()
        os.setsid()
        _redirect(request["output"])
        os.chdir(request["cwd"])
        os.environ |= request["environment"]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["clipsearch", *request["arguments"]]
        exec(request["prepare"], {"__name__": "prepare"})
        from clipsearch.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        code = 1
    finally:
        _leave(code)


def _die_with_the_tests() -> None:
    """Let no run go on for ever when those who would have ended it were killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _redirect(output: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for stream, suffix in ((1, ".out"), (2, ".err")):
        file = os.open(output + suffix, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(file, stream)


def _leave(code: Any) -> None:
    import threading

    for thread in threading.enumerate():  # as the interpreter does at its end
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    serve()
