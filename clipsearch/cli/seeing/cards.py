"""The photos found with a small picture of each, and what there is to tell beside it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clipsearch.cli.output import write_text
from clipsearch.cli.seeing.facts import Facts
from clipsearch.cli.seeing.paint import columns, cut, folded_path, linked, styled
from clipsearch.cli.seeing.pictures import Box, blocks, sequence
from clipsearch.cli.seeing.terminals import Way, cell, has_all_colours
from clipsearch.showing.thumbnails import thumbnails

if TYPE_CHECKING:
    from clipsearch.cli.seeing.pictures import Pixels
    from clipsearch.results import Hit

_GAP = "  "
_NONE = "no picture"
_SEPARATED = " · "
_BLOCKS = Box(18, 6)
_DRAWN = Box(12, 4)
_SIDE = 192  # pixels of what is drawn: as much as it takes on most screens
_SIDE_OF_BLOCKS = 64


def show_cards(hits: Sequence[Hit], way: Way) -> None:
    """Print the photos found, each as soon as its picture is there."""
    box, side = (_BLOCKS, _SIDE_OF_BLOCKS) if way is Way.BLOCKS else (_DRAWN, _SIDE)
    room = shutil.get_terminal_size().columns - box.columns - len(_GAP) - 1
    pictures = thumbnails((hit.path for hit in hits), side)
    for hit, picture in zip(hits, pictures, strict=True):
        said = _said(hit, room)
        write_text(
            _with_blocks(said, picture, box)
            if way is Way.BLOCKS
            else _drawn(said, picture, box, way)
        )


def _said(hit: Hit, room: int) -> list[str]:
    """Return the lines beside a picture."""
    facts = Facts.of(hit)
    first = f"{facts.rank}. "
    paths = folded_path(facts.photo, max(room - len(first), 8))
    lines = [styled(first, "dim") + linked(paths[0], hit.path)]
    lines += [" " * len(first) + linked(part, hit.path) for part in paths[1:]]
    if facts.match or facts.alike:
        room_left = room - columns(facts.match) - len(_SEPARATED)
        alike = [styled(cut(facts.alike, room_left), "dim")] if facts.alike else []
        lines.append(_SEPARATED.join([styled(facts.match, facts.style), *alike]))
    found_by = f"found by {facts.matched}" if facts.matched else ""
    for parts in ((facts.place, facts.taken, facts.camera), (found_by, facts.tags)):
        if line := _SEPARATED.join(part for part in parts if part):
            lines.append(styled(cut(line, room), "dim"))
    return lines


def _with_blocks(said: list[str], picture: Pixels | None, box: Box) -> str:
    """Return the lines of a photo with a picture of characters before them, and one of nothing."""
    drawn: list[str] = []
    wide = 0
    if picture is not None:
        fitted = box.fitted(picture.shape[1], picture.shape[0], cell())
        drawn = blocks(picture, fitted, all_colours=has_all_colours(os.environ))
        wide = fitted.columns
    else:
        drawn, wide = [styled(_NONE, "dim")], len(_NONE)
    drawn = [line + " " * (box.columns - wide) for line in drawn]
    drawn += [" " * box.columns] * (max(box.rows, len(said)) - len(drawn))
    said = said + [""] * (len(drawn) - len(said))
    return "\n".join([*(a + _GAP + b for a, b in zip(drawn, said, strict=True)), ""])


def _drawn(said: list[str], picture: Pixels | None, box: Box, way: Way) -> str:
    """Return the lines of a photo, and what goes back up and draws a picture before them."""
    lines = said + [""] * (box.rows - len(said)) + [""]
    text = "\n".join(" " * box.columns + _GAP + line if line else "" for line in lines)
    if picture is None:
        return text
    size = cell()
    fitted = box.fitted(picture.shape[1], picture.shape[0], size)
    drawn = sequence(way, picture, fitted, size)
    # The cursor stands in the last line, which is empty: it is put back there.
    return f"{text}\x1b7\x1b[{len(lines) - 1}A\r{drawn}\x1b8"
