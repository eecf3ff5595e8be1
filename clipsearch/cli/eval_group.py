"""The group `clipsearch eval`, whose commands are made when one is asked for.

Their many options would double the time of other help.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import typer

from clipsearch.cli.help_pages import Group

if TYPE_CHECKING:
    Context = Any


class Evaluations(Group):
    """The commands of `clipsearch eval`."""

    empty = typer.Typer(rich_markup_mode=None)

    @cached_property
    def _made(self) -> Any:
        from clipsearch.cli.eval_app import eval_app

        return typer.main.get_command(eval_app)

    def list_commands(self, ctx: Context) -> list[str]:
        """Return the names of the commands."""
        names: list[str] = self._made.list_commands(ctx)
        return names

    def get_command(self, ctx: Context, cmd_name: str) -> Any:
        """Return a command by its name; None if there is none."""
        return self._made.get_command(ctx, cmd_name)


@Evaluations.empty.callback(
    invoke_without_command=True, short_help="Measure models, and compare them."
)
def evaluate(ctx: typer.Context) -> None:
    """Measure models on captioned or labelled photos, and compare them.

    Photos are opened, scaled and encoded as by `clipsearch index`, so what is measured is what
    searches.
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
