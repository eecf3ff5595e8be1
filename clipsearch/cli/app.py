"""The commands of the program, gathered."""

from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from clipsearch.cli import completing
from clipsearch.cli.backup_command import backup, restore
from clipsearch.cli.check_command import check
from clipsearch.cli.classify_command import classify
from clipsearch.cli.duplicates_command import duplicates
from clipsearch.cli.eval_group import Evaluations
from clipsearch.cli.help_pages import SETTINGS, Command, Group
from clipsearch.cli.index_command import index
from clipsearch.cli.info_command import info
from clipsearch.cli.mcp_command import mcp
from clipsearch.cli.models_commands import models_app
from clipsearch.cli.options import LibraryOption, VerboseOption
from clipsearch.cli.query_commands import list_, query, similar
from clipsearch.cli.remove_command import remove
from clipsearch.cli.serve_command import serve
from clipsearch.cli.tag_command import tag
from clipsearch.cli.teach_command import Teach, teach
from clipsearch.cli.train_command import train
from clipsearch.cli.watch_command import watch

EXIT_CODES = (
    "`clipsearch COMMAND --help`, or `clipsearch help COMMAND`, has the options and three examples "
    "of each.\n\n"
    "Exit codes: 0 found or done, 1 nothing found (check: problems found), 2 bad usage or "
    "input, 3 the library can't be used, 4 done but for files that could not be read (index "
    "--strict) or put in place (--copy-to, --link-to), 70 a fault of clipsearch, 130 or 143 "
    "interrupted."
)

# Help without Rich: it would take longer than all the rest of `clipsearch --help`.
app = typer.Typer(
    cls=Group,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=SETTINGS,
)


def run() -> NoReturn:
    """Run the program as its arguments say, and end the process.

    Raises InvalidInput, in our own words, for what is wrong with them.
    """
    code = app(prog_name="clipsearch", standalone_mode=False)
    raise SystemExit(code if isinstance(code, int) else 0)


def _show_version(wanted: bool) -> None:
    if wanted:
        from clipsearch import __version__

        typer.echo(f"clipsearch {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True, epilog=EXIT_CODES)
def clipsearch(
    ctx: typer.Context,
    library: LibraryOption = None,
    verbose: VerboseOption = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            is_eager=True,
            callback=_show_version,
            show_default=False,
            help="Show the version and leave.",
        ),
    ] = False,
) -> None:
    """Find photos by what is in them, offline: with words or with another picture."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def _show_help(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", autocompletion=completing.commands, help="A command."),
    ] = None,
) -> None:
    """Show the help of a command, or of the program."""
    app([*(words or []), "--help"], prog_name="clipsearch", standalone_mode=False)


def _add(
    group: str,
    command: Callable[..., None],
    summary: str,
    *,
    name: str | None = None,
    cls: type[Command] = Command,
) -> None:
    # The summary is for the list of commands: it fits 60 columns.
    app.command(name, cls=cls, rich_help_panel=group, short_help=summary)(command)


def _add_group(group: str, name: str, commands: Any, **how: Any) -> None:
    app.add_typer(commands, name=name, rich_help_panel=group, **how)


_FIND, _KEEP, _MODELS, _CARE = "Find", "Keep the library", "Models", "Care"

_add(_FIND, query, "Find photos by words or by a picture.")
_add(_FIND, similar, "Find the photos most like a picture.")
_add(_FIND, list_, "List photos by filters, without a question.", name="list")
_add(_FIND, duplicates, "Find photos that are there twice, or nearly.")
_add(_FIND, classify, "Say which of some labels pictures show.")
_add(_FIND, serve, "Stay loaded, so that searches answer at once.")
_add(_FIND, mcp, "Let an agent look into the library.")
_add(_KEEP, index, "Add photos, or bring the library up to date.")
_add(_KEEP, watch, "Keep it up to date as files change.")
_add(_KEEP, remove, "Take photos out; never touches their files.")
_add(_KEEP, tag, "Tag photos with words, so that filters find them.")
_add(_KEEP, teach, "Teach a tag of your own by a few photos.", cls=Teach)
_add(_KEEP, info, "Show what the library holds, and where.")
_add_group(_MODELS, "models", models_app, cls=Group, short_help="List models, or fetch one.")
_add(_MODELS, train, "Train a model, or teach one your photos.")
_add_group(_MODELS, "eval", Evaluations.empty, cls=Evaluations)
_add(_CARE, check, "Look for damage, and mend it.")
_add(_CARE, backup, "Copy the library into one file.")
_add(_CARE, restore, "Make the library from a backup.")
app.command("help", cls=Command, hidden=True)(_show_help)
