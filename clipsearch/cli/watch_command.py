"""`clipsearch watch`: keep the library current."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.ending import say
from clipsearch.cli.given_values import number
from clipsearch.cli.index_command import (
    IncludeHiddenOption,
    MaxMegapixelsOption,
    ModelOption,
    PathsArgument,
    say_what_went_wrong,
    what_happened,
)
from clipsearch.cli.options import (
    Device,
    DeviceOption,
    JsonOption,
    LibraryOption,
    VerboseOption,
    YesOption,
)

if TYPE_CHECKING:
    from clipsearch.results import IndexReport

PollOption = Annotated[
    bool,
    typer.Option(
        "--poll",
        show_default=False,
        help="Look at all folders every few seconds, for network file systems, which send no "
        "events.  [default: only where the system has no events left]",
    ),
]
RescanOption = Annotated[
    float,
    typer.Option(
        "--rescan",
        metavar="MINUTES",
        parser=number("--rescan", least=0.1),
        help="How often to look at everything all the same.",
    ),
]


def watch(
    paths: PathsArgument = None,
    library: LibraryOption = None,
    model: ModelOption = None,
    device: DeviceOption = Device.auto,
    include_hidden: IncludeHiddenOption = False,
    max_megapixels: MaxMegapixelsOption = None,
    poll: PollOption = False,
    rescan: RescanOption = 60.0,
    json: JsonOption = False,
    yes: YesOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Keep the library current: index the folders, then follow what changes in them.

    One line for each update. Ctrl-C or SIGTERM saves what was begun and ends with 0.
    """
    from clipsearch.cli.progress import showing_progress
    from clipsearch.cli.stopping import stopping
    from clipsearch.options import IndexOptions
    from clipsearch.watching.watcher import Watcher, WatchOptions, WatchOutput

    options = WatchOptions(
        model=model,
        poll=poll,
        rescan_seconds=60 * rescan,
        index=IndexOptions(
            include_hidden=include_hidden,
            max_megapixels=max_megapixels,
        ),
    )
    with stopping() as stop:
        Watcher(
            library,
            paths or [],
            device=device.value,
            options=options,
            output=WatchOutput(Updates(json=json).show, say, showing_progress),
            stop=stop,
        ).run()


class Updates:
    """Shows the first run, and each update that did something."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._shown = 0

    def show(self, report: "IndexReport") -> None:
        """Write one line for an update to standard output, and what went wrong to the log."""
        from clipsearch.cli.output import write_json, write_text

        say_what_went_wrong(report)
        failed = f"{report.failed:,} failed" if report.failed else ""
        happened = ", ".join(filter(None, (what_happened(report), failed)))
        if self._shown and not happened:
            return
        self._shown += 1
        if self._json:
            write_json({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **report.to_dict()})
        else:
            unchanged = f"nothing new, {report.unchanged:,} unchanged"
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            write_text(f"{now}  {happened or unchanged}: {report.seconds:.1f} s")
