"""What a person means by QUERY: words, or a picture that lies somewhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from clipsearch.errors import InvalidInput
from clipsearch.query_image import fetch_picture, is_web_address
from clipsearch.settings import expanded

STANDARD_INPUT = "-"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def understand(asked: str, *, text: bool = False, image: bool = False) -> str | Path | bytes:
    """Return the words of a query, or its picture as a path or bytes.

    Raises InvalidInput for what looks like a picture and is none.
    """
    if text:
        return asked
    if image or asked == STANDARD_INPUT or _SCHEME.match(asked) or is_a_file(asked):
        return given_picture(asked)
    if _looks_like_a_file(asked):
        raise InvalidInput(f"there is no file {asked}; --text searches for it as words")
    return asked


def given_picture(asked: str) -> Path | bytes:
    """Return the picture that a path, a web address or `-` stands for."""
    if asked == STANDARD_INPUT:
        return _from_standard_input()
    if is_web_address(asked):
        return fetch_picture(asked)
    if _SCHEME.match(asked):
        raise InvalidInput(f"{asked}: only http and https addresses can be fetched")
    if _is(Path.is_dir, asked):
        raise InvalidInput(f"{asked} is a folder, not a picture")
    return expanded(asked)


def is_a_file(asked: str) -> bool:
    """Tell whether what was asked for is the name of a file."""
    return _is(Path.is_file, asked)


def _is(kind: Callable[[Path], bool], asked: str) -> bool:
    try:
        return kind(expanded(asked))
    except OSError:  # too long for a name, or in a folder that is closed to us
        return False


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
