"""The photos found as a table: a row each, and only columns that hold something and have room."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from clipsearch.cli.output import write_text
from clipsearch.cli.seeing.facts import Facts
from clipsearch.cli.seeing.paint import columns, cut, folded_path, linked, styled

if TYPE_CHECKING:
    from pathlib import Path

    from clipsearch.results import Hit

_GAP = "  "
_NARROWEST = 12  # columns of the photo, which gives way and goes on in the next line
_ENOUGH = 50  # columns of the photo that others may not take from it
_WIDEST = 24  # columns of what else is said; it is cut off


class _Column(NamedTuple):
    """A column of the table."""

    name: str  # of Facts
    heading: str
    style: str
    to_the_right: bool = False


# In their order; those behind the photo are left out from the last of _FIRST_TO_GO on.
_COLUMNS = (
    _Column("rank", "", "dim", to_the_right=True),
    _Column("match", "match", ""),
    _Column("photo", "photo", ""),
    _Column("place", "place", ""),
    _Column("taken", "taken", "dim"),
    _Column("alike", "", "dim"),
    _Column("matched", "found by", "dim"),
    _Column("camera", "camera", "dim"),
)
_FIRST_TO_GO = ("camera", "matched", "place", "alike", "taken")


def show_table_of(hits: Sequence[Hit]) -> None:
    """Print the photos found; each path is a link where the terminal knows links."""
    if not hits:
        return
    rows = [Facts.of(hit) for hit in hits]
    shown, widths = _fitted(rows, shutil.get_terminal_size().columns)
    headings = [
        _heading(column, hits).ljust(width) for column, width in zip(shown, widths, strict=True)
    ]
    lines = [styled(_GAP.join(headings).rstrip(), "dim")]
    for hit, row in zip(hits, rows, strict=True):
        lines += _lines(hit.path, row, shown, widths)
    write_text("\n".join(lines))


def _heading(column: _Column, hits: Sequence[Hit]) -> str:
    if column.name == "match" and all(hit.relevance is None for hit in hits):
        return "score"
    return column.heading


def _fitted(rows: Sequence[Facts], room: int) -> tuple[list[_Column], list[int]]:
    """Return the columns to show, and how wide each is, within a terminal so wide."""
    widest = {
        column.name: min(
            max(columns(text) for text in (column.heading, *_texts(rows, column.name))),
            _WIDEST if column.name != "photo" else room,
        )
        for column in _COLUMNS
        if any(_texts(rows, column.name))
    }
    enough = min(widest["photo"], _ENOUGH)

    def left() -> int:
        others = sum(width for name, width in widest.items() if name != "photo")
        return room - others - len(_GAP) * (len(widest) - 1)

    for name in _FIRST_TO_GO:
        if left() >= enough:
            break
        widest.pop(name, None)
    widest["photo"] = min(widest["photo"], max(left(), _NARROWEST))
    return [one for one in _COLUMNS if one.name in widest], [*_in_order(widest)]


def _in_order(widest: dict[str, int]) -> Iterator[int]:
    return (widest[column.name] for column in _COLUMNS if column.name in widest)


def _texts(rows: Sequence[Facts], name: str) -> list[str]:
    return [getattr(row, name) for row in rows]


def _lines(
    path: Path, row: Facts, shown: Sequence[_Column], widths: Sequence[int]
) -> Iterator[str]:
    """Yield the lines of one photo: a long path goes on below itself."""
    width_of = dict(zip((column.name for column in shown), widths, strict=True))
    for number, part in enumerate(folded_path(row.photo, width_of["photo"])):
        cells = []
        for column, width in zip(shown, widths, strict=True):
            whole = part if column.name == "photo" else getattr(row, column.name)
            text = cut(whole, width) if number == 0 or column.name == "photo" else ""
            style = row.style if column.name == "match" else column.style
            painted = linked(text, path) if column.name == "photo" else styled(text, style)
            blank = " " * (width - columns(text))
            cells.append(blank + painted if column.to_the_right else painted + blank)
        yield _GAP.join(cells).rstrip()
