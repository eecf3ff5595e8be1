"""A picture of what captions find: one row a caption, its first photos, the right one framed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from clipsearch.privacy import load_matplotlib

SIDE = 150  # pixels of a photo
_GAP, _CAPTION = 8, 230
_MOST_LETTERS = 1000  # of a caption: more than there is room for
_RIGHT, _WRONG, _INK, _FAINT, _PAPER = "#009E73", "#d0d0d0", "#222222", "#777777", "white"


@dataclass(frozen=True)
class Retrieval:
    """What one caption found."""

    caption: str
    found: tuple[int, ...]  # numbers of photos, best first
    right: frozenset[int]  # the photos that have this caption
    best: int  # the first found of them
    rank: int  # its place, 1 is first


def choose_retrievals(
    similarity: NDArray[np.floating],
    captions: Sequence[str],
    image_of_text: Sequence[int] | NDArray[np.integer],
    *,
    count: int = 8,
    top: int = 5,
) -> list[Retrieval]:
    """Take some captions, evenly through `captions`, with the photos that each finds.

    `similarity` is float (images, texts); `image_of_text`, integers (texts,), holds the row of each
    text's photo. The choice depends only on how many captions there are: pictures of two steps show
    the same ones.
    """
    owner = np.asarray(image_of_text)
    chosen = np.unique(np.linspace(0, len(captions) - 1, min(count, len(captions))).astype(int))
    return [_retrieval(similarity[:, j], captions[j], captions, owner, top) for j in chosen]


def _retrieval(
    scores: NDArray[np.floating],
    caption: str,
    captions: Sequence[str],
    owner: NDArray[np.integer],
    top: int,
) -> Retrieval:
    right = sorted({int(owner[i]) for i, other in enumerate(captions) if other == caption})
    best = max(right, key=lambda number: scores[number])
    wrong = np.delete(scores, right)
    rank = 1 + int((wrong >= scores[best]).sum())  # ties count against it, as in the metrics
    found = np.argsort(-scores, kind="stable")[:top].tolist()
    return Retrieval(caption, tuple(found), frozenset(right), best, rank)


def draw_retrievals(
    retrievals: Sequence[Retrieval],
    photo: Callable[[int], Image.Image],
    path: Path,
    *,
    title: str = "",
) -> None:
    """Write the sheet as a PNG; `photo` gives the picture of a number, upright and RGB."""
    top = max(len(retrieval.found) for retrieval in retrievals)
    columns = top + 1  # the last shows the right photo where it was not found
    width = _CAPTION + columns * (SIDE + _GAP) + 3 * _GAP
    head = 40
    height = head + len(retrievals) * (SIDE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 12), title or path.stem, _INK, font=_font(15))
    missed = _CAPTION + 3 * _GAP + top * (SIDE + _GAP)
    draw.text((missed, 16), "the right one, if not found", _FAINT, font=_font(10))
    for row, retrieval in enumerate(retrievals):
        y = head + row * (SIDE + _GAP)
        _write_caption(draw, retrieval, y)
        for column, number in enumerate(retrieval.found):
            frame = _RIGHT if number in retrieval.right else _WRONG
            _paste(sheet, draw, photo(number), _CAPTION + _GAP + column * (SIDE + _GAP), y, frame)
        if retrieval.right.isdisjoint(retrieval.found):
            _paste(sheet, draw, photo(retrieval.best), missed, y, _WRONG)
    aside = path.with_suffix(".part")
    sheet.save(aside, format="PNG", optimize=True)
    aside.replace(path)


def _write_caption(draw: ImageDraw.ImageDraw, retrieval: Retrieval, y: int) -> None:
    font = _font(13)
    lines = _wrapped(retrieval.caption[:_MOST_LETTERS], font, _CAPTION - 2 * _GAP)
    if len(lines) > 6:
        lines = [*lines[:5], f"{lines[5]} …"]
    draw.multiline_text((_GAP, y + 4), "\n".join(lines), _INK, font=font, spacing=3)
    ink = _RIGHT if retrieval.rank == 1 else _FAINT
    draw.text((_GAP, y + SIDE - 20), f"rank {retrieval.rank}", ink, font=_font(11))


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _paste(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, photo: Image.Image, x: int, y: int, frame: str
) -> None:
    """Put a photo into its square, whole, with a frame: a thick one in green if it is right."""
    fitted = ImageOps.contain(photo.convert("RGB"), (SIDE - 8, SIDE - 8))
    sheet.paste(fitted, (x + (SIDE - fitted.width) // 2, y + (SIDE - fitted.height) // 2))
    wide = 4 if frame == _RIGHT else 1
    draw.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), outline=frame, width=wide)


def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return matplotlib's own DejaVu, which has most alphabets, else Pillow's."""
    try:
        load_matplotlib()
    except ImportError:
        return ImageFont.load_default(size)  # type: ignore[return-value]
    import matplotlib

    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size
    )
