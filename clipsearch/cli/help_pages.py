"""How `--help` looks: for people, as wide as the terminal, quick to come.

Typer's own page with Rich takes longer to load than all the rest; its plain page shows the types
of Python, and cuts summaries.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from clipsearch.cli.parameters import (
    argument_name,
    arguments,
    in_usage,
    option_names,
    options,
    said_of,
)
from clipsearch.errors import InvalidInput

if TYPE_CHECKING:
    Context = Any  # of Typer or of Click, by the version
    Formatter = Any

_WIDEST = 10_000  # columns: as wide as the terminal
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": _WIDEST}


_WRONG_USAGE: type[BaseException] = typer.BadParameter.__base__ or typer.BadParameter


@contextmanager
def _complaints_of_ours(ctx: Context, args: Sequence[str]) -> Iterator[None]:
    """Raise as InvalidInput what Typer finds wrong in the block, in our own words."""
    given = list(args)  # Typer takes away what it has read
    try:
        yield
    except _WRONG_USAGE as error:
        from clipsearch.cli.usage import in_our_words

        raise InvalidInput(in_our_words(ctx, error, given)) from error


class Command(TyperCommand):
    """A command whose page is for people, and whose complaints are ours."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Read the arguments; raises InvalidInput for what is wrong with them."""
        ctx.allow_extra_args = True
        with _complaints_of_ours(ctx, args):
            left: list[str] = super().parse_args(ctx, args)
        if left and not ctx.resilient_parsing:
            from clipsearch.cli.usage import too_many

            raise InvalidInput(too_many(ctx, left))
        return left

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        """Return what stands after the command's name in its usage."""
        return ["[OPTIONS]", *map(in_usage, arguments(self, ctx))]

    def format_options(self, ctx: Context, formatter: Formatter) -> None:
        """Write what the command takes."""
        _write_parameters(self, ctx, formatter)

    def format_epilog(self, ctx: Context, formatter: Formatter) -> None:
        """Write the examples."""
        _write_examples(ctx, formatter)


class Group(TyperGroup):
    """A command that has commands."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Read what stands before the command; raises InvalidInput for what is wrong with it."""
        with _complaints_of_ours(ctx, args):
            left: list[str] = super().parse_args(ctx, args)
        return left

    def resolve_command(self, ctx: Context, args: list[str]) -> Any:
        """Return the command that is named; raises InvalidInput, with what may be meant."""
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            from clipsearch.cli.usage import no_such_command

            raise InvalidInput(no_such_command(ctx, args))
        return super().resolve_command(ctx, args)

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        """Return what stands after the command's name in its usage."""
        return ["[OPTIONS]", "COMMAND"]

    def format_options(self, ctx: Context, formatter: Formatter) -> None:
        """Write the commands by what they are for, then the options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                group = getattr(command, "rich_help_panel", None) or "Commands"
                rows = groups.setdefault(group, [])
                rows.append((_name(name), command.get_short_help_str(_WIDEST)))
        widest = max((len(name) for rows in groups.values() for name, _ in rows), default=0)
        for group, rows in groups.items():
            padded = [(name + " " * (widest - len(name)), text) for name, text in rows]
            _write_section(formatter, group, padded)
        _write_parameters(self, ctx, formatter)

    def format_epilog(self, ctx: Context, formatter: Formatter) -> None:
        """Write the examples, and what is said last."""
        _write_examples(ctx, formatter)
        super().format_epilog(ctx, formatter)


def _write_parameters(command: Any, ctx: Context, formatter: Formatter) -> None:
    taken = [(_name(argument_name(one)), str(one.help or "")) for one in arguments(command, ctx)]
    _write_section(formatter, "Arguments", taken)
    given = [(_name(option_names(one)), said_of(one)) for one in options(command, ctx)]
    _write_section(formatter, "Options", given)


def _write_examples(ctx: Context, formatter: Formatter) -> None:
    program, _, name = ctx.command_path.partition(" ")
    if not name or ctx.command.hidden:
        return
    from clipsearch.cli.examples import EXAMPLES

    formatter.write_paragraph()
    formatter.write_heading(_styled("Examples", bold=True))
    for example in EXAMPLES[name]:
        formatter.write(f"  {program} {example.line}\n      {example.does}\n")


def _write_section(formatter: Formatter, heading: str, rows: Iterable[tuple[str, str]]) -> None:
    rows = list(rows)
    if rows:
        with formatter.section(_styled(heading, bold=True)):
            formatter.write_dl(rows, col_max=min(30, formatter.width // 3))


def _name(text: str) -> str:
    return _styled(text, fg="cyan")


def _styled(text: str, **style: Any) -> str:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "") in ("", "dumb", "unknown")
    if plain or sys.stdout is None or not sys.stdout.isatty():
        return text
    return typer.style(text, **style)
