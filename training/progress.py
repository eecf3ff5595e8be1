"""How far a training run is, on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipsearch.training.trainer import StepReport

SECONDS_BETWEEN_LINES = 10.0
Say = Callable[[str], None]
Report = Callable[["StepReport"], None]


@contextmanager
def showing_training(say: Say, *, quiet: bool = False) -> Iterator[Report]:
    """Give the function that takes the trainer's reports while the block runs."""
    if quiet:
        yield lambda report: None
    elif sys.stderr.isatty():
        bar = _Bar()
        try:
            yield bar.update
        finally:
            bar.stop()
    else:
        yield _Lines(say).update


class _Lines:
    """Says how far the run is at most every ten seconds, and what was measured."""

    def __init__(self, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._last = -SECONDS_BETWEEN_LINES

    def update(self, report: StepReport) -> None:
        """Take note, and say it if it is time."""
        now = self._clock()
        if now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            self._say(in_words(report))
        for line in news(report):
            self._say(line)


class _Bar:
    """A bar with the rate, the loss and the time left; it leaves only what was measured."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None)
        self._progress.start()

    def update(self, report: StepReport) -> None:
        """Show how far the run is."""
        for line in news(report):
            self._progress.console.print(line, markup=False, highlight=False)
        self._progress.update(
            self._task,
            total=report.steps,
            completed=report.step,
            description=", ".join(_facts(report)),
        )

    def stop(self) -> None:
        """Take the bar away."""
        self._progress.stop()


def in_words(report: StepReport) -> str:
    """Return how far the run is in one line."""
    return f"step {report.step} of {report.steps}: {', '.join(_facts(report))}"


def _facts(report: StepReport) -> list[str]:
    facts = [f"loss {report.loss:.3f}", f"{report.samples_per_second:.1f} photos/s"]
    if report.skipped:
        facts.append(f"{report.skipped} skipped")
    return [*facts, f"{duration(report.seconds_left)} left"]


def news(report: StepReport) -> list[str]:
    """Return what is worth a line of its own: a message, and what was measured."""
    lines = report.warning.split("\n") if report.warning else []
    if report.validation:
        lines.append(f"step {report.step}: on validation {recalls(report.validation)}")
    if report.step == report.steps:
        lines.append("the steps are done; measuring and choosing the weights that come out")
    return lines


def recalls(metrics: Mapping[str, float]) -> str:
    """Return loss and recalls of METRICS in words.

    >>> recalls({"loss": 2.5, "text_to_image_R@1": 0.2, "text_to_image_R@10": 0.61})
    'loss 2.500, text to image R@1 20.0 %, R@10 61.0 %'
    """
    parts = [f"loss {metrics['loss']:.3f}"] if "loss" in metrics else []
    for way in ("text_to_image", "image_to_text"):
        found = [
            f"R@{k} {100 * metrics[f'{way}_R@{k}']:.1f} %"
            for k in (1, 10)
            if f"{way}_R@{k}" in metrics
        ]
        if found:
            parts.append(f"{way.replace('_', ' ')} {', '.join(found)}")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a time in words, as precise as it is useful.

    >>> [duration(s) for s in (4.2, 75, 600, 5400, 200000)]
    ['4 s', '75 s', '10 min', '1 h 30 min', '2 days 8 h']
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} days {hours} h"
