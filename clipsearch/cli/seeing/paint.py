"""Colours and links on a terminal, as far as it wants them; and how wide text is."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

_CODES = {
    "dim": "\x1b[2m",
    "cyan": "\x1b[36m",
    "green": "\x1b[32m",
    "yellow": "\x1b[33m",
}
_PLAIN = "\x1b[0m"
_EIGHTHS = " ▏▎▍▌▋▊▉█"
BAR = 6  # columns


def styled(text: str, style: str) -> str:
    """Return the text in a style, "" for none; dim where there are to be no colours."""
    without = not style or (os.environ.get("NO_COLOR") and style != "dim")
    if without or not text.strip() or is_dumb():
        return text
    return f"{_CODES[style]}{text}{_PLAIN}"


def linked(text: str, path: Path) -> str:
    """Return the text as a link to a file, where the terminal knows links."""
    return text if is_dumb() else f"\x1b]8;;{path.as_uri()}\x1b\\{text}\x1b]8;;\x1b\\"


def is_dumb() -> bool:
    """Say whether the terminal obeys no sequence at all."""
    return os.environ.get("TERM", "") in ("dumb", "unknown")


def bar(share: float) -> str:
    """Return a bar of `BAR` columns, filled from the left by a share from 0 to 1."""
    eighths = round(min(max(share, 0.0), 1.0) * BAR * 8)
    if "utf" not in (sys.stdout.encoding or "").lower():
        return ("#" * round(eighths / 8)).ljust(BAR, ".")
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(BAR)


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


def folded_path(path: str, width: int) -> list[str]:
    """Return a path in pieces of at most so many columns, broken behind a folder where one ends."""
    pieces, rest = [], path
    while columns(rest) > width:
        piece = folded(rest, width)[0]
        behind = piece.rfind(os.sep) + 1
        piece = piece[:behind] if behind * 3 > len(piece) else piece
        pieces.append(piece)
        rest = rest[len(piece) :]
    return [*pieces, rest] if rest or not pieces else pieces


def cut(text: str, width: int) -> str:
    """Return a text of at most so many columns; dots stand for the rest."""
    return text if columns(text) <= width else f"{folded(text, max(width - 1, 1))[0]}…"
