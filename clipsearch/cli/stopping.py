"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SHOW_CURSOR = b"\x1b[?25h"  # a progress bar may have hidden it


class StopRequest:
    """Whether an orderly end was asked for, and by which signal."""

    def __init__(self, patience: float = 0.0) -> None:
        self.signal: int | None = None
        self._patience = patience
        self._since = 0.0

    def __call__(self) -> bool:
        """Tell whether to stop as soon as what is under way is saved."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that this signal ended: 130 or 143."""
        return 128 + (self.signal or 0)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Take a signal. Only system calls here: it may come in the middle of anything."""
        if self.signal is not None:
            if time.monotonic() - self._since < self._patience:
                return
            os.write(2, _SHOW_CURSOR + b"\n" if os.isatty(2) else b"")
            os._exit(128 + number)
        self.signal, self._since = number, time.monotonic()
        # After a bar, while which sys.stderr may be Rich's, and what the terminal echoed.
        line = b"\n" if os.isatty(2) else b""
        os.write(2, line + b"stopping when this batch is saved; once more stops at once\n")


@contextmanager
def stopping(patience: float = 0.0) -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM during the block into a request to stop.

    The second ends the process, unless it comes within `patience` seconds: who started us may
    pass on the Ctrl-C that we had from the terminal.
    """
    request = StopRequest(patience)
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in former:
        signal.signal(number, request.handle)
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def end_if_stopped(request: StopRequest) -> None:
    """After everything is saved: say how to go on, and end as the signal asked."""
    from clipsearch.cli.ending import say

    if request():
        say("interrupted: what was finished is kept; run the same command to go on")
        sys.exit(request.exit_code)
