"""What the commands of `clipsearch eval` share: options, opening photos, progress, the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli import completing
from clipsearch.cli.given_values import whole_number
from clipsearch.cli.options import Device

if TYPE_CHECKING:
    from clipsearch.models.encoder import Encoder
    from clipsearch.training.evaluation import Evaluation, EvaluationSettings
    from clipsearch.training.evaluation.embedding import Photos, Report
    from clipsearch.training.evaluation.labelled import LabelledData

_CAPTIONED = (
    "Photos with captions: a .tar shard, a pattern or folder of them, a .csv, .tsv or .jsonl, a "
    "folder of pictures with captions beside or in them, library:FOLDER, or validation:RUN for "
    "what a training run measured itself on. May be given again."
)
CaptionedOption = Annotated[
    list[str], typer.Option("--data", metavar="DATA", show_default=False, help=_CAPTIONED)
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME",
        autocompletion=completing.models,
        help="The model, named as for `clipsearch index`.",
    ),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="NAME",
        show_default=False,
        help="Only photos of this class; may be given again.  [default: all]",
    ),
]
EqualCaptionsOption = Annotated[
    bool,
    typer.Option(
        "--equal-captions",
        show_default=False,
        help="Another photo with the very same caption is right too, as it must be where captions "
        "are made from class names.  [default: off, as in published figures]",
    ),
]
_LABELLED = (
    "Photos with labels: a folder with one folder a class (with train and val in it, val is "
    "measured), or a source whose samples have labels, as for `eval retrieval`. May be given again."
)
LabelledOption = Annotated[
    list[str], typer.Option("--data", metavar="DATA", show_default=False, help=_LABELLED)
]
TrainOption = Annotated[
    list[str] | None,
    typer.Option(
        "--train",
        metavar="DATA",
        show_default=False,
        help="What to learn from, as --data.  [default: the train folder beside val; else four "
        "fifths of each class, the same every time]",
    ),
]
ClassesOption = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="FILE|imagenet",
        autocompletion=completing.words(["imagenet"]),
        show_default=False,
        help="The names to choose from: a file with one a line (or label, tab, name), or "
        "`imagenet` for its 1,000.  [default: the photos' labels]",
    ),
]
SkipUnknownOption = Annotated[
    bool,
    typer.Option(
        "--skip-unknown",
        show_default=False,
        help="Leave out photos whose label is not among --classes.",
    ),
]
ShiftsOption = Annotated[
    bool,
    typer.Option(
        "--shifts",
        show_default=False,
        help="Measure under blur, noise, JPEG, grey and sketch too, with the drop.",
    ),
]
ResamplesOption = Annotated[
    int,
    typer.Option(
        "--resamples",
        metavar="N",
        parser=whole_number("--resamples", least=100, most=1_000_000),
        help="How often photos are drawn for the intervals.",
    ),
]
SeedOption = Annotated[
    int,
    typer.Option(
        "--seed",
        metavar="N",
        parser=whole_number("--seed", least=0, most=2**32 - 1),
        help="Where all chance starts from.",
    ),
]
JsonToOption = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE|-",
        show_default=False,
        help="Write everything as JSON to this file, or with - to standard output in place of the "
        "table.",
    ),
]
PlotOption = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE.png",
        show_default=False,
        help="Draw the result as a PNG.",
    ),
]


@dataclass(frozen=True)
class Measurement:
    """What each command that measures one model is asked for."""

    data: list[str]
    model: str
    device: Device
    resamples: int
    seed: int
    json: str | None
    plot: Path | None

    def __post_init__(self) -> None:
        """Raise InvalidInput, before the work, for files that could not be written after it."""
        from clipsearch.cli.eval_output import check_places

        check_places(self.json, self.plot)

    def run(self, evaluate: Callable[[Encoder, EvaluationSettings, Report], Evaluation]) -> None:
        """Load the model, measure it, and write the JSON, the plot and the table."""
        from clipsearch.training.evaluation import EvaluationSettings

        settings = EvaluationSettings(tuple(self.data), self.resamples, self.seed)
        with progress() as report:
            result = evaluate(exact_encoder(self.model, self.device), settings, report)
        self._write(result)

    def _write(self, result: Evaluation) -> None:
        from clipsearch.cli.eval_output import (
            STANDARD_OUTPUT,
            say_what_was_measured,
            show_details,
            show_evaluation,
            write_json_to,
        )

        write_json_to(self.json, result.to_json())
        if self.plot is not None:
            from clipsearch.training.evaluation.plots import plot_evaluation

            plot_evaluation(result, self.plot)
        say_what_was_measured(result)
        if self.json != STANDARD_OUTPUT:
            show_evaluation(result)
            show_details(result)


def captioned(data: list[str], label: list[str] | None) -> Photos:
    """Open photos with captions, and say what is doubtful about them."""
    from clipsearch.training.data.sources import open_sources

    source = open_sources(data, labels=label or ())
    _say_all(source.notes)
    return source


def labelled(data: list[str], train: list[str] | None = None) -> LabelledData:
    """Open photos with labels, and say what is doubtful about them."""
    from clipsearch.training.evaluation.labelled import open_labelled

    found = open_labelled(data, train or ())
    _say_all(found.notes)
    return found


def _say_all(notes: Sequence[str]) -> None:
    from clipsearch.cli.ending import say

    for note in notes:
        say(note)


def shift_names(wanted: bool) -> tuple[str, ...]:
    """Return the names of all shifts, or none."""
    from clipsearch.training.evaluation.shifts import SHIFTS

    return tuple(SHIFTS) if wanted else ()


def exact_encoder(model: str, device: Device) -> Encoder:
    """Load a model as it is measured: all of it in float32."""
    from clipsearch.training.evaluation.embedding import open_encoder

    return open_encoder(model, device.value)


@contextmanager
def progress() -> Iterator[Report]:
    """Give the function that shows how far the work is, on standard error."""
    import sys
    import time

    from clipsearch.cli.ending import say
    from clipsearch.progress.lines import SECONDS_BETWEEN_LINES

    if sys.stderr.isatty():
        from clipsearch.options import IndexProgress
        from clipsearch.progress.bar import ProgressBar

        bar = ProgressBar()
        try:
            yield lambda what, done, total: bar.update(IndexProgress(what, done, total))
        finally:
            bar.stop()
        return
    said = time.monotonic()

    def line(what: str, done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            say(f"{done:,} of {total:,} {what}")

    yield line
