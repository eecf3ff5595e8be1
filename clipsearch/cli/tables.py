"""The table of photos found, for a terminal."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clipsearch.cli.output import write_text
from clipsearch.cli.printable import dimensions, printable, short_path

if TYPE_CHECKING:
    from pathlib import Path

    from clipsearch.results import Hit

HEADINGS = ("", "score", "photo", "size", "taken")
_PHOTO = 2  # the column that gives way, and goes on in the next line
_NARROWEST = 12
_GAP = "  "
_DIM, _CYAN, _PLAIN = "\x1b[2m", "\x1b[36m", "\x1b[0m"


def print_hits(hits: Sequence[Hit]) -> None:
    """Print the photos found; each path is a link where the terminal knows links."""
    if not hits:
        return
    rows = [_cells(hit) for hit in hits]
    widths = [max(map(columns, cells)) for cells in zip(HEADINGS, *rows, strict=True)]
    others = sum(widths) - widths[_PHOTO] + len(_GAP) * (len(widths) - 1)
    room = shutil.get_terminal_size().columns - others
    widths[_PHOTO] = min(widths[_PHOTO], max(room, _NARROWEST))
    lines = [_styled(_line(HEADINGS, widths).rstrip(), _DIM)]
    for hit, cells in zip(hits, rows, strict=True):
        lines += _lines(hit.path, cells, widths)
    write_text("\n".join(lines))


def _cells(hit: Hit) -> tuple[str, ...]:
    taken = printable((hit.taken_at or "")[:16].replace("T", " "))
    return (
        str(hit.rank),
        f"{hit.score:.3f}",
        printable(short_path(hit.path)),
        dimensions(hit),
        taken,
    )


def _lines(path: Path, cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Yield the lines of one photo: a long path goes on below itself."""
    for number, part in enumerate(folded(cells[_PHOTO], widths[_PHOTO])):
        shown = [*cells] if number == 0 else [""] * len(cells)
        shown[_PHOTO] = part
        padded = _padded(shown, widths)
        rank, score, photo, size, taken = padded
        photo = photo.replace(part, _linked(part, path), 1)
        styled = (_styled(rank, _DIM), _styled(score, _CYAN), photo, _styled(size, _DIM))
        yield _GAP.join((*styled, _styled(taken.rstrip(), _DIM))).rstrip()


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join(_padded(cells, widths))


def _padded(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return the cells filled with blanks, numbers to the right."""
    blanks = [" " * (width - columns(cell)) for cell, width in zip(cells, widths, strict=True)]
    return [
        cell + blank if column in (_PHOTO, len(cells) - 1) else blank + cell
        for column, (cell, blank) in enumerate(zip(cells, blanks, strict=True))
    ]


def _styled(text: str, style: str) -> str:
    if not text.strip() or _is_dumb() or (os.environ.get("NO_COLOR") and style != _DIM):
        return text
    return f"{style}{text}{_PLAIN}"


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
