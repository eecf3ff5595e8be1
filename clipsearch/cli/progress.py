"""Progress of an index run on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clipsearch.cli.ending import say
from clipsearch.options import IndexProgress
from clipsearch.progress.lines import ProgressLines


@contextmanager
def showing_progress() -> Iterator[Callable[[IndexProgress], None]]:
    """Give the function that shows progress while the block runs."""
    if not sys.stderr.isatty():
        yield ProgressLines(say).update
        return
    from clipsearch.progress.bar import ProgressBar

    bar = ProgressBar()
    try:
        yield bar.update
    finally:
        bar.stop()
