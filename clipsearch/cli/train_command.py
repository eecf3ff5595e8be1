"""`clipsearch train`: train a model, or teach one that is there what is in your photos."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsearch.cli import completing
from clipsearch.cli.ending import say
from clipsearch.cli.given_values import number, whole_number
from clipsearch.cli.options import DEVICES, Device, VerboseOption, YesOption, read_device
from clipsearch.errors import ClipsearchError, InvalidInput
from clipsearch.settings import from_here

if TYPE_CHECKING:
    from clipsearch.training.run_config import RunConfig
    from clipsearch.training.towers.averaging import MixResult
    from clipsearch.training.trainer import RunResult

REASONS_SHOWN = 5
DEFAULT_RECIPE = "fine-tune"  # of a run that names only its data

ConfigArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CONFIG.toml",
        autocompletion=completing.recipes,
        show_default=False,
        help="The settings of the run: a file, or the name of a recipe that comes with clipsearch "
        f"(fine-tune, new-words, lit, small-vit, small-resnet, clip-paper).  "
        f"[default: {DEFAULT_RECIPE}]",
    ),
]
DataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="SPEC",
        show_default=False,
        help="Photos with captions, may be given more than once: .tar shards (or a folder or "
        "pattern of them), .csv, .tsv or .jsonl, a folder of photos with captions beside or in "
        "them, or library:FOLDER.  [default: what CONFIG.toml says]",
    ),
]
ValidationOption = Annotated[
    list[str] | None,
    typer.Option(
        "--validation",
        metavar="SPEC",
        show_default=False,
        help="Photos with captions to measure on.  [default: what CONFIG.toml says, else a "
        "twentieth of the data, held back]",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        autocompletion=completing.models,
        show_default=False,
        help="The model to start from, named as for index; with model.scratch an architecture.  "
        "[default: what CONFIG.toml says, else builtin]",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FOLDER",
        show_default=False,
        help="The folder of the run; it becomes a model that index takes.  [default: a new one "
        "below runs]",
    ),
]
EpochsOption = Annotated[
    float | None,
    typer.Option(
        "--epochs",
        metavar="N",
        parser=number("--epochs"),
        show_default=False,
        help="Rounds through the data.",
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        "--steps",
        metavar="N",
        parser=whole_number("--steps"),
        show_default=False,
        help="Steps, instead of epochs.",
    ),
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        metavar="N",
        parser=whole_number("--batch-size"),
        show_default=False,
        help="Photos a step, over all processes.",
    ),
]
LearningRateOption = Annotated[
    float | None,
    typer.Option(
        "--learning-rate",
        metavar="RATE",
        parser=number("--learning-rate"),
        show_default=False,
        help="The highest learning rate.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="TABLE.KEY=VALUE",
        show_default=False,
        help="Any setting of CONFIG.toml, may be given more than once: "
        "--set augmentation.flip=0.5.",
    ),
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume",
        show_default=False,
        help="Go on with the run in --out from its last checkpoint.",
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        show_default=False,
        help="Try a few steps, say what the run would take, and write nothing.",
    ),
]
DeviceOption = Annotated[
    Device | None,
    typer.Option(
        "--device",
        metavar=DEVICES,
        parser=read_device,
        autocompletion=completing.words(Device),
        show_default=False,
        help="Where to train; auto takes a GPU if there is one.  [default: auto]",
    ),
]


def train(
    config: ConfigArgument = None,
    data: DataOption = None,
    validation: ValidationOption = None,
    model: ModelOption = None,
    out: OutOption = None,
    epochs: EpochsOption = None,
    steps: StepsOption = None,
    batch_size: BatchSizeOption = None,
    learning_rate: LearningRateOption = None,
    settings: SetOption = None,
    resume: ResumeOption = False,
    dry_run: DryRunOption = False,
    device: DeviceOption = None,
    yes: YesOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train a model on photos with captions, or teach one that is there what your photos show.

    Without CONFIG.toml the built-in model is fine-tuned on --data. The folder of the run holds
    settings, curves and checkpoints, and is itself a model: clipsearch index --model FOLDER.
    Ctrl-C keeps what was learned; --resume goes on.
    """
    if resume and out is None:
        raise InvalidInput("--resume needs --out with the folder of the run")
    given: dict[str, dict[str, Any]] = {
        "--data": {"data": {"train": data}},
        "--validation": {"data": {"validation": validation}},
        "--model": {"model": {"name": model}},
        "--epochs": {"optimization": {"epochs": epochs, "steps": None}},
        "--steps": {"optimization": {"steps": steps}},
        "--batch-size": {"optimization": {"batch_size": batch_size}},
        "--learning-rate": {"optimization": {"learning_rate": learning_rate}},
        "--device": {"device": device.value if device else None},
    }
    run_config = _gather(config, given, settings or [], resumed=out if resume else None)
    if dry_run:
        _try_out(run_config)
        return
    if out is None:
        out = _new_folder(config or DEFAULT_RECIPE)
    _run(run_config, out, resume=resume)


def _gather(
    name: str | None,
    given: dict[str, dict[str, Any]],
    settings: list[str],
    *,
    resumed: Path | None,
) -> "RunConfig":
    """Return the settings of the file, or of the run to go on with, with those given on top."""
    from clipsearch.training import config_file

    if name is None and resumed is not None:
        source = resumed / "config.toml"
        if not source.is_file():
            raise InvalidInput(f"{resumed} holds no run to go on with (it has no config.toml)")
    else:
        source = config_file.find_config(name or DEFAULT_RECIPE)
    run_config = config_file.read_config(source)
    for option, values in given.items():
        table, value = next(iter(values.items()))
        first = next(iter(value.values())) if isinstance(value, dict) else value
        if first is not None and first != []:
            run_config = config_file.with_values(
                run_config, {table: value}, said_by=option, folder=Path()
            )
    run_config = config_file.with_settings(run_config, settings)
    config_file.check_together(run_config, said_by=str(source))
    return run_config


def _new_folder(name: str) -> Path:
    """Return a folder below `runs` that is not there yet, named after the recipe."""
    stem = Path(name).stem
    number = 1
    while (path := Path("runs") / (f"{stem}-{number}" if number > 1 else stem)).exists():
        number += 1
    return path


def _try_out(config: "RunConfig") -> None:
    from clipsearch.cli.output import write_text
    from clipsearch.training.dry_run import dry_run

    write_text(dry_run(config, say=say).table())


def _run(config: "RunConfig", out: Path, *, resume: bool) -> None:
    from clipsearch.cli.output import write_text
    from clipsearch.cli.stopping import stopping
    from clipsearch.training.progress import showing_training
    from clipsearch.training.run_folder import RunFolder, is_first_process, require_packages
    from clipsearch.training.trainer import train_run

    from_here(out)  # before any work
    first = is_first_process()
    config = require_packages(config, say if first else lambda line: None)
    # torchrun passes on the Ctrl-C that its processes had already.
    with stopping(patience=5.0 if "TORCHELASTIC_RUN_ID" in os.environ else 0.0) as stop:
        open_folder = RunFolder.resume if resume else RunFolder.create
        folder = open_folder(out, config, writes=first)
        try:
            with showing_training(say, quiet=not first) as report:
                result = train_run(config, folder, report=report, stop=stop)
        except ClipsearchError:
            folder.draw_curves()  # of a run that diverged, up to where it did
            folder.discard_if_unbegun()
            raise
        finally:
            folder.close()
    if first:
        if result.mix is not None:
            folder.write_mix(result.mix)
        write_text("\n".join(_summary(result)))
    if not result.finished:
        if first:
            say(f"interrupted: `clipsearch train --resume --out {out}` goes on")
        raise typer.Exit(stop.exit_code)


def _summary(result: "RunResult") -> list[str]:
    """Return what came out in some lines."""
    from clipsearch.training.progress import duration, recalls

    lines = [f"{result.step} of {result.steps} steps in {duration(result.seconds)}"]
    if result.skipped:
        reasons = [f"{count} photos: {reason}" for reason, count in result.skipped.items()]
        lines.append(f"not learned from: {'; '.join(reasons[:REASONS_SHOWN])}")
    if result.mix is not None:
        lines += _mix_in_words(result.mix)
    elif result.best_step is not None:
        lines.append(f"the model is that of step {result.best_step}, the best on validation")
    if result.validation:
        lines.append(f"on validation: {recalls(result.validation)}")
    lines.append(f"the model is in {result.folder}: clipsearch index --model {result.folder}")
    return lines


def _mix_in_words(mix: "MixResult") -> list[str]:
    """Return how the weights were mixed with those at the start, and what that costs elsewhere."""
    lines = [f"the model is {100 * mix.share:.0f} % trained weights, the rest those at the start"]
    if mix.share in mix.kept:
        before, after = (
            " and ".join(f"{100 * value:.1f}" for value in mix.kept[share])
            for share in (0.0, mix.share)
        )
        lines.append(f"recall@10 both ways on wise_ft_keep: {before} % at the start, now {after} %")
    if not mix.share:
        lines.append("no mixture was better and lost little enough: nothing was changed")
    return lines
