"""How to search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clipsearch.arguments import finite, model_name, whole, yes_or_no


@dataclass(frozen=True)
class SearchOptions:
    """What may be said of a search beside the query; made only of values that can be meant."""

    k: int = 10  # photos at most
    min_score: float | None = None  # the least cosine that counts as found
    include_away: bool = False
    exact: bool = False
    model: str | Path | None = None  # None: the library's own

    def __post_init__(self) -> None:
        """Raise InvalidInput for what can't be meant; whether there is such a model shows later."""
        least = None if self.min_score is None else finite(self.min_score, "min_score")
        checked = {
            "k": whole(self.k, "k", least=1),
            "min_score": least,
            "include_away": yes_or_no(self.include_away, "include_away"),
            "exact": yes_or_no(self.exact, "exact"),
            "model": model_name(self.model),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
