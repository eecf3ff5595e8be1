"""Values of options as they are typed: numbers in their range, one of a few words.

Typer would refuse the same, in the words of the package that it checks values with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar

from clipsearch.errors import InvalidInput

Choice = TypeVar("Choice", bound=StrEnum)


def whole_number(
    option: str, *, least: int | None = None, most: int | None = None
) -> Callable[[Any], int]:
    """Return what reads a whole number in a range; InvalidInput for anything else."""
    needed = f"{option} must be a whole number{_range(least, most)}"

    def read(given: Any) -> int:
        try:
            number = int(given)
        except ValueError:
            raise InvalidInput(f"{needed}, not {given}") from None
        if not _within(number, least, most):
            raise InvalidInput(f"{needed}, not {given}")
        return number

    return read


def number(
    option: str, *, least: float | None = None, most: float | None = None, why: str = ""
) -> Callable[[Any], float]:
    """Return what reads a finite number in a range; InvalidInput, with why, for anything else."""
    needed = f"{option} must be a number{_range(least, most)}"

    def read(given: Any) -> float:
        try:
            value = float(given)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not _within(value, least, most):
            raise InvalidInput(f"{needed}, not {given}{f': {why}' if why else ''}")
        return value

    return read


def one_of(option: str, choices: type[Choice], meant: dict[str, str]) -> Callable[[Any], Choice]:
    """Return what reads one of a few words; `meant` has others that people try, and what for."""
    read_name = one_of_names(option, list(choices), meant)
    return lambda given: choices(read_name(given))


def one_of_names(
    option: str, names: Sequence[str], meant: Mapping[str, str] = MappingProxyType({})
) -> Callable[[Any], str]:
    """Return the same for names that are no enumeration."""

    def read(given: Any) -> str:
        if given in names:
            return str(given)
        from clipsearch.near_names import did_you_mean, near_name

        near = meant.get(str(given).lower()) or near_name(str(given), names)
        raise InvalidInput(
            f"{option} must be {in_words(names)}, not {given}{did_you_mean(near)}"
        ) from None

    return read


def some_of(
    option: str, names: Sequence[str], meant: dict[str, str]
) -> Callable[[Any], tuple[str, ...]]:
    """Return what reads names with commas between them; `meant` as of `one_of`."""

    def read(given: Any) -> tuple[str, ...]:
        read = tuple(name.strip() for name in given.split(","))
        for name in read:
            if name not in names:
                from clipsearch.near_names import did_you_mean, near_name

                near = meant.get(name.lower()) or near_name(name, names)
                hint = did_you_mean(near) or f"; choose of {', '.join(names)}"
                raise InvalidInput(f"{option} has no {name or 'empty name'}{hint}")
        return read

    return read


def in_words(names: Sequence[str]) -> str:
    """Return `a, b or c`."""
    return " or ".join([", ".join(names[:-1])] * (len(names) > 1) + [*names[-1:]])


def _range(least: float | None, most: float | None) -> str:
    if least is None:
        return "" if most is None else f" of {most:g} at most"
    return f" of {least:g} or more" if most is None else f" from {least:g} to {most:,}"


def _within(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)
