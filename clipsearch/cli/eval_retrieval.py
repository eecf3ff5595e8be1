"""`clipsearch eval retrieval`: photos by their captions, and captions by their photos."""

from __future__ import annotations

from clipsearch.cli.evaluating import (
    CaptionedOption,
    EqualCaptionsOption,
    JsonToOption,
    LabelOption,
    Measurement,
    ModelOption,
    PlotOption,
    ResamplesOption,
    SeedOption,
    ShiftsOption,
    captioned,
    shift_names,
)
from clipsearch.cli.options import Device, DeviceOption, VerboseOption, YesOption


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
    yes: YesOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Find photos by their captions, and captions by their photos.

    Recall@1, 5, 10 and the median rank both ways, with 95 % intervals.
    """
    from clipsearch.training.evaluation import evaluate_retrieval

    asked = Measurement(data, model, device, resamples, seed, json, plot)
    photos = captioned(data, label)
    asked.run(
        lambda encoder, settings, report: evaluate_retrieval(
            encoder,
            photos,
            settings=settings,
            shifts=shift_names(shifts),
            equal_captions=equal_captions,
            report=report,
        )
    )
