"""Which pictures a terminal can show, as far as its environment says.

A terminal is never asked: one that does not answer would be waited for, and what is typed meanwhile
would be taken for its answer.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

VARIABLE = "CLIPSEARCH_THUMBNAILS"  # never, or one of the ways below


class Way(Enum):
    """How a picture comes onto a terminal."""

    KITTY = "kitty"  # its graphics protocol
    ITERM2 = "iterm2"  # its inline pictures
    SIXEL = "sixel"
    BLOCKS = "blocks"  # characters that are a quarter or a half, in two colours each


class Cell(NamedTuple):
    """The size of a character in pixels."""

    width: int = 10
    height: int = 20


NARROWEST = 40  # columns of a terminal that a picture has room on beside its text
NEVER = "never"
_KITTY_PROGRAMS = ("kitty", "ghostty")
_ITERM2_PROGRAMS = ("iTerm.app", "WezTerm", "mintty", "rio")
_SIXEL_TERMS = re.compile(r"(foot|mlterm|contour|yaft|st-sixel)")
_COLOURFUL_TERMS = re.compile(r"256color|direct|truecolor|kitty|ghostty|alacritty|foot|contour")
_MULTIPLEXED = re.compile(r"(screen|tmux)")


def way_of(environment: Mapping[str, str], encoding: str) -> Way | None:
    """Return how a terminal with this environment shows pictures; None where it can't."""
    term = environment.get("TERM", "")
    if term in ("dumb", "unknown", "linux"):
        return None
    said = environment.get(VARIABLE, "").lower()
    if said in {way.value for way in Way}:
        return Way(said)
    own = None if _is_multiplexed(environment) else _own_way(environment)
    if own is None and encoding.lower().replace("-", "") == "utf8" and _is_colourful(environment):
        return Way.BLOCKS
    return own


def _own_way(environment: Mapping[str, str]) -> Way | None:
    """Return the way that a terminal known by name has of its own."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if (
        "KITTY_WINDOW_ID" in environment
        or program in _KITTY_PROGRAMS
        or term in ("xterm-kitty", "xterm-ghostty")
    ):
        return Way.KITTY
    # ssh hands LC_TERMINAL on, where it does not TERM_PROGRAM
    if program in _ITERM2_PROGRAMS or environment.get("LC_TERMINAL") == "iTerm2":
        return Way.ITERM2
    if _SIXEL_TERMS.match(term) or "KONSOLE_VERSION" in environment:
        return Way.SIXEL
    return None


def _is_multiplexed(environment: Mapping[str, str]) -> bool:
    """Say whether tmux or screen stands between, which keep pictures to themselves."""
    inside = "TMUX" in environment or "STY" in environment
    return inside or _MULTIPLEXED.match(environment.get("TERM", "")) is not None


def _is_colourful(environment: Mapping[str, str]) -> bool:
    return (
        has_all_colours(environment)
        or _COLOURFUL_TERMS.search(environment.get("TERM", "")) is not None
    )


def has_all_colours(environment: Mapping[str, str]) -> bool:
    """Say whether a terminal takes red, green and blue; else it has a palette of 256."""
    return environment.get("COLORTERM", "") in ("truecolor", "24bit") or "WT_SESSION" in environment


def cell() -> Cell:
    """Return the size of a character on this terminal, or a usual one where it is not known."""
    try:
        import fcntl
        import struct
        import termios

        answer = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
        rows, across, width, height = struct.unpack("HHHH", answer)
        found = Cell(width // across, height // rows)
    except (ImportError, OSError, ValueError, ZeroDivisionError):
        return Cell()
    return found if 4 <= found.width <= 100 and 4 <= found.height <= 200 else Cell()


def way_here(wanted: bool | None) -> Way | None:
    """Return how to show pictures on standard output; None for not at all.

    Where nobody says (None), the variable decides; else only a terminal that is known to draw
    pictures gets some, for characters take many lines to show little. Where standard output is no
    terminal there are none at all.
    """
    if wanted is False or not sys.stdout.isatty():
        return None
    way = way_of(os.environ, sys.stdout.encoding or "")
    if wanted or way is None:
        return way
    said = os.environ.get(VARIABLE, "").lower()
    if said == NEVER or (os.environ.get("NO_COLOR") and not said):
        return None
    return way if said or way is not Way.BLOCKS else None


def has_room() -> bool:
    """Say whether the terminal is wide enough for a picture with text beside it."""
    import shutil

    return shutil.get_terminal_size().columns >= NARROWEST
