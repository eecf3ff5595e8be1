"""What a caller may give where several things are expected: several, or one alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from clipsearch.errors import InvalidInput

_ALONE = (str, bytes, bytearray, memoryview, os.PathLike)
_PICTURE = 3  # dimensions of an array that is one picture; with four, it is many


def as_list(values: Any) -> list[Any]:
    """Return several things as a list, and one text, path or picture alone as a list of it.

    A str is a sequence too, of letters: of a path's, the first one is `/`, which holds all.
    """
    if isinstance(values, _ALONE) or getattr(values, "ndim", None) in (0, _PICTURE):
        return [values]
    return list(values) if isinstance(values, Iterable) else [values]


def texts_given(texts: str | Iterable[str]) -> list[str]:
    """Return texts as a list; raises InvalidInput if one is no str."""
    given = as_list(texts)
    for text in given:
        if not isinstance(text, str):
            raise InvalidInput(f"a text is a str, not {type(text).__name__}")
    return given
