"""The options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clipsearch.cli import completing
from clipsearch.cli.given_values import one_of


class Device(StrEnum):
    """Where the model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


def _given_anywhere(ctx: typer.Context, folder: Path | None) -> Path | None:
    """Return --library as given after the command, else as given before it."""
    if folder is None and ctx.parent is not None:
        before: Path | None = ctx.find_root().params.get("library")
        return before
    return folder


def _be_verbose(verbose: bool) -> bool:
    if verbose:
        from clipsearch.cli.ending import log_everything

        log_everything()
    return verbose


def _ask_nobody(yes: bool) -> bool:
    if yes:
        from clipsearch import consent

        consent.ask = None
    return yes


YesOption = Annotated[
    bool,
    typer.Option(
        "--yes",
        "-y",
        callback=_ask_nobody,
        show_default=False,
        help="Fetch a model's weights without asking.",
    ),
]
LibraryOption = Annotated[
    Path | None,
    typer.Option(
        "--library",
        metavar="DIR",
        callback=_given_anywhere,
        readable=False,  # looked at when it is opened: what is wrong with it ends with 3
        show_default=False,
        help="The folder of the library. "
        " [default: $CLIPSEARCH_LIBRARY, else the user data folder of this platform]",
    ),
]
VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose",
        callback=_be_verbose,
        show_default=False,
        help="Show the log and, of errors, where they happened.",
    ),
]
DEVICES = "|".join(Device)
read_device = one_of("--device", Device, {"gpu": "cuda", "nvidia": "cuda", "metal": "mps"})
DeviceOption = Annotated[
    Device,
    typer.Option(
        "--device",
        metavar=DEVICES,
        parser=read_device,
        autocompletion=completing.words(Device),
        help="Where the model runs; auto takes a GPU if there is one.",
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", show_default=False, help="Write JSON, one object a line."),
]
