"""The progress bar of an index run, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from clipsearch.options import IndexProgress


class ProgressBar:
    """A bar with the rate and the time left; it leaves nothing behind."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None)
        self._phase = ""

    def update(self, progress: IndexProgress) -> None:
        """Show how far the run is."""
        if progress.message:
            self._progress.console.print(progress.message, markup=False, highlight=False)
        if progress.phase != self._phase:
            self._begin(progress)
        self._progress.update(self._task, completed=progress.done)

    def _begin(self, progress: IndexProgress) -> None:
        self._phase = progress.phase
        if progress.phase == "loading model":
            self._progress.stop()  # loading may show the progress of a download itself
            self._progress.console.print("loading the model", style="dim")
            return
        self._progress.reset(self._task, total=progress.total or None, description=progress.phase)
        self._progress.start()

    def stop(self) -> None:
        """Take the bar away."""
        self._progress.stop()


class _Rate(ProgressColumn):
    """Files a second."""

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing while it is unknown."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "")
