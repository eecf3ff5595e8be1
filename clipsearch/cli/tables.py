"""Tables for a terminal: of the photos found, and of anything else."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from clipsearch.cli.output import write_rows, write_text
from clipsearch.cli.printable import printable, short_path

if TYPE_CHECKING:
    from pathlib import Path

    from clipsearch.results import Hit

HEADINGS = ("", "score", "photo", "taken")
_PHOTO = 2  # the column that gives way, and goes on in the next line
_STYLES = ("dim", "cyan", "", "dim")
_NARROWEST = 12
_KEPT_WHOLE = 12  # columns: names and numbers, which are not to be broken in two
_GAP = "  "
_CODES = {"dim": "\x1b[2m", "cyan": "\x1b[36m", "": ""}
_PLAIN = "\x1b[0m"


def print_hits(hits: Sequence[Hit]) -> None:
    """Print the photos found; each path is a link where the terminal knows links."""
    if not hits:
        return
    rows = [_cells(hit) for hit in hits]
    held = len(HEADINGS) - (not any(row[-1] for row in rows))  # a column of nothing is left out
    headings, rows = HEADINGS[:held], [row[:held] for row in rows]
    widths = [max(map(columns, cells)) for cells in zip(headings, *rows, strict=True)]
    others = sum(widths) - widths[_PHOTO] + len(_GAP) * (len(widths) - 1)
    room = shutil.get_terminal_size().columns - others
    widths[_PHOTO] = min(widths[_PHOTO], max(room, _NARROWEST))
    lines = [_styled(_GAP.join(_padded(headings, widths)).rstrip(), "dim")]
    for hit, cells in zip(hits, rows, strict=True):
        lines += _lines(hit.path, cells, widths)
    write_text("\n".join(lines))


def _cells(hit: Hit) -> tuple[str, ...]:
    taken = printable((hit.taken_text or "")[:16].replace("T", " "))
    return str(hit.rank), f"{hit.score:.3f}", printable(short_path(hit.path)), taken


def _lines(path: Path, cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Yield the lines of one photo: a long path goes on below itself."""
    for number, part in enumerate(folded(cells[_PHOTO], widths[_PHOTO])):
        shown = [*cells] if number == 0 else [""] * len(cells)
        shown[_PHOTO] = part
        padded = _padded(shown, widths)
        if len(cells) - 1 == _PHOTO:
            padded[_PHOTO] = padded[_PHOTO].rstrip()
        padded[_PHOTO] = padded[_PHOTO].replace(part, _linked(part, path), 1)
        styled = map(_styled, padded, _STYLES)
        yield _GAP.join(styled).rstrip()


def _padded(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return the cells filled with blanks: numbers to the right, photo and date to the left."""
    blanks = [" " * (width - columns(cell)) for cell, width in zip(cells, widths, strict=True)]
    return [
        cell + blank if column >= _PHOTO else blank + cell
        for column, (cell, blank) in enumerate(zip(cells, blanks, strict=True))
    ]


def _styled(text: str, style: str) -> str:
    without = not style or (os.environ.get("NO_COLOR") and style != "dim")
    if without or not text.strip() or _is_dumb():
        return text
    return f"{_CODES[style]}{text}{_PLAIN}"


def _linked(text: str, path: Path) -> str:
    return text if _is_dumb() else f"\x1b]8;;{path.as_uri()}\x1b\\{text}\x1b]8;;\x1b\\"


def _is_dumb() -> bool:
    return os.environ.get("TERM", "") in ("dumb", "unknown")


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1


def folded(text: str, width: int) -> list[str]:
    """Return the text in pieces of at most so many columns."""
    pieces, taken = [""], 0
    for letter in text:
        wide = _columns(letter)
        if taken + wide > width and pieces[-1]:
            pieces.append("")
            taken = 0
        pieces[-1] += letter
        taken += wide
    return pieces


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
