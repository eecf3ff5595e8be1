"""`clipsearch eval`: measure models on captioned or labelled photos, and compare them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.options import Device, DeviceOption, VerboseOption

if TYPE_CHECKING:
    from clipsearch.models.encoder import Encoder
    from clipsearch.training.evaluation import Evaluation
    from clipsearch.training.evaluation.embedding import Photos
    from clipsearch.training.evaluation.labelled import LabelledData

eval_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, add_completion=False)


class Task(StrEnum):
    """What `compare` measures two models in."""

    retrieval = "retrieval"
    zeroshot = "zeroshot"


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
    typer.Option("--model", metavar="NAME", help="The model, named as for `clipsearch index`."),
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
        help="Leave out photos whose label is not among --classes.  [default: off]",
    ),
]
ShiftsOption = Annotated[
    bool,
    typer.Option(
        "--shifts",
        show_default=False,
        help="Measure under blur, noise, JPEG, grey and sketch too, with the drop.  [default: off]",
    ),
]
ResamplesOption = Annotated[
    int,
    typer.Option(
        "--resamples",
        metavar="N",
        min=100,
        max=1_000_000,
        help="How often photos are drawn for the intervals.",
    ),
]
SeedOption = Annotated[
    int,
    typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="Where all chance starts from."),
]
JsonToOption = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE|-",
        show_default=False,
        help="Write everything as JSON to this file, or with - to standard output in place of the "
        "table.  [default: no]",
    ),
]
PlotOption = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE.png",
        show_default=False,
        help="Draw the result as a PNG.  [default: no]",
    ),
]


@eval_app.callback()
def evaluate() -> None:
    """Measure models on captioned or labelled photos, and compare them.

    Photos are opened, scaled and encoded as by `clipsearch index`, so what is measured is what
    searches.
    """


@eval_app.command()
def retrieval(
    data: CaptionedOption,
    model: ModelOption = "builtin",
    label: LabelOption = None,
    equal_captions: EqualCaptionsOption = False,
    shifts: ShiftsOption = False,
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    json: JsonToOption = None,
    plot: PlotOption = None,
    device: DeviceOption = Device.auto,
    verbose: VerboseOption = False,
) -> None:
    """Find photos by their captions, and captions by their photos.

    Recall@1, 5, 10 and the median rank both ways, with 95 % intervals.

    Example: clipsearch eval retrieval --model builtin --data val.tar
    """
    from clipsearch.training.evaluation import Settings, evaluate_retrieval
    from clipsearch.training.evaluation.shifts import SHIFTS

    _check(json, plot)
    photos = _captioned(data, label)
    with _progress() as report:
        result = evaluate_retrieval(
            _encoder(model, device),
            photos,
            settings=Settings(tuple(data), resamples, seed),
            shifts=list(SHIFTS) if shifts else (),
            equal_captions=equal_captions,
            report=report,
        )
    _finish(result, json, plot)


@eval_app.command()
def zeroshot(
    data: LabelledOption,
    model: ModelOption = "builtin",
    classes: ClassesOption = None,
    skip_unknown: SkipUnknownOption = False,
    single: Annotated[
        bool,
        typer.Option(
            "--single",
            show_default=False,
            help="Only the single prompt: the templates take 80 times as long.  [default: both]",
        ),
    ] = False,
    shifts: ShiftsOption = False,
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    json: JsonToOption = None,
    plot: PlotOption = None,
    device: DeviceOption = Device.auto,
    verbose: VerboseOption = False,
) -> None:
    """Classify photos by the names of the classes alone.

    Top-1 and top-5 accuracy with "a photo of a NAME." and with the 80 templates of CLIP's authors,
    for each class, and the classes that are taken for each other.

    Example: clipsearch eval zeroshot --data animals/
    """
    from clipsearch.training.evaluation import Settings, evaluate_zero_shot
    from clipsearch.training.evaluation.shifts import SHIFTS

    _check(json, plot)
    photos = _labelled(data).test
    with _progress() as report:
        result = evaluate_zero_shot(
            _encoder(model, device),
            photos,
            classes=classes,
            skip_unknown=skip_unknown,
            ensemble=not single,
            settings=Settings(tuple(data), resamples, seed),
            shifts=list(SHIFTS) if shifts else (),
            report=report,
        )
    _finish(result, json, plot)


@eval_app.command("linear-probe")
def linear_probe(
    data: LabelledOption,
    model: ModelOption = "builtin",
    train: TrainOption = None,
    classes: ClassesOption = None,
    skip_unknown: SkipUnknownOption = False,
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    json: JsonToOption = None,
    plot: PlotOption = None,
    device: DeviceOption = Device.auto,
    verbose: VerboseOption = False,
) -> None:
    """Classify photos by a logistic regression on their vectors.

    Its strength is swept over 1e-6 to 1e6 as in the paper on CLIP, on a fifth of what is learned
    from. Needs scikit-learn: pip install 'clipsearch[train]'.

    Example: clipsearch eval linear-probe --data animals/
    """
    from clipsearch.training.evaluation import Settings, evaluate_linear_probe, labelled_features

    _check(json, plot)
    photos = _labelled(data, train)
    with _progress() as report:
        encoder = _encoder(model, device)
        features = labelled_features(
            encoder, photos, classes=classes, skip_unknown=skip_unknown, report=report
        )
        settings = Settings(tuple(data), resamples, seed)
        result = evaluate_linear_probe(features, settings=settings, report=report)
    _finish(result, json, plot)


@eval_app.command("few-shot")
def few_shot(
    data: LabelledOption,
    model: ModelOption = "builtin",
    train: TrainOption = None,
    classes: ClassesOption = None,
    skip_unknown: SkipUnknownOption = False,
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    json: JsonToOption = None,
    plot: PlotOption = None,
    device: DeviceOption = Device.auto,
    verbose: VerboseOption = False,
) -> None:
    """See how many photos a class it takes to beat the class names alone.

    Linear probes of 1, 2, 4, 8 and 16 photos a class, three draws each, beside zero-shot; --plot
    draws the curve. Needs scikit-learn: pip install 'clipsearch[train]'.

    Example: clipsearch eval few-shot --data animals/ --plot shots.png
    """
    from clipsearch.training.evaluation import Settings, evaluate_few_shot, labelled_features

    _check(json, plot)
    photos = _labelled(data, train)
    with _progress() as report:
        encoder = _encoder(model, device)
        features = labelled_features(
            encoder, photos, classes=classes, skip_unknown=skip_unknown, report=report
        )
        settings = Settings(tuple(data), resamples, seed)
        result = evaluate_few_shot(features, settings=settings, report=report)
    _finish(result, json, plot)


@eval_app.command("fine-tune")
def fine_tune(
    data: LabelledOption,
    model: ModelOption = "builtin",
    train: TrainOption = None,
    classes: ClassesOption = None,
    skip_unknown: SkipUnknownOption = False,
    epochs: Annotated[
        int,
        typer.Option(
            "--epochs", metavar="N", min=1, max=100_000, help="How often each photo is seen."
        ),
    ] = 5,
    learning_rate: Annotated[
        float,
        typer.Option(
            "--learning-rate",
            metavar="RATE",
            min=0,
            max=10,
            help="Of the image tower, at its highest.",
        ),
    ] = 3e-5,
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    json: JsonToOption = None,
    plot: PlotOption = None,
    device: DeviceOption = Device.auto,
    verbose: VerboseOption = False,
) -> None:
    """Teach the whole image tower classes, and measure it beside probe and zero-shot.

    A short run of AdamW with a linear head; nothing of it is kept. Needs scikit-learn for the
    probe: pip install 'clipsearch[train]'.

    Example: clipsearch eval fine-tune --data animals/
    """
    from clipsearch.training.evaluation import Settings, labelled_features
    from clipsearch.training.evaluation.fine_tune import FineTuning, evaluate_fine_tune

    _check(json, plot)
    photos = _labelled(data, train)
    with _progress() as report:
        encoder = _encoder(model, device)
        features = labelled_features(
            encoder, photos, classes=classes, skip_unknown=skip_unknown, report=report
        )
        result = evaluate_fine_tune(
            model,
            photos,
            features,
            tuning=FineTuning(epochs, learning_rate),
            settings=Settings(tuple(data), resamples, seed),
            report=report,
        )
    _finish(result, json, plot)


@eval_app.command()
def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            show_default=False,
            help="A model, named as for `clipsearch index`; or a .json that `clipsearch eval` "
            "wrote before.",
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", show_default=False, help="Another, as A.")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="DATA",
            show_default=False,
            help="What models are measured on; as for `eval retrieval` or `eval zeroshot`.",
        ),
    ] = None,
    task: Annotated[Task, typer.Option("--task", help="What models are measured in.")] = (
        Task.retrieval
    ),
    label: LabelOption = None,
    equal_captions: EqualCaptionsOption = False,
    classes: ClassesOption = None,
    skip_unknown: SkipUnknownOption = False,
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    json: JsonToOption = None,
    plot: PlotOption = None,
    device: DeviceOption = Device.auto,
    verbose: VerboseOption = False,
) -> None:
    """Say whether model B is better than A, on the same photos.

    Every metric with the 95 % interval of the difference: photos are drawn in pairs, so that what
    makes a photo hard falls out. The verdict stands on the mean of the recalls both ways (or on
    top-1 accuracy): better if the interval of the difference excludes 0.

    Example: clipsearch eval compare builtin my-run --data val.tar
    """
    from clipsearch.cli.eval_output import (
        STANDARD_OUTPUT,
        show_comparison,
        write_json_to,
    )
    from clipsearch.errors import InvalidInput
    from clipsearch.models.names import resolve_model
    from clipsearch.training.evaluation import compare as compare_results
    from clipsearch.training.evaluation import read_evaluation

    _check(json, plot)
    earlier = {name: read_evaluation(Path(name)) for name in (a, b) if name.endswith(".json")}
    if len(earlier) < len({a, b}) and not data:
        raise InvalidInput("to measure models, name the photos with --data")
    for name in (a, b):
        if name not in earlier:
            resolve_model(name)  # a wrong name is found before the other model is measured
    photos: Photos = []
    if data:
        photos = _captioned(data, label) if task is Task.retrieval else _labelled(data).test

    def result_of(name: str) -> Evaluation:
        if name in earlier:
            return earlier[name]
        from clipsearch.training.evaluation import (
            Settings,
            evaluate_retrieval,
            evaluate_zero_shot,
        )

        settings, encoder = Settings(tuple(data or ())), _encoder(name, device)
        with _progress() as report:
            if task is Task.retrieval:
                return evaluate_retrieval(
                    encoder,
                    photos,
                    settings=settings,
                    equal_captions=equal_captions,
                    report=report,
                )
            return evaluate_zero_shot(
                encoder,
                photos,
                classes=classes,
                skip_unknown=skip_unknown,
                settings=settings,
                report=report,
            )

    found = compare_results(result_of(a), result_of(b), resamples=resamples, seed=seed)
    write_json_to(json, found.to_json())
    if plot is not None:
        from clipsearch.training.evaluation.plots import plot_comparison

        plot_comparison(found, plot)
    if json != STANDARD_OUTPUT:
        show_comparison(found)


def _check(json: str | None, plot: Path | None) -> None:
    from clipsearch.cli.eval_output import check_places

    check_places(json, plot)


def _captioned(data: list[str], label: list[str] | None) -> Photos:
    from clipsearch.training.data.sources import open_sources

    source = open_sources(data, labels=label or ())
    _say_all(source.notes)
    return source


def _labelled(data: list[str], train: list[str] | None = None) -> LabelledData:
    from clipsearch.training.evaluation.labelled import open_labelled

    found = open_labelled(data, train or ())
    _say_all(found.notes)
    return found


def _say_all(notes: Sequence[str]) -> None:
    from clipsearch.cli.ending import say

    for note in notes:
        say(note)


def _encoder(model: str, device: Device) -> Encoder:
    from clipsearch.training.evaluation.embedding import open_encoder

    return open_encoder(model, device.value)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Give the function that shows how far the work is, on standard error."""
    import sys
    import time

    from clipsearch.cli.ending import say
    from clipsearch.cli.progress import SECONDS_BETWEEN_LINES

    if sys.stderr.isatty():
        from clipsearch.cli.progress_bar import ProgressBar
        from clipsearch.options import IndexProgress

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


def _finish(result: Evaluation, json: str | None, plot: Path | None) -> None:
    """Write the JSON, the plot and the table."""
    from clipsearch.cli.eval_output import (
        STANDARD_OUTPUT,
        say_what_was_measured,
        show_details,
        show_evaluation,
        write_json_to,
    )

    write_json_to(json, result.to_json())
    if plot is not None:
        from clipsearch.training.evaluation.plots import plot_evaluation

        plot_evaluation(result, plot)
    say_what_was_measured(result)
    if json != STANDARD_OUTPUT:
        show_evaluation(result)
        show_details(result)
