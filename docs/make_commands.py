"""Make docs/commands.md of the pages of help: `python docs/make_commands.py`; a test holds it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from clipsearch.cli.app import app

PAGE = Path(__file__).with_name("commands.md")
WIDTH = 96  # columns
_HEAD = """# The commands

What `clipsearch --help` and `clipsearch COMMAND --help` show.

Made by `python docs/make_commands.py`.
"""


def page() -> str:
    """Return the page as Markdown."""
    return "\n".join((_HEAD, *_sections(typer.main.get_command(app), "clipsearch", None)))


def _sections(command: Any, name: str, parent: Any) -> Iterator[str]:
    os.environ["NO_COLOR"] = "1"
    how = {"parent": parent, "resilient_parsing": True, "terminal_width": WIDTH}
    with command.make_context(name, [], **how) as context:
        yield f"## {context.command_path}\n\n```text\n{context.get_help().rstrip()}\n```\n"
        inner = command.list_commands(context) if hasattr(command, "list_commands") else []
        for one in inner:
            below = command.get_command(context, one)
            if not below.hidden:
                yield from _sections(below, one, context)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
