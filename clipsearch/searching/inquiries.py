"""Questions that are answered together, each as if it were alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from clipsearch.index.records import ModelRow
    from clipsearch.options import SearchOptions
    from clipsearch.searching.combining import QuerySum
    from clipsearch.searching.query import Query

A = TypeVar("A")
B = TypeVar("B")


class Inquiry(NamedTuple):
    """A question as `Library.query` takes it, or `similar`; every str in it is words."""

    query: Query | QuerySum
    options: SearchOptions
    similar: bool = False  # without the pictures of the question themselves


@dataclass(frozen=True)
class Understood:
    """A question with what is known of it before it is encoded."""

    model: ModelRow
    query: Query | QuerySum  # its pictures may be read already
    options: SearchOptions
    words: str | None = None  # that photos may hold, too
    without: frozenset[int] = frozenset()  # photos that are no answer to it
    tells_unread: bool = False  # whether to say so where the model can't read its words


def each(given: Mapping[int, A], do: Callable[[A], B]) -> tuple[dict[int, B], dict[int, Exception]]:
    """Return what is made of each question by its place, and the errors of those that have one."""
    made: dict[int, B] = {}
    errors: dict[int, Exception] = {}
    for place, one in given.items():
        try:
            made[place] = do(one)
        except Exception as error:  # noqa: BLE001 (its own, which spoils no other)
            errors[place] = error
    return made, errors


def grouped(places: Iterable[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    """Return places in groups with the same key."""
    groups: dict[Hashable, list[int]] = {}
    for place in places:
        groups.setdefault(key(place), []).append(place)
    return list(groups.values())
