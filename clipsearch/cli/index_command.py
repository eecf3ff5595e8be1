"""`clipsearch index`: add photos to the library, or bring it up to date."""

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli import completing
from clipsearch.cli.ending import SOME_UNREAD, say
from clipsearch.cli.given_values import number
from clipsearch.cli.options import (
    Device,
    DeviceOption,
    JsonOption,
    LibraryOption,
    VerboseOption,
    YesOption,
)
from clipsearch.cli.printable import shown_count
from clipsearch.errors import InvalidInput, LibraryLocked, LibraryNotFound
from clipsearch.progress.pace import time_in_words
from clipsearch.settings import expanded

if TYPE_CHECKING:
    from clipsearch.library import Library
    from clipsearch.options import IndexOptions
    from clipsearch.results import IndexReport

REASONS_SHOWN = 5
_WIDTH = 80  # columns, of the summary

PathsArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="PATH",
        autocompletion=completing.known_folders,
        show_default=False,
        help="Folders (with all below them) and photos.  [default: every folder known]",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        autocompletion=completing.models,
        show_default=False,
        help="The model to index with; `clipsearch models` lists them. "
        " [default: the library's own; for a new library base if it is on this machine, else "
        "builtin]",
    ),
]
RetryFailedOption = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        show_default=False,
        help="Try files again that failed before and have not changed.",
    ),
]
IncludeHiddenOption = Annotated[
    bool,
    typer.Option(
        "--include-hidden",
        show_default=False,
        help="Take hidden files, trash and thumbnail folders too.",
    ),
]
MaxMegapixelsOption = Annotated[
    float | None,
    typer.Option(
        "--max-megapixels",
        metavar="N",
        parser=number("--max-megapixels", least=0.001),
        show_default=False,
        help="Refuse larger pictures.  [default: 64 to 256, by the memory of this machine]",
    ),
]

PruneOption = Annotated[
    bool,
    typer.Option(
        "--prune",
        show_default=False,
        help="Forget the photos of folders that are missing or empty, instead of keeping them "
        "until their disk is back.",
    ),
]
WaitOption = Annotated[
    bool,
    typer.Option(
        "--wait",
        show_default=False,
        help="If another process is indexing, wait until it is done.  [default: end with 3]",
    ),
]

ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        show_default=False,
        help="Leave out what matches, now and in later runs; in gitignore's form, like the lines "
        "of .clipsearchignore files. May be given several times.",
    ),
]
NoExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--no-exclude",
        metavar="GLOB",
        show_default=False,
        help="Take back an --exclude; `clipsearch info` lists them. May be given several times.",
    ),
]
ThumbnailsOption = Annotated[
    bool,
    typer.Option(
        "--thumbnails",
        show_default=False,
        help="Make the small pictures ahead that `serve --web` shows; 2 GB of them at most.",
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        show_default=False,
        help="End with 4 if some files could not be read.  [default: end with 0 and say how many]",
    ),
]


def index(
    paths: PathsArgument = None,
    library: LibraryOption = None,
    model: ModelOption = None,
    device: DeviceOption = Device.auto,
    retry_failed: RetryFailedOption = False,
    include_hidden: IncludeHiddenOption = False,
    max_megapixels: MaxMegapixelsOption = None,
    exclude: ExcludeOption = None,
    no_exclude: NoExcludeOption = None,
    prune: PruneOption = False,
    thumbnails: ThumbnailsOption = False,
    wait: WaitOption = False,
    strict: StrictOption = False,
    json: JsonOption = False,
    yes: YesOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Add folders and photos to the library, or bring them up to date.

    Unchanged photos are not opened again; moved and copied ones keep their embedding; deleted
    ones are forgotten. What was left out or removed stays out until it is named here. The library
    is made if it is missing. Ctrl-C saves what was begun.
    """
    from clipsearch.options import IndexOptions

    options = IndexOptions(
        retry_failed=retry_failed,
        include_hidden=include_hidden,
        prune=prune,
        max_megapixels=max_megapixels,
        exclude=exclude or (),
        no_exclude=no_exclude or (),
        thumbnails=thumbnails,
    )
    report = _run(library, paths, model, device, options, wait=wait, json=json)
    if strict and report.unread:
        sys.exit(SOME_UNREAD)


def _run(
    library: Path | None,
    paths: list[Path] | None,
    model: str | None,
    device: Device,
    options: "IndexOptions",
    *,
    wait: bool,
    json: bool,
) -> "IndexReport":
    """Index, and show what happened; end the process if it was asked to stop."""
    from clipsearch.cli.progress import showing_progress
    from clipsearch.cli.stopping import end_if_stopped, stopping

    with stopping() as stop:
        try:
            with (
                showing_progress() as progress,
                _open(library, paths or [], device) as lib,
            ):
                report = lib.index(
                    paths or None,
                    model=model,
                    options=options,
                    progress=progress,
                    stop=stop,
                    wait=wait,
                )
        except LibraryLocked:
            end_if_stopped(stop)  # while waiting
            raise
        _show(report, json=json)
        end_if_stopped(stop)
    return report


def _open(
    folder: Path | None,
    paths: list[Path],
    device: Device,
) -> "Library":
    """Open the library; its first run makes it, if there is something to put into it."""
    from clipsearch.library import Library
    from clipsearch.near_names import did_you_mean, near_path

    missing = next((path for path in paths if not _is_there(path)), None)
    try:
        here = [] if missing else paths
        lib = Library(folder, create=bool(here), device=device.value)
    except LibraryNotFound:
        if missing is None:
            raise
        near = did_you_mean(near_path(expanded(missing)))
        raise InvalidInput(f"{missing} does not exist{near}") from None
    if not paths and not lib.folders():
        lib.close()
        raise InvalidInput("the library knows no folder yet: `clipsearch index FOLDER` adds one")
    return lib


def _is_there(path: Path) -> bool:
    try:
        return expanded(path).exists()
    except OSError as error:  # too long a name, no access
        raise InvalidInput(f"can't look at {path}: {error}") from error


def _show(report: "IndexReport", *, json: bool) -> None:
    from clipsearch.cli.output import write_json, write_text

    say_what_went_wrong(report)
    if json:
        write_json(report.to_dict())
    else:
        write_text(summary_in_words(report))


def say_what_went_wrong(report: "IndexReport") -> None:
    """Say what could not be looked at, and the first files that failed."""
    for problem in report.problems:
        say(f"{problem.path}: {problem.reason}")
    for failure in report.failures[:REASONS_SHOWN]:
        say(f"failed: {failure.path}: {failure.reason}")
    if report.failed > REASONS_SHOWN:
        rest = report.failed - REASONS_SHOWN
        say(f"... and {rest} more; `clipsearch info --failures` shows all")
    if report.known_failures:
        files = shown_count(report.known_failures, "file")
        say(f"{files} failed before and did not change; --retry-failed tries again")


def summary_in_words(report: "IndexReport") -> str:
    """Return what happened in a run, and only that: one line, if that is not too much for one."""
    took = f"in {time_in_words(report.seconds)}"
    if happened := what_happened(report):
        speed = f" ({report.photos_per_second:.1f} photos/s)" if _has_speed(report) else ""
        line = f"{happened} {took}{speed}"
    elif report.unchanged:
        line = f"up to date: {shown_count(report.unchanged, 'photo')} {took}"
    else:
        line = f"no photos added {took}"
    unread = f"{shown_count(report.unread, 'file')} could not be read" if report.unread else ""
    whole = ", ".join(filter(None, (line, unread)))
    return whole if len(whole) <= _WIDTH else "\n".join([*textwrap.wrap(line, _WIDTH), unread])


def what_happened(report: "IndexReport") -> str:
    """Return how many photos came, changed and went; nothing if none did."""
    copied = f" ({report.copied:,} copied)" if report.copied else ""
    counts = {
        f"added{copied}": report.added,
        "changed": report.changed,
        "moved": report.moved,
        "removed": report.removed,
        "left out": report.left_out,
        "completed": report.completed,
    }
    happened = [f"{count:,} {what}" for what, count in counts.items() if count]
    if report.sidecars:
        happened.append(f"sidecars of {shown_count(report.sidecars, 'photo')} read")
    if report.thumbnails:
        happened.append(f"{shown_count(report.thumbnails, 'thumbnail')} made")
    return ", ".join(happened)


def _has_speed(report: "IndexReport") -> bool:
    """Tell whether a rate says something: loading the model takes as long as several photos."""
    return report.embedded > 1 and report.seconds >= 1
