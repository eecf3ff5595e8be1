"""Tables for a terminal, but for that of the photos found, which is `seeing/table.py`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from clipsearch.cli.output import write_rows
from clipsearch.cli.printable import printable
from clipsearch.cli.seeing.paint import columns

_KEPT_WHOLE = 12  # columns: names and numbers, which are not to be broken in two


def show_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table for people; tab-separated lines, the headings first, when piped.

    It is as wide as the terminal at most: long cells go on below themselves.
    """
    if not sys.stdout.isatty():
        write_rows([headings, *rows])
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    look: dict[str, Any] = {"box": box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False}
    look["padding"] = (0, 1, 0, 0)
    named = Text(printable(title)) if title else None
    table = Table(title=named, title_justify="left", **look)
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    for heading, column in zip(headings, zip(*cells, strict=True), strict=True):
        is_words = any(cell[:1].isalpha() for cell in column)
        side: Literal["left", "right"] = "left" if is_words else "right"
        widest = max(map(columns, column))
        whole = not is_words or widest <= _KEPT_WHOLE
        word = max(columns(word) for cell in column for word in cell.split() or [""])
        table.add_column(
            Text(printable(heading)),
            justify=side,
            overflow="fold",
            min_width=widest if whole else min(word, _KEPT_WHOLE),
        )
    for row in cells:
        table.add_row(*map(Text, row))
    console = Console()
    least = console.measure(table).minimum  # cut off, a number would be another one
    # Rich takes a column more than it is given where it makes several narrower.
    console.print(table, width=max(console.width - 1, least), crop=False)
