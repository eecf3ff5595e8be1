"""Texts and pictures added to one question, and taken away from it, each with its weight.

    term("a beach") + 0.5 * term(Path("dunes.jpg")) - "people"

The unit vectors of the parts are added with their weights, and the sum is made as long as each of
them; so it is searched for like any other vector.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from clipsearch.arguments import finite, shown
from clipsearch.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_TERMS = 100
_USUAL = (1e-6, 1e6)  # between these, weights are as they were given
_LEAST_LEFT = 1e-3  # of the length of the largest part, where parts cancel each other out
# A number and a colon before a term; `12:30` is a time.
_WEIGHTED = re.compile(r"(\d{1,4}(?:\.\d{1,4})?):(?!\d)(.+)", re.DOTALL)
# "a beach without people": models see the people.
_WITHOUT = re.compile(
    r"(?P<what>\S.*?),?\s+(?:(?:but|and|with)\s+)?(?:without|no|not)\s+"
    r"(?:(?:any|a|an|the)\s+)?(?P<less>\S.*)",
    re.IGNORECASE | re.DOTALL,
)


class Term(NamedTuple):
    """A part of a question."""

    weight: float  # below 0: less of this
    query: Any  # a text or a picture, as `Library.query` takes it


@dataclass(frozen=True, eq=False)
class QuerySum:
    """A question of several parts; made with `term`, and with + - *."""

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.terms) <= MOST_TERMS:
            raise InvalidInput(f"a question has 1 to {MOST_TERMS} parts, not {len(self.terms)}")

    def __add__(self, other: object) -> QuerySum:
        return QuerySum((*self.terms, *summed(other).terms))

    def __radd__(self, other: object) -> QuerySum:
        return summed(other) + self

    def __sub__(self, other: object) -> QuerySum:
        return self + -summed(other)

    def __rsub__(self, other: object) -> QuerySum:
        return summed(other) - self

    def __neg__(self) -> QuerySum:
        return -1 * self

    def __mul__(self, factor: object) -> QuerySum:
        by = finite(factor, "a weight")
        return QuerySum(
            tuple(Term(finite(by * weight, "a weight"), query) for weight, query in self.terms)
        )

    __rmul__ = __mul__
    # Of an array on the left, which would else take the sum for one more number.
    __array_ufunc__ = None

    def __repr__(self) -> str:
        terms = (f"{one.weight:+g} {shown(one.query)}" for one in self.terms)
        return f"QuerySum({' '.join(terms)})"

    def each(self, change: Callable[[Any], Any]) -> QuerySum:
        """Return the same with each query changed."""
        return QuerySum(tuple(Term(weight, change(query)) for weight, query in self.terms))

    @property
    def texts(self) -> list[str]:
        """The texts of which more is wanted."""
        return [query for weight, query in self.terms if isinstance(query, str) and weight > 0]


def term(query: Any, weight: float = 1.0) -> QuerySum:
    """Return a text or picture, as `Library.query` takes it, as a question that can be added to.

    Raises InvalidInput for a weight that is no finite number.
    """
    return QuerySum((Term(finite(weight, "a weight"), query),))


def summed(value: object) -> QuerySum:
    """Return a query as a sum, of itself alone if it is none."""
    return value if isinstance(value, QuerySum) else term(value)


def alone(asked: QuerySum) -> Any:
    """Return the one query that a sum is of, or the sum."""
    single = len(asked.terms) == 1 and asked.terms[0].weight == 1.0
    return asked.terms[0].query if single else asked


def parts_of(queries: Iterable[Any]) -> list[Any]:
    """Return all queries, in place of each sum its parts."""
    return [
        part
        for query in queries
        for part in ([one.query for one in query.terms] if isinstance(query, QuerySum) else [query])
    ]


def added(queries: Sequence[Any], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return unit vectors (n, width) of n queries, of those of their parts (m, width).

    Raises InvalidInput where the parts of a sum cancel each other out.
    """
    import numpy as np  # which a program that asks a server does without

    from clipsearch.unit_length import unit_length

    rows = []
    start = 0
    for query in queries:
        if not isinstance(query, QuerySum):
            rows.append(vectors[start])
            start += 1
            continue
        weights = _in_range(np.array([one.weight for one in query.terms], np.float64))
        total = weights @ vectors[start : start + len(weights)]
        if not np.linalg.norm(total) > _LEAST_LEFT * np.abs(weights).max():
            raise InvalidInput("the parts of the question cancel each other out: nothing is left")
        rows.append(unit_length(total))
        start += len(weights)
    return np.stack(rows)


def _in_range(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return weights (n,) as float32, all of them divided where they are no usual numbers.

    What counts is how large each is beside the others.
    """
    largest = abs(weights).max()
    if largest > 0 and not _USUAL[0] < largest < _USUAL[1]:
        weights = weights / largest
    return weights.astype("float32")


def weighted(given: str) -> tuple[float, str]:
    """Return the weight that stands before a term as typed, `2:golden retriever`, and the term."""
    found = _WEIGHTED.fullmatch(given)
    return (float(found[1]), found[2]) if found else (1.0, given)


def with_terms(
    asked: Any, plus: Sequence[str], minus: Sequence[str], read: Callable[[str], Any]
) -> QuerySum:
    """Return what was asked, with terms as typed added and taken away; `read` says what each is.

    A term may have its weight before it.
    """
    whole = summed(asked)
    for sign, terms in ((1, plus), (-1, minus)):
        for given in terms:
            weight, one = weighted(given)
            whole += term(read(one), sign * weight)
    return whole


def without(text: str) -> tuple[str, str] | None:
    """Return what a text asks for and what it says should be missing there, if it says so."""
    found = _WITHOUT.fullmatch(text.strip())
    return (found["what"], found["less"].rstrip(" .!?")) if found else None
