"""The question before much is fetched."""

from __future__ import annotations

import signal
import sys
import threading

from clipsearch.cli.printable import printable, size_in_words


def ask_a_person(what: str, size: int) -> bool:
    """Ask on the terminal whether to fetch something; where there is none, yes without waiting."""
    at_terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    if not at_terminal or threading.current_thread() is not threading.main_thread():
        return True
    question = f"{printable(what)} is not on this machine: fetch {size_in_words(size)}? [Y/n] "
    # Ctrl-C ends the question, whatever it means to what goes on around it.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.stderr.write(question)
        sys.stderr.flush()
        answer = sys.stdin.readline()
    finally:
        signal.signal(signal.SIGINT, former)
    return answer.strip().lower() in ("", "y", "yes") and bool(answer)
