"""What a person means by QUERY: words, or a picture that lies somewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from clipsearch.errors import InvalidInput
from clipsearch.query_image import is_address, picture_at

STANDARD_INPUT = "-"


def understand(asked: str, *, text: bool = False, image: bool = False) -> str | Path | bytes:
    """Return the words of a query, or its picture as a path or bytes.

    Raises InvalidInput for what looks like a picture and is none.
    """
    if text:
        return asked
    if image or asked == STANDARD_INPUT or is_address(asked) or _is(Path.is_file, asked):
        return given_picture(asked)
    if _looks_like_a_file(asked):
        raise InvalidInput(f"there is no file {asked}; --text searches for it as words")
    return asked


def given_picture(asked: str) -> Path | bytes:
    """Return the picture that a path, an address or `-` stands for."""
    if asked == STANDARD_INPUT:
        return _from_standard_input()
    if is_address(asked):
        found = picture_at(asked)
        if isinstance(found, bytes):
            return found
        asked = str(found)
    if _is(Path.is_dir, asked):
        raise InvalidInput(f"{asked} is a folder, not a picture")
    return _path(asked)


def _is(kind: Callable[[Path], bool], asked: str) -> bool:
    try:
        return kind(_path(asked))
    except OSError:  # too long for a name, or in a folder that is closed to us
        return False


def _path(asked: str) -> Path:
    try:
        return Path(asked).expanduser()
    except RuntimeError:  # ~name, and no user has this name
        return Path(asked)


def _looks_like_a_file(asked: str) -> bool:
    if asked.startswith(("/", "./", "../", "~/")):
        return True
    if "." not in asked:
        return False
    from clipsearch.image_opening import is_image_name

    return is_image_name(asked)


def _from_standard_input() -> bytes:
    if sys.stdin.isatty():
        raise InvalidInput("- reads a picture from standard input: clipsearch query - < photo.jpg")
    data = sys.stdin.buffer.read()
    if not data:
        raise InvalidInput("nothing came on standard input")
    return data
