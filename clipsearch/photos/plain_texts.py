"""Texts as people and programs leave them in files, made plain: in any encoding, on one line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def texts_in(value: Any) -> tuple[str, ...]:
    """Return the texts in a string or a list of strings: stripped, each once, no blank ones.

    Half a character (a surrogate without its other half, as programs leave it that cut a text) is
    left out, and so is a text in which nothing can be seen.
    """
    values: Iterable[Any] = value if isinstance(value, (list, tuple)) else (value,)
    texts = (_plain(text) for text in values if isinstance(text, str))
    return tuple(dict.fromkeys(text for text in texts if text))


def _plain(text: str) -> str:
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    words = whole.split()
    return " ".join(words) if any(map(str.isprintable, "".join(words))) else ""


def lines_in(text: bytes) -> tuple[str, ...]:
    """Return the texts of a file that has one a line, whatever ends its lines."""
    return texts_in([decoded(line) for line in text.splitlines()])


def decoded(text: bytes) -> str:
    """Return text that is UTF-8 by today's custom, and Latin-1 by an older one."""
    try:
        return text.decode("utf-8-sig", "surrogatepass")  # `texts_in` knows what to do with them
    except UnicodeDecodeError:
        return text.decode("latin-1")


def read_json(text: bytes | str) -> Any:
    """Return what JSON says, with floats for integers; raises ValueError for what is no JSON."""
    try:
        # An int of thousands of digits would be refused, and with it the caption beside it.
        return json.loads(text, parse_int=float)
    except UnicodeDecodeError as error:
        return read_json(error.object.decode("latin-1"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
