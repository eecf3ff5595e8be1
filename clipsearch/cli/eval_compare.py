"""`clipsearch eval compare`: two models, or results of before, on the same photos."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli import completing
from clipsearch.cli.evaluating import (
    ClassesOption,
    EqualCaptionsOption,
    JsonToOption,
    LabelOption,
    PlotOption,
    ResamplesOption,
    SeedOption,
    SkipUnknownOption,
    captioned,
    exact_encoder,
    labelled,
    progress,
)
from clipsearch.cli.given_values import one_of
from clipsearch.cli.options import Device, DeviceOption, VerboseOption, YesOption

if TYPE_CHECKING:
    from clipsearch.training.evaluation import Comparison, Evaluation
    from clipsearch.training.evaluation.embedding import Photos


class Task(StrEnum):
    """What `compare` measures two models in."""

    retrieval = "retrieval"
    zeroshot = "zeroshot"


FirstArgument = Annotated[
    str,
    typer.Argument(
        metavar="A",
        autocompletion=completing.models,
        show_default=False,
        help="A model, named as for `clipsearch index`; or a .json that `clipsearch eval` "
        "wrote before.",
    ),
]
SecondArgument = Annotated[
    str,
    typer.Argument(
        metavar="B",
        autocompletion=completing.models,
        show_default=False,
        help="Another, as A.",
    ),
]
DataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="DATA",
        show_default=False,
        help="What models are measured on; as for `eval retrieval` or `eval zeroshot`.",
    ),
]
TaskOption = Annotated[
    Task,
    typer.Option(
        "--task",
        metavar="|".join(Task),
        autocompletion=completing.words(Task),
        parser=one_of("--task", Task, {"classes": "zeroshot", "captions": "retrieval"}),
        help="What models are measured in.",
    ),
]


@dataclass(frozen=True)
class _Question:
    """What both models are measured in and on."""

    task: Task
    data: list[str]  # empty where both results were written before
    label: list[str] | None
    equal_captions: bool
    classes: str | None
    skip_unknown: bool
    device: Device

    def photos(self) -> Photos:
        """Open the photos."""
        if not self.data:
            return []
        if self.task is Task.retrieval:
            return captioned(self.data, self.label)
        return labelled(self.data).test

    def measure(self, model: str, photos: Photos) -> Evaluation:
        """Load a model and measure it."""
        from clipsearch.training.evaluation import (
            EvaluationSettings,
            evaluate_retrieval,
            evaluate_zero_shot,
        )

        settings, encoder = EvaluationSettings(tuple(self.data)), exact_encoder(model, self.device)
        with progress() as report:
            if self.task is Task.retrieval:
                return evaluate_retrieval(
                    encoder,
                    photos,
                    settings=settings,
                    equal_captions=self.equal_captions,
                    report=report,
                )
            return evaluate_zero_shot(
                encoder,
                photos,
                classes=self.classes,
                skip_unknown=self.skip_unknown,
                settings=settings,
                report=report,
            )


def compare(
    a: FirstArgument,
    b: SecondArgument,
    data: DataOption = None,
    task: TaskOption = Task.retrieval,
    label: LabelOption = None,
    equal_captions: EqualCaptionsOption = False,
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
    """Say whether model B is better than A, on the same photos.

    Every metric with the 95 % interval of the difference: photos are drawn in pairs, so that what
    makes a photo hard falls out. The verdict stands on the mean of the recalls both ways (or on
    top-1 accuracy): better if the interval of the difference excludes 0.
    """
    from clipsearch.cli.eval_output import check_places
    from clipsearch.training.evaluation import compare as compare_results

    check_places(json, plot)
    question = _Question(task, data or [], label, equal_captions, classes, skip_unknown, device)
    found = compare_results(*_results((a, b), question), resamples=resamples, seed=seed)
    _write(found, json, plot)


def _results(names: tuple[str, str], question: _Question) -> list[Evaluation]:
    """Return what was measured before, and measure the models.

    Raises InvalidInput or ModelError, before the first is measured, for what can't be.
    """
    from clipsearch.errors import InvalidInput
    from clipsearch.models.names import resolve_model
    from clipsearch.training.evaluation import read_evaluation

    earlier = {name: read_evaluation(Path(name)) for name in names if name.endswith(".json")}
    if len(earlier) < len(set(names)) and not question.data:
        raise InvalidInput("to measure models, name the photos with --data")
    for name in names:
        if name not in earlier:
            resolve_model(name)  # a wrong name is found before the other model is measured
    photos = question.photos()
    return [earlier[name] if name in earlier else question.measure(name, photos) for name in names]


def _write(found: Comparison, json: str | None, plot: Path | None) -> None:
    from clipsearch.cli.eval_output import STANDARD_OUTPUT, show_comparison, write_json_to

    write_json_to(json, found.to_json())
    if plot is not None:
        from clipsearch.training.evaluation.plots import plot_comparison

        plot_comparison(found, plot)
    if json != STANDARD_OUTPUT:
        show_comparison(found)
