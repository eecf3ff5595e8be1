"""`clipsearch eval` of labelled photos: by class names, probes, few shots and fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.evaluating import (
    ClassesOption,
    JsonToOption,
    LabelledOption,
    Measurement,
    ModelOption,
    PlotOption,
    ResamplesOption,
    SeedOption,
    ShiftsOption,
    SkipUnknownOption,
    TrainOption,
    labelled,
    shift_names,
)
from clipsearch.cli.given_values import number, whole_number
from clipsearch.cli.options import Device, DeviceOption, VerboseOption, YesOption

if TYPE_CHECKING:
    from clipsearch.models.encoder import Encoder
    from clipsearch.training.evaluation import Evaluation, EvaluationSettings
    from clipsearch.training.evaluation.embedding import Report
    from clipsearch.training.evaluation.labelled import LabelledData

SingleOption = Annotated[
    bool,
    typer.Option(
        "--single",
        show_default=False,
        help="Only the single prompt: the templates take 80 times as long.  [default: both]",
    ),
]
EpochsOption = Annotated[
    int,
    typer.Option(
        "--epochs",
        metavar="N",
        parser=whole_number("--epochs", least=1, most=100_000),
        help="How often each photo is seen.",
    ),
]
LearningRateOption = Annotated[
    float,
    typer.Option(
        "--learning-rate",
        metavar="RATE",
        parser=number("--learning-rate", least=0, most=10),
        help="Of the image tower, at its highest.",
    ),
]


def zeroshot(
    data: LabelledOption,
    model: ModelOption = "builtin",
    classes: ClassesOption = None,
    skip_unknown: SkipUnknownOption = False,
    single: SingleOption = False,
    shifts: ShiftsOption = False,
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    json: JsonToOption = None,
    plot: PlotOption = None,
    device: DeviceOption = Device.auto,
    yes: YesOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Classify photos by the names of the classes alone.

    Top-1 and top-5 accuracy with "a photo of a NAME." and with the 80 templates of CLIP's authors,
    for each class, and the classes that are taken for each other.
    """
    from clipsearch.training.evaluation import evaluate_zero_shot

    asked = Measurement(data, model, device, resamples, seed, json, plot)
    photos = labelled(data).test
    asked.run(
        lambda encoder, settings, report: evaluate_zero_shot(
            encoder,
            photos,
            classes=classes,
            skip_unknown=skip_unknown,
            ensemble=not single,
            settings=settings,
            shifts=shift_names(shifts),
            report=report,
        )
    )


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
    yes: YesOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Classify photos by a logistic regression on their vectors.

    Its strength is swept over 1e-6 to 1e6 as in the paper on CLIP, on a fifth of what is learned
    from. Needs scikit-learn: pip install 'clipsearch[train]'.
    """
    from clipsearch.training.evaluation import evaluate_linear_probe

    asked = Measurement(data, model, device, resamples, seed, json, plot)
    photos = labelled(data, train)
    asked.run(_of_features(evaluate_linear_probe, photos, classes, skip_unknown))


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
    yes: YesOption = False,
    verbose: VerboseOption = False,
) -> None:
    """See how many photos a class it takes to beat the class names alone.

    Linear probes of 1, 2, 4, 8 and 16 photos a class, three draws each, beside zero-shot; --plot
    draws the curve. Needs scikit-learn: pip install 'clipsearch[train]'.
    """
    from clipsearch.training.evaluation import evaluate_few_shot

    asked = Measurement(data, model, device, resamples, seed, json, plot)
    photos = labelled(data, train)
    asked.run(_of_features(evaluate_few_shot, photos, classes, skip_unknown))


def fine_tune(
    data: LabelledOption,
    model: ModelOption = "builtin",
    train: TrainOption = None,
    classes: ClassesOption = None,
    skip_unknown: SkipUnknownOption = False,
    epochs: EpochsOption = 5,
    learning_rate: LearningRateOption = 3e-5,
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    json: JsonToOption = None,
    plot: PlotOption = None,
    device: DeviceOption = Device.auto,
    yes: YesOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Teach the whole image tower classes, and measure it beside probe and zero-shot.

    A short run of AdamW with a linear head; nothing of it is kept. Needs scikit-learn for the
    probe: pip install 'clipsearch[train]'.
    """
    from clipsearch.training.evaluation.fine_tune import FineTuning, evaluate_fine_tune

    asked = Measurement(data, model, device, resamples, seed, json, plot)
    photos = labelled(data, train)
    tuning = FineTuning(epochs, learning_rate)
    evaluate = partial(evaluate_fine_tune, model, photos, tuning=tuning)
    asked.run(_of_features(evaluate, photos, classes, skip_unknown))


def _of_features(
    evaluate: Callable[..., Evaluation],
    photos: LabelledData,
    classes: str | None,
    skip_unknown: bool,
) -> Callable[[Encoder, EvaluationSettings, Report], Evaluation]:
    """Return what measures a model by the vectors of the photos, which are made first."""

    def measured(encoder: Encoder, settings: EvaluationSettings, report: Report) -> Evaluation:
        from clipsearch.training.evaluation import labelled_features

        features = labelled_features(
            encoder, photos, classes=classes, skip_unknown=skip_unknown, report=report
        )
        return evaluate(features, settings=settings, report=report)

    return measured
