"""The table of photos found, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from clipsearch.cli.output import dimensions
from clipsearch.cli.printable import printable, short_path

if TYPE_CHECKING:
    from clipsearch.results import Hit


def print_hits(hits: Sequence[Hit]) -> None:
    """Print the photos found; each path is a link where the terminal knows links."""
    if not hits:
        return
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", justify="right", style="dim")
    table.add_column("score", justify="right", style="cyan")
    table.add_column("photo", overflow="fold")
    table.add_column("size", justify="right", style="dim")
    table.add_column("taken", style="dim", no_wrap=True)
    for hit in hits:
        link = Style(link=hit.path.as_uri())
        path = Text(printable(short_path(hit.path)), style=link)
        taken = printable((hit.taken_at or "")[:16].replace("T", " "))
        table.add_row(str(hit.rank), f"{hit.score:.3f}", path, dimensions(hit), Text(taken))
    Console().print(table)
