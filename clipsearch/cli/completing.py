"""What the tab key offers for the values of options and arguments.

Each function takes what is typed so far, and loads no more than it must: a person waits. What can't
be told offers nothing; the shell then offers files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from clipsearch.settings import expanded


def models(incomplete: str) -> list[tuple[str, str]]:
    """Offer the models that have a name."""
    from clipsearch.models.names import named_models

    found = ((model.name, model.note) for model in named_models())
    return [(name, note) for name, note in found if name.startswith(incomplete)]


def recipes(incomplete: str) -> list[str]:
    """Offer the recipes that come along."""
    from clipsearch.training.config_file import RECIPES

    names = sorted(file.stem for file in RECIPES.glob("*.toml"))
    return [name for name in names if name.startswith(incomplete)]


def types(incomplete: str) -> list[str]:
    """Offer the types of photos, for the last place of a list with commas."""
    from clipsearch.photos.formats import type_names

    return listed(type_names())(incomplete)


def known_folders(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the folders that the library knows, as what is typed names them."""
    from clipsearch.errors import ClipsearchError
    from clipsearch.library import Library

    given = ctx.params.get("library") or ctx.find_root().params.get("library")
    with suppress(ClipsearchError, OSError), Library(given, read_only=True) as library:
        shown = (_as_typed(folder.path, incomplete) for folder in library.folders())
        return [path for path in shown if path.startswith(incomplete) and _is_plain(path)]
    return []


def tags(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the tags that photos of the library have, or that were taught."""
    from clipsearch.errors import ClipsearchError
    from clipsearch.library import Library

    given = ctx.params.get("library") or ctx.find_root().params.get("library")
    with suppress(ClipsearchError, OSError), Library(given, read_only=True) as library:
        names = [tag.name for tag in library.tags() if tag.photos or tag.kind == "taught"]
        return [name for name in names if name.startswith(incomplete) and _is_plain(name)]
    return []


def words(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what offers some words."""

    def offered(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return offered


def listed(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what offers names for the last place of a list with commas."""

    def offered(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        taken = before.split(",")
        left = (name for name in names if name not in taken and name.startswith(last))
        return [f"{before}{comma}{name}" for name in left]

    return offered


def commands(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Offer the commands for `clipsearch help`."""
    group = ctx.find_root()
    command: Any = group.command
    for word in ctx.params.get("words") or ():
        command = command.get_command(group, word) if hasattr(command, "get_command") else None
    if command is not None and hasattr(command, "list_commands"):
        for name in command.list_commands(group):
            if name.startswith(incomplete) and not command.get_command(group, name).hidden:
                yield name


def _as_typed(path: Path, incomplete: str) -> str:
    from clipsearch.cli.printable import short_path

    if incomplete.startswith("/"):
        return str(path)
    home = expanded("~")
    if incomplete.startswith("~") and path.is_relative_to(home):
        return str(Path("~") / path.relative_to(home))
    return short_path(path)


def _is_plain(path: str) -> bool:
    """Tell whether a shell takes a path as it is: what is offered is not quoted."""
    return path.isprintable() and not set(path) & set(" \"'\\$`&;|<>()*?[]{}!#:")
