"""Whether and how a run that was started from Python shows how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from clipsearch.options import IndexProgress

Progress = Callable[[IndexProgress], None]


@contextmanager
def shown(progress: Progress | bool | None) -> Iterator[Progress]:
    """Give the function that is told of progress while the block runs.

    True shows it: a bar on a terminal and in a notebook, where ipywidgets draws it; elsewhere a
    line every ten seconds. None shows it in a notebook alone, False never. A function is told
    itself.
    """
    if callable(progress):
        yield progress
    elif progress or (progress is None and in_notebook()):
        yield from _shown()
    else:
        yield _nobody


def _shown() -> Iterator[Progress]:
    if not (_draws_widgets() if in_notebook() else sys.stderr.isatty()):
        from clipsearch.progress.lines import ProgressLines

        # What a notebook shows of standard error looks like a mistake.
        stream = sys.stdout if in_notebook() else sys.stderr
        yield ProgressLines(lambda line: print(line, file=stream)).update
        return
    from clipsearch.progress.bar import ProgressBar

    bar = ProgressBar()
    try:
        yield bar.update
    finally:
        bar.stop()


def in_notebook() -> bool:
    """Tell whether this is a notebook's kernel; IPython is not loaded for it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")


def _draws_widgets() -> bool:
    return find_spec("ipywidgets") is not None


def _nobody(_: IndexProgress) -> None:
    pass
