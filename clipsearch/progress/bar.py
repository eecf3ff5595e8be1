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
)
from rich.status import Status
from rich.text import Text

from clipsearch.options import IndexProgress
from clipsearch.progress.pace import Pace


class ProgressBar:
    """A bar with the rate and the time left, a spinner while a model loads; nothing stays."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._pace = Pace()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _PaceColumn(self),
            console=console,
            transient=True,
        )
        self._loading = Status("loading the model", console=console)
        self._task = self._progress.add_task("", total=None)
        self._phase = ""

    def update(self, progress: IndexProgress) -> None:
        """Show how far the run is."""
        if progress.message:
            self._progress.console.print(progress.message, markup=False, highlight=False)
        if progress.phase != self._phase:
            self._begin(progress)
        self._pace.note(progress.done, self._progress.get_time())
        self._progress.update(self._task, completed=progress.done)

    def _begin(self, progress: IndexProgress) -> None:
        self.stop()
        self._phase, self._pace = progress.phase, Pace()
        if progress.phase == "loading model":
            self._loading.start()
        elif progress.phase == "fetching model":  # which shows a bar of its own
            self._progress.console.print("fetching the model", style="dim")
        else:
            total = progress.total or None
            self._progress.reset(self._task, total=total, description=progress.phase)
            self._progress.start()

    def stop(self) -> None:
        """Take away what is shown."""
        self._progress.stop()
        self._loading.stop()

    def pace(self, task: Task) -> str:
        """Return the rate and the time left, or nothing while they are unknown."""
        speed = self._pace.speed
        if speed is None:
            return ""
        left = self._pace.left(int(task.completed), int(task.total or 0))
        return ", ".join(filter(None, (f"{speed:.1f}/s", left)))


class _PaceColumn(ProgressColumn):
    """Files a second, and how long the rest takes."""

    def __init__(self, bar: ProgressBar) -> None:
        super().__init__()
        self._bar = bar

    def render(self, task: Task) -> Text:
        """Return the text to show for a task."""
        return Text(self._bar.pace(task))
