"""What a caller gives, checked: what can't be meant is InvalidInput, never an error of some depth.

Numbers may be numpy's; they come back as Python's, for SQLite and JSON know no others.
"""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from clipsearch.errors import InvalidInput

_ALONE = (str, bytes, bytearray, memoryview, os.PathLike)
_PICTURE = 3  # dimensions of an array that is one picture; with four, it is many
_BOOLEANS = ("bool", "bool_")  # Python's and numpy's: each is an integer, too, or nearly
_LONGEST_PATH = 4096 if os.name == "posix" else 32767  # bytes, of any system
_SHOWN = 60  # characters of a value


def whole(value: object, name: str, *, least: int) -> int:
    """Return an integer, of any type and size."""
    if type(value).__name__ not in _BOOLEANS:
        try:
            number = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            pass
        else:
            if number < least:
                raise InvalidInput(f"{name} must be at least {least}, not {shown(value)}")
            return number
    raise InvalidInput(f"{name} must be a whole number, not {shown(value)}")


def finite(value: object, name: str) -> float:
    """Return a number that is neither infinite nor NaN."""
    if isinstance(value, numbers.Real) and type(value).__name__ not in _BOOLEANS:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise InvalidInput(f"{name} must be a finite number, not {shown(value)}")


def cosine(value: object, name: str) -> float:
    """Return a number from -1 to 1."""
    number = finite(value, name)
    if not -1 <= number <= 1:
        raise InvalidInput(f"{name} must be from -1 to 1, as scores are cosines; not {number:g}")
    return number


def above_zero(value: object, name: str) -> float:
    """Return a finite number above 0."""
    number = finite(value, name)
    if number <= 0:
        raise InvalidInput(f"{name} must be above 0, not {shown(value)}")
    return number


def yes_or_no(value: object, name: str) -> bool:
    """Return a bool; other values that Python takes for one are rather a slip."""
    if type(value).__name__ not in _BOOLEANS:
        raise InvalidInput(f"{name} must be True or False, not {shown(value)}")
    return bool(value)


def one_of(value: object, name: str, names: Sequence[str]) -> str:
    """Return one of some names."""
    if not isinstance(value, str) or value not in names:
        raise InvalidInput(f"{name} must be one of {', '.join(names)}, not {shown(value)}")
    return value


def as_list(values: Any) -> list[Any]:
    """Return several things as a list, and one text, path or picture alone as a list of it.

    A str is a sequence too, of letters: of a path's, the first one is `/`, which holds all.
    """
    dimensions = getattr(values, "ndim", None)
    is_embedding = dimensions == 1 and values.dtype.kind == "f"
    if isinstance(values, _ALONE) or dimensions in (0, _PICTURE) or is_embedding:
        return [values]
    return list(values) if isinstance(values, Iterable) else [values]


def texts_given(texts: str | Iterable[str]) -> list[str]:
    """Return texts as a list; raises InvalidInput if one is no str."""
    given = as_list(texts)
    for text in given:
        if not isinstance(text, str):
            raise InvalidInput(f"a text is a str, not {shown(text)}")
    return given


def file_path(value: object, name: str = "a path") -> Path:
    """Return a path that a file can have, whether there is one or not."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise InvalidInput(f"{name} must be a str or Path, not {shown(value)}")
    try:
        encoded = os.fsencode(value)
    except UnicodeEncodeError:  # half a character
        encoded = b"\0"
    if b"\0" in encoded or len(encoded) > _LONGEST_PATH:
        raise InvalidInput(f"{name} can't be {shown(value)}: no file has such a name")
    return Path(value)


def model_name(value: object) -> str | Path | None:
    """Return what names a model; None for `auto`, which is what is there."""
    if value is None or (isinstance(value, str) and value == "auto"):
        return None
    path = file_path(value, "a model")
    return value if isinstance(value, str) else path


def shown(value: Any) -> str:
    """Return a value for a message, on one line and not too long."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer of too many digits to be written out
        return "so large a number"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
