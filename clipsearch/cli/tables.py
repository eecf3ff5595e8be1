"""Tables for a terminal."""

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
    from clipsearch.models import NamedModel
    from clipsearch.results import Hit


def print_hits(hits: Sequence[Hit]) -> None:
    """Print the photos found; each path is a link where the terminal knows links."""
    if not hits:
        return
    table = _table()
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


def print_models(models: Sequence[NamedModel]) -> None:
    """Print the models that have a short name."""
    table = _table()
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("here")
    table.add_column("MB", justify="right")
    table.add_column("width", justify="right")
    table.add_column("licence")
    table.add_column("published recall")
    table.add_column("open_clip name, notes", overflow="fold")
    for model in models:
        here = "yes" if model.on_machine else "no"
        about = f"{model.open_clip_name}: {model.note}"
        numbers = (str(model.megabytes), str(model.width))
        cells = (model.name, here, *numbers, model.licence, model.published_recall or "-", about)
        table.add_row(*map(Text, cells))
    Console().print(table)


def _table() -> Table:
    return Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
