"""How an argument or an option is named to people, and what is said of it.

`Any` stands for what Typer has of it; in older versions that is Click's.
"""

from __future__ import annotations

from typing import Any


def arguments(command: Any, ctx: Any) -> list[Any]:
    """Return the arguments that a command's page shows."""
    return _shown(command, ctx, "argument")


def options(command: Any, ctx: Any) -> list[Any]:
    """Return the options that a command's page shows."""
    return _shown(command, ctx, "option")


def _shown(command: Any, ctx: Any, kind: str) -> list[Any]:
    given = (one for one in command.get_params(ctx) if one.param_type_name == kind)
    return [one for one in given if not getattr(one, "hidden", False)]


def argument_name(argument: Any) -> str:
    """Return an argument as its page names it."""
    return str(argument.metavar or argument.name.upper())


def in_usage(argument: Any) -> str:
    """Return an argument as it stands in the usage."""
    name = argument_name(argument) + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def option_names(option: Any) -> str:
    """Return an option's names, the short one first, and what it takes."""
    names = ", ".join(sorted(option.opts, key=lambda name: name.startswith("--")))
    taken = "" if option.is_flag else f" {option.metavar or 'VALUE'}"
    return f"{names}{taken}"


def said_of(option: Any) -> str:
    """Return what is said of an option, with what it is if it is not given."""
    if "--help" in option.opts:
        return "Show this page and leave."
    usual = None if option.is_flag or not option.show_default else option.default
    said = str(option.help or "")
    if option.required:
        return f"{said}  [required]"
    if usual is None or usual == "":
        return said
    return f"{said}  [default: {f'{usual:g}' if isinstance(usual, float) else usual}]"
