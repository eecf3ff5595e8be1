"""The commands of the program, gathered."""

from typing import Annotated

import typer

from clipsearch.cli.backup_command import backup, restore
from clipsearch.cli.check_command import check
from clipsearch.cli.index_command import index
from clipsearch.cli.info_command import info
from clipsearch.cli.models_commands import models_app
from clipsearch.cli.options import LibraryOption, VerboseOption
from clipsearch.cli.query_commands import query, similar
from clipsearch.cli.remove_command import remove
from clipsearch.cli.serve_command import serve
from clipsearch.cli.train_command import train
from clipsearch.cli.watch_command import watch

EXIT_CODES = (
    "Exit codes: 0 found or done, 1 nothing found (check: problems found), 2 bad usage or "
    "input, 3 the library can't be used, 70 a fault of clipsearch, 130 or 143 interrupted."
)

# Help without Rich: it would take longer than all the rest of `clipsearch --help`.
app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


app.command()(index)
app.command()(watch)
app.command()(query)
app.command()(similar)
app.command()(serve)
app.command()(info)
app.add_typer(models_app, name="models")
app.command()(train)


@app.command(
    "eval",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def evaluate(ctx: typer.Context) -> None:
    """Measure models on captioned or labelled photos, and compare them."""
    # Its commands are made only here: their many options would double the time of other help.
    from clipsearch.cli.eval_app import eval_app

    commands = typer.main.get_command(eval_app)
    with commands.make_context("eval", ctx.args, parent=ctx.parent) as context:
        commands.invoke(context)


app.command()(remove)
app.command()(check)
app.command()(backup)
app.command()(restore)
