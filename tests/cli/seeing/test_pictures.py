"""What a terminal is sent is the picture: read back by other code than wrote it."""

import base64
import io
import re
import zlib

import numpy as np
import pytest
from PIL import Image
from places import EXAMPLES

from clipsearch.cli.seeing.pictures import Box, blocks, sequence
from clipsearch.cli.seeing.terminals import Cell, Way

CELL = Cell(8, 16)
# Of each character, which of its four quarters (from the upper left) are in front.
QUARTERS = {
    "▀": "1100",
    "▌": "1010",
    "▘": "1000",
    "▝": "0100",
    "▖": "0010",
    "▗": "0001",
    "▚": "1001",
}


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    with Image.open(EXAMPLES / "animals/honey-bee-on-flower.jpg") as image:
        return np.asarray(image.convert("RGB").resize((60, 48)))


def shown(lines: list[str], colour: str) -> np.ndarray:
    """Return the pixels that lines of characters show: two across and two down for each."""
    rows = []
    for line in lines:
        cells = re.findall(colour + "(.)", line)
        assert len(cells) == len(re.sub(r"\x1b\[[0-9;]*m", "", line))
        row = np.zeros((2, 2 * len(cells), 3))
        for column, (*numbers, letter) in enumerate(cells):
            values = (
                [rgb(numbers[:3]), rgb(numbers[3:])]
                if len(numbers) == 6
                else [palette(int(number)) for number in numbers]
            )
            for quarter, front in enumerate(QUARTERS[letter]):
                row[quarter // 2, 2 * column + quarter % 2] = values[front == "0"]
        rows.append(row)
    return np.concatenate(rows)


def rgb(numbers: list[str]) -> list[int]:
    return [int(number) for number in numbers]


def palette(number: int) -> list[int]:
    """Return a colour of the 256 as xterm has them."""
    if number >= 232:
        return [8 + 10 * (number - 232)] * 3
    levels = (0, 95, 135, 175, 215, 255)
    return [levels[(number - 16) // step % 6] for step in (36, 6, 1)]


@pytest.mark.parametrize(
    ("all_colours", "colour", "most"),
    [
        (True, r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m", 14),
        (False, r"\x1b\[38;5;(\d+);48;5;(\d+)m", 26),
    ],
)
def test_blocks_show_the_picture(photo, all_colours, colour, most) -> None:
    lines = blocks(photo, Box(15, 6), all_colours=all_colours)
    assert len(lines) == 6
    seen = shown(lines, colour)
    wanted = np.asarray(Image.fromarray(photo).resize((30, 12), Image.Resampling.BOX), float)
    assert np.abs(seen - wanted).mean() < most
    assert np.abs(seen - wanted[:, ::-1]).mean() > 2 * most  # and not just its colours
    assert all(line.endswith("\x1b[0m") for line in lines)


def test_blocks_of_two_colours_are_exact() -> None:
    checks = np.indices((4, 6)).sum(0) % 2  # a chessboard, of which each character shows two by two
    pixels = np.where(checks[..., None], [250, 10, 20], [0, 90, 200]).astype(np.uint8)
    seen = shown(
        blocks(pixels, Box(3, 2), all_colours=True),
        r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m",
    )
    assert (seen == pixels).all()


def test_a_picture_of_one_pixel_fills_its_box() -> None:
    lines = blocks(np.full((1, 1, 3), 77, np.uint8), Box(2, 1), all_colours=True)
    assert lines[0].count("77;77;77") == 4


def test_kitty_is_sent_the_pixels_and_asked_for_no_answer(photo) -> None:
    sent = sequence(Way.KITTY, photo, Box(10, 4), CELL)
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", sent)
    assert "".join(f"\x1b_G{what};{data}\x1b\\" for what, data in parts) == sent
    first = dict(one.split("=") for one in parts[0][0].split(","))
    assert (first["q"], first["c"], first["r"], first["C"]) == ("2", "10", "4", "1")
    assert [what[-1] for what, _ in parts] == ["1"] * (len(parts) - 1) + ["0"]
    assert max(len(data) for _, data in parts) <= 4096
    pixels = zlib.decompress(base64.b64decode("".join(data for _, data in parts)))
    assert pixels == photo.tobytes()
    assert (int(first["s"]), int(first["v"])) == photo.shape[1::-1]


def test_iterm2_is_sent_a_file(photo) -> None:
    sent = sequence(Way.ITERM2, photo, Box(10, 4), CELL)
    what, data = re.fullmatch(r"\x1b\]1337;File=([^:]*):([^\x07]*)\x07", sent).groups()
    said = dict(one.split("=") for one in what.split(";"))
    assert (said["inline"], said["width"], said["height"]) == ("1", "10", "4")
    file = base64.b64decode(data)
    assert int(said["size"]) == len(file)
    with Image.open(io.BytesIO(file)) as image:
        assert np.abs(np.asarray(image, float) - photo).mean() < 10


def test_sixels_show_the_picture(photo) -> None:
    sent = sequence(Way.SIXEL, photo, Box(10, 4), CELL)
    seen = read_sixels(sent)
    assert seen.shape == (4 * CELL.height, 10 * CELL.width, 3)
    wanted = np.asarray(Image.fromarray(photo).resize((80, 64)), float)
    assert np.abs(seen - wanted).mean() < 8


def read_sixels(sent: str) -> np.ndarray:
    """Return the pixels of a sixel picture, as the manual of the VT340 says they are meant."""
    size, body = re.fullmatch(r'\x1bP[0-9;]*q"1;1;(\d+;\d+)(.*)\x1b\\', sent).groups()
    width, height = map(int, size.split(";"))
    pixels = np.full((height + 6, width, 3), -1.0)
    colours: dict[int, list[float]] = {}
    colour, column, top = -1, 0, 0
    parts = re.findall(r"#(\d+)((?:;\d+){4})?|(?:!(\d+))?([?-~])|([$-])", body)
    for number, model, run, letter, end in parts:
        if number:
            colour = int(number)
            if model:
                colours[colour] = [int(part) * 2.55 for part in model.split(";")[2:]]
        elif end:
            column, top = 0, top + 6 * (end == "-")
        else:
            wide = int(run or 1)
            for bit in range(6):
                if (ord(letter) - 63) >> bit & 1:
                    assert top + bit < height
                    pixels[top + bit, column : column + wide] = colours[colour]
            column += wide
    assert (pixels[:height] >= 0).all()
    return pixels[:height]


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((300, 200), Box(12, 4)),
        ((200, 300), Box(5, 4)),
        ((1000, 10), Box(12, 1)),
        ((1, 99), Box(1, 4)),
    ],
)
def test_a_picture_keeps_its_proportions_within_its_box(size, box) -> None:
    assert Box(12, 4).fitted(*size, CELL) == box
