"""Which photos a search may find: a closed tree of frozen values, and its form in JSON.

Every engine gives a tree the same meaning. It is rendered to SQL in `filter_sql`, and applied to
columns in `filter_arrays`; another engine needs a renderer of its own, and no other change.

A comparison with what a photo doesn't say is false, whichever way it compares, and `Not` is plain
negation of that: `~Compare("camera", "has", "pixel")` holds for photos that name no camera.
`Missing` asks for those. Text is compared without regard to case and diacritics (`fold`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import FrozenInstanceError
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, dataclass_transform, get_args

from clipsearch.arguments import above_zero, finite, shown
from clipsearch.errors import InvalidInput
from clipsearch.index.paths import escape, to_text

Field = Literal[
    "path",
    "folder",
    "moment",
    "camera",
    "lens",
    "place",
    "format",
    "tag",
    "width",
    "height",
    "aspect",
    "latitude",
    "longitude",
]
Operator = Literal["<", "<=", ">", ">=", "=", "has"]

NUMBERS = frozenset({"width", "height", "aspect", "latitude", "longitude"})
# A photo has one of each, or none.
TEXTS = frozenset({"camera", "lens", "place", "format"})
# A photo has any number of each: the names of the folders that it lies in, its tags.
MANY = frozenset({"folder", "tag"})
FIELDS = frozenset({"path", "moment", *NUMBERS, *TEXTS, *MANY})

MOST_NESTED = 40
MOST_PARTS = 10_000  # of a tree, the values of OneOf among them
_LONGEST_TEXT = 4096
_ORDER: tuple[str, ...] = ("<", "<=", ">", ">=", "=")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?)?", re.ASCII)


@dataclass_transform(frozen_default=True)
class _Part:
    """What every part of a tree can do; a frozen value of the fields that its class names.

    As `dataclass` makes them, which takes 4 ms of every start for eight classes.
    """

    if TYPE_CHECKING:
        __match_args__: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls) -> None:
        """Let the class match and be made by its fields."""
        if cls.__annotations__:  # else by those of the class that it extends
            cls.__match_args__ = tuple(cls.__annotations__)  # type: ignore[misc]

    def __init__(self, *values: Any, **named: Any) -> None:
        """Take the fields in order or by name."""
        given = dict(zip(self.__match_args__, values, strict=False), **named)
        if given.keys() != set(self.__match_args__) or len(values) > len(self.__match_args__):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self.__match_args__)}")
        self.__dict__.update(given)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check what was given, and bring it to its one form."""

    def _set(self, name: str, value: object) -> None:
        self.__dict__[name] = value

    @property
    def _values(self) -> tuple[Any, ...]:
        return tuple(map(self.__dict__.__getitem__, self.__match_args__))

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: a value doesn't change."""
        raise FrozenInstanceError(f"{name} can't be changed")

    def __delattr__(self, name: str) -> None:
        """Refuse: a value doesn't change."""
        raise FrozenInstanceError(f"{name} can't be removed")

    def __eq__(self, other: object) -> bool:
        """Compare the fields with those of a part of the same kind."""
        if type(other) is not type(self):
            return NotImplemented
        return self._values == other._values

    def __hash__(self) -> int:
        """Return the same for equal parts."""
        return hash((type(self), self._values))

    def __repr__(self) -> str:
        """Return how the part is made."""
        named = zip(self.__match_args__, self._values, strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in named)})"

    def __and__(self, other: object) -> And:
        """Return what holds where both do."""
        if not isinstance(other, _Part):
            return NotImplemented
        return And((*_inside(self, And), *_inside(other, And)))

    def __or__(self, other: object) -> Or:
        """Return what holds where either does."""
        if not isinstance(other, _Part):
            return NotImplemented
        return Or((*_inside(self, Or), *_inside(other, Or)))

    def __invert__(self) -> Not:
        """Return what holds where this doesn't."""
        return Not(_filter(self))

    @cached_property
    def _inner(self) -> tuple[Filter, ...]:
        """The parts that this is made of."""
        return ()

    @cached_property
    def _depth(self) -> int:
        return 1 + max((part._depth for part in self._inner), default=0)

    @cached_property
    def _size(self) -> int:
        return 1 + sum(part._size for part in self._inner)

    def _check_extent(self) -> None:
        if self._depth > MOST_NESTED:
            raise InvalidInput(f"filters may be nested {MOST_NESTED} deep at most")
        if self._size > MOST_PARTS:
            raise InvalidInput(f"filters may have {MOST_PARTS:,} parts at most")


class _Several(_Part):
    parts: tuple[Filter, ...]

    def __post_init__(self) -> None:
        """Raise InvalidInput for what are no filters, or too many."""
        self._set("parts", _filters(self.parts))
        self._check_extent()

    @cached_property
    def _inner(self) -> tuple[Filter, ...]:
        return self.parts


class And(_Several):
    """All of the parts hold; of none, always."""


class Or(_Several):
    """At least one of the parts holds; of none, never."""


class Not(_Part):
    """The part does not hold, be it because the photo doesn't say."""

    part: Filter

    def __post_init__(self) -> None:
        """Raise InvalidInput for what is no filter."""
        _filter(self.part)
        self._check_extent()

    @cached_property
    def _inner(self) -> tuple[Filter, ...]:
        return (self.part,)


class Compare(_Part):
    """What a photo says compares so with a value; of several, such as tags, one does.

    Of numbers (`width` and `height` in pixels, `aspect` their ratio, `latitude` and `longitude` in
    degrees) and `moment` (local time, YYYY-MM-DDTHH:MM:SS; a day alone is its midnight): < <= > >=
    and =. Of texts (`camera`, `lens`, `place`, `format`, `tag`, and `folder`: the name of one that
    the photo lies in): = and `has`, which means contains. Of `path`: `has`, on the file's name.
    """

    field: Field
    op: Operator
    value: str | float

    def __post_init__(self) -> None:
        """Raise InvalidInput for a comparison that the field doesn't know."""
        _check_field(self.field)
        known = _operators(self.field)
        if not isinstance(self.op, str) or self.op not in known:
            raise InvalidInput(
                f"{self.field} compares by {' '.join(known)}, not by {shown(self.op)}"
            )
        self._set("value", _value(self.field, self.value))


class OneOf(_Part):
    """What a photo says equals one of some values."""

    field: Field
    values: tuple[str | float, ...]

    def __post_init__(self) -> None:
        """Raise InvalidInput for values that the field can't have, or too many."""
        _check_field(self.field)
        if "=" not in _operators(self.field):
            raise InvalidInput(f"{self.field} is no field for OneOf")
        if isinstance(self.values, str) or not isinstance(self.values, Iterable):
            raise InvalidInput(f"OneOf takes several values, not {shown(self.values)}")
        values = tuple(_value(self.field, value) for value in self.values)
        self._set("values", values)
        self._check_extent()

    @cached_property
    def _size(self) -> int:
        return 1 + len(self.values)


class Below(_Part):
    """The photo lies at or below a path: absolute, as text in the form of the catalog, or a Path.

    No link is followed, and nothing is looked up.
    """

    path: str

    def __post_init__(self) -> None:
        """Raise InvalidInput for what is no absolute path."""
        given: object = self.path
        path = to_text(given) if isinstance(given, Path) else _text(given, "a folder")
        if not os.path.isabs(path):  # noqa: PTH117 (the text may stand for bytes that are none)
            raise InvalidInput(f"a folder to look below must be an absolute path, not {path!r}")
        self._set("path", path.rstrip(os.sep) or os.sep)


class Within(_Part):
    """The photo was taken within so many km of a place, by the great circle."""

    latitude: float  # degrees, north positive
    longitude: float  # degrees, east positive
    km: float

    def __post_init__(self) -> None:
        """Raise InvalidInput for what is no place on earth, or no distance."""
        for name, most in (("latitude", 90), ("longitude", 180)):
            degrees = finite(getattr(self, name), name)
            if abs(degrees) > most:
                raise InvalidInput(f"{name} must be from -{most} to {most}, not {degrees:g}")
            self._set(name, degrees)
        self._set("km", above_zero(self.km, "km"))


class Missing(_Part):
    """The photo doesn't say: it has no such value."""

    field: Field

    def __post_init__(self) -> None:
        """Raise InvalidInput for an unknown field."""
        _check_field(self.field)


Filter: TypeAlias = And | Or | Not | Compare | OneOf | Below | Within | Missing

# Names in JSON; the fields of the value stand in a list, or alone if there is but one.
_NAMES: dict[type, str] = {
    **{And: "and", Or: "or", Not: "not", Compare: "compare", OneOf: "one_of"},
    **{Below: "below", Within: "within", Missing: "missing"},
}
_KINDS: dict[str, Callable[..., Filter]] = {name: kind for kind, name in _NAMES.items()}
_WIDTHS = {"compare": 3, "one_of": 2, "within": 3}  # values in the list


def is_filter(value: object) -> bool:
    """Tell whether this is a tree of filters."""
    return isinstance(value, get_args(Filter))


def to_json(tree: Filter) -> dict[str, Any]:
    """Return the tree ready for JSON; `from_json` makes the same of it again."""
    match tree:
        case And(parts) | Or(parts):
            value: Any = [to_json(part) for part in parts]
        case Not(part):
            value = to_json(part)
        case Compare(field, op, other):
            value = [field, op, other]
        case OneOf(field, values):
            value = [field, list(values)]
        case Within(latitude, longitude, km):
            value = [latitude, longitude, km]
        case Below(path):
            value = path
        case Missing(field):
            value = field
    return {_NAMES[type(tree)]: value}


def from_json(value: object) -> Filter:
    """Return the tree that `to_json` wrote; InvalidInput for anything else, however large."""
    return _from_json(value, MOST_NESTED)


def _from_json(value: object, deeper: int) -> Filter:
    if not isinstance(value, Mapping) or len(value) != 1:
        raise InvalidInput(f"a filter is an object of one name, not {shown(value)}")
    ((name, inside),) = value.items()
    if not isinstance(name, str) or name not in _KINDS:
        raise InvalidInput(f"there is no filter {shown(name)}")
    if not deeper:
        raise InvalidInput(f"filters may be nested {MOST_NESTED} deep at most")
    kind = _KINDS[name]
    if name == "not":
        return kind(_from_json(inside, deeper - 1))
    if name in ("below", "missing"):
        return kind(inside)
    if not isinstance(inside, list) or len(inside) != _WIDTHS.get(name, len(inside)):
        raise InvalidInput(f"the filter {name} takes a list, not {shown(inside)}")
    if name in _WIDTHS:
        return kind(*inside)
    return kind(tuple(_from_json(part, deeper - 1) for part in inside))


def fold(text: str) -> str:
    """Return text without case and diacritics, as texts are compared."""
    if text.isascii():
        return text.lower()
    from unicodedata import combining, normalize

    parts = normalize("NFKD", normalize("NFKD", text).casefold())
    return "".join(one for one in parts if not combining(one))


def full_moment(text: str) -> str:
    """Return a moment to the second; a day alone is its midnight."""
    return text[:19] + "0001-01-01T00:00:00"[len(text) :]


def _check_field(field: object) -> None:
    if not isinstance(field, str) or field not in FIELDS:
        raise InvalidInput(f"photos have no field {shown(field)}: {', '.join(sorted(FIELDS))}")


def _operators(field: str) -> tuple[str, ...]:
    if field == "path":
        return ("has",)
    return _ORDER if field in NUMBERS or field == "moment" else ("=", "has")


def _value(field: str, value: object) -> str | float:
    """Return a value that a field can be compared with."""
    if field in NUMBERS:
        return finite(value, field)
    text = _text(value, field)
    if field == "moment":
        return _moment(text)
    if not fold(text):
        raise InvalidInput(f"{field} can't be compared with {shown(text)}: no letter is left of it")
    return text


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidInput(f"{name} must be a text, not {shown(value)}")
    if len(value) > _LONGEST_TEXT:
        raise InvalidInput(f"{name} can't be a text of {len(value):,} characters")
    return escape(value) if any("\ud800" <= one <= "\udfff" for one in value) else value


def _moment(text: str) -> str:
    from datetime import datetime

    if _MOMENT.fullmatch(text):
        try:
            datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            return full_moment(text)
    raise InvalidInput(f"moment must be a day or local time such as 2021-07-14, not {shown(text)}")


def _filter(value: Any) -> Filter:
    if not is_filter(value):
        raise InvalidInput(f"a filter is made of And, Or, Compare and so on, not {shown(value)}")
    part: Filter = value
    return part


def _filters(values: object) -> tuple[Filter, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInput(f"filters must be several, not {shown(values)}")
    return tuple(map(_filter, values))


def _inside(part: Any, kind: type[_Several]) -> tuple[Filter, ...]:
    """Return the parts of what is of this kind, and else the whole as the one part."""
    return part.parts if isinstance(part, kind) else (_filter(part),)


EVERYTHING = And(())
