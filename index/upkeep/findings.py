"""What a check looked at and found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXAMPLES = 5  # paths or rows named of each problem

# What mends a problem.
REPAIR = "`clipsearch check --repair`"
REMADE_BY_INDEX = f"{REPAIR}; what it can't save, `clipsearch index` makes anew"


@dataclass(frozen=True)
class Problem:
    """One kind of thing that is wrong."""

    what: str  # one line
    remedy: str  # one line: what mends it
    count: int = 1
    examples: tuple[str, ...] = ()  # the first few paths or rows
    is_final: bool = False  # no repair can mend it

    @classmethod
    def of(cls, found: Sequence[str], what: str, remedy: str) -> tuple[Problem, ...]:
        """Return the problem that all these have, or nothing if there are none."""
        return (cls(what, remedy, len(found), tuple(found[:EXAMPLES])),) if found else ()


@dataclass(frozen=True)
class Checked:
    """One part of a library, and what is wrong with it."""

    part: str
    looked_at: int
    unit: str  # what was counted, in the singular
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()  # worth knowing, nothing wrong

    @property
    def wrong(self) -> int:
        """Return how many problems there are, each thing counted."""
        return sum(problem.count for problem in self.problems)
