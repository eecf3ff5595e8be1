"""A small picture as what a terminal is sent: lines of characters, or a protocol's sequence.

The sequences are those of the terminals' own pages: kitty's graphics protocol, iTerm2's inline
images (OSC 1337), and sixel as DEC's VT330/340 manual has it.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from clipsearch.cli.seeing.terminals import Cell, Way

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]  # (height, width, 3)

_CHUNK = 4096  # characters that kitty takes at once
_SIXEL_COLOURS = 128
_RUNS = re.compile(r"(.)\1{3,254}")

# Of a cell's four quarters, in this order upper left, upper right, lower left, lower right, those
# that are in front; the others are behind.
_QUARTERS = (
    ("▀", (1, 1, 0, 0)),
    ("▌", (1, 0, 1, 0)),
    ("▘", (1, 0, 0, 0)),
    ("▝", (0, 1, 0, 0)),
    ("▖", (0, 0, 1, 0)),
    ("▗", (0, 0, 0, 1)),
    ("▚", (1, 0, 0, 1)),
)


class Box(NamedTuple):
    """The room for a picture, in characters."""

    columns: int
    rows: int

    def fitted(self, width: int, height: int, cell: Cell) -> Box:
        """Return the room that a picture of these pixels takes of it, its proportions kept."""
        scale = min(self.columns * cell.width / width, self.rows * cell.height / height)
        return Box(
            min(max(round(width * scale / cell.width), 1), self.columns),
            min(max(round(height * scale / cell.height), 1), self.rows),
        )


def blocks(pixels: Pixels, box: Box, *, all_colours: bool) -> list[str]:
    """Return a picture as lines of characters that are partly of one colour, partly of another."""
    import numpy as np

    small = _scaled(pixels, 2 * box.columns, 2 * box.rows)
    quarters = small.reshape(box.rows, 2, box.columns, 2, 3).transpose(0, 2, 1, 3, 4)
    quarters = quarters.reshape(box.rows, box.columns, 4, 3)
    choices = []
    for _, mask in _QUARTERS:
        front = np.array(mask, bool)
        colours = [quarters[:, :, part].mean(2) for part in (front, ~front)]
        errors = [
            ((quarters[:, :, part] - colour[:, :, None]) ** 2).sum((2, 3))
            for part, colour in zip((front, ~front), colours, strict=True)
        ]
        choices.append((errors[0] + errors[1], *colours))
    best = np.stack([error for error, *_ in choices]).argmin(0)
    lines = []
    for row in range(box.rows):
        line = ""
        for column in range(box.columns):
            kind = best[row, column]
            front, behind = (choices[kind][side][row, column] for side in (1, 2))
            line += _coloured(front, behind, all_colours=all_colours) + _QUARTERS[kind][0]
        lines.append(line + "\x1b[0m")
    return lines


def _scaled(pixels: Pixels, width: int, height: int) -> NDArray[np.float64]:
    """Return the mean colours of so many areas across and down, float64 (height, width, 3)."""
    import numpy as np

    rows = _means(pixels.astype(np.float64), height)
    return _means(rows.transpose(1, 0, 2), width).transpose(1, 0, 2)


def _means(lines: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return the means of so many parts of the first axis, equally long but for rounding."""
    import numpy as np

    sums = np.concatenate([np.zeros_like(lines[:1]), lines.cumsum(0)])
    starts = np.arange(count) * len(lines) // count
    ends = np.maximum((np.arange(count) + 1) * len(lines) // count, starts + 1)
    means: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)[:, None, None]
    return means


def _coloured(front: NDArray[np.float64], behind: NDArray[np.float64], *, all_colours: bool) -> str:
    if all_colours:
        red, green, blue = (round(value) for value in front.tolist())
        under = ";".join(str(round(value)) for value in behind.tolist())
        return f"\x1b[38;2;{red};{green};{blue};48;2;{under}m"
    return f"\x1b[38;5;{_of_256(front.tolist())};48;5;{_of_256(behind.tolist())}m"


def _of_256(colour: list[float]) -> int:
    """Return the nearest of the palette's cube (16 to 231) or greys (232 to 255)."""
    levels = (0, 95, 135, 175, 215, 255)
    cube = [min(range(6), key=lambda step: abs(levels[step] - value)) for value in colour]
    grey = min(max(round((sum(colour) / 3 - 8) / 10), 0), 23)
    off_cube = sum((levels[step] - value) ** 2 for step, value in zip(cube, colour, strict=True))
    off_grey = sum((8 + 10 * grey - value) ** 2 for value in colour)
    if off_grey < off_cube:
        return 232 + grey
    return 16 + 36 * cube[0] + 6 * cube[1] + cube[2]


def sequence(way: Way, pixels: Pixels, box: Box, cell: Cell) -> str:
    """Return what draws a picture at the cursor, within the box, in one of the protocols."""
    if way is Way.KITTY:
        return "".join(_kitty(pixels, box))
    if way is Way.ITERM2:
        return _iterm2(pixels, box)
    return _sixel(pixels, box, cell)


def _kitty(pixels: Pixels, box: Box) -> Iterator[str]:
    """Yield the parts of a picture that stays where the cursor is and is not answered (q=2)."""
    height, width, _ = pixels.shape
    text = base64.b64encode(zlib.compress(pixels.tobytes(), 1)).decode()
    parts = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    what = f"a=T,f=24,o=z,s={width},v={height},c={box.columns},r={box.rows},C=1,q=2,"
    for number, part in enumerate(parts):
        more = int(number < len(parts) - 1)
        yield f"\x1b_G{what if number == 0 else ''}m={more};{part}\x1b\\"


def _iterm2(pixels: Pixels, box: Box) -> str:
    from clipsearch.showing.thumbnails import jpeg

    data = jpeg(pixels)
    size = f"width={box.columns};height={box.rows};preserveAspectRatio=1"
    what = f"inline=1;size={len(data)};{size};doNotMoveCursor=1"
    return f"\x1b]1337;File={what}:{base64.b64encode(data).decode()}\x07"


def _sixel(pixels: Pixels, box: Box, cell: Cell) -> str:
    import numpy as np
    from PIL import Image

    size = (box.columns * cell.width, box.rows * cell.height)
    image = Image.fromarray(pixels).resize(size).quantize(_SIXEL_COLOURS)
    palette = np.array(image.getpalette(), np.int64).reshape(-1, 3) * 100 // 255
    numbers = np.asarray(image)
    colours = "".join(f"#{n};2;{r};{g};{b}" for n, (r, g, b) in enumerate(palette.tolist()))
    bands = [_band(numbers[top : top + 6]) for top in range(0, len(numbers), 6)]
    return f'\x1bP0;1;0q"1;1;{size[0]};{size[1]}{colours}{"-".join(bands)}\x1b\\'


def _band(numbers: NDArray[np.uint8]) -> str:
    """Return up to six rows of pixels: for each colour in them, which pixels are of it."""
    import numpy as np

    weights = (1 << np.arange(len(numbers), dtype=np.uint8))[:, None]
    lines = []
    for number in np.unique(numbers).tolist():
        bits = ((numbers == number) * weights).sum(0) + ord("?")
        text = _RUNS.sub(
            lambda run: f"!{len(run.group())}{run.group(1)}",
            bits.astype(np.uint8).tobytes().decode("latin-1"),
        )
        lines.append(f"#{number}{text}")
    return "$".join(lines)
