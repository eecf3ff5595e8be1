"""From a ranking to what is shown: the cut by relevance, the folding of copies, order and page.

The order is fixed: filters have chosen who is ranked; then come exactly k, the cut, the folding. So
that k counts what is shown, more are ranked where some of them fall away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias

from clipsearch.options import SearchOptions
from clipsearch.results import Hit
from clipsearch.searching.folding import folded, marked

# Returns the n best that pass the filters, or all there are, best first. Those of a smaller n are
# the first of them, so that pages have neither gaps nor repeats.
Ranking: TypeAlias = Callable[[int], Sequence[Hit]]

# Ranks are nearly those of relevance: below so many weak ones in a row nothing is looked for.
_PATIENCE = 100
_MORE = 10  # hits beyond those wanted that are looked at first, for some of these may fall away
SORTED = 1_000  # of the relevant, so many at most are put in order of date or path
_MOST = 10_000  # that are ranked beyond what is asked for


def as_ranked(options: SearchOptions) -> bool:
    """Tell whether the k best are shown as they are ranked."""
    return (
        options.offset == 0
        and options.sort == "relevance"
        and not (options.relevant or options.fold)
    )


# Returns the places of hits, from 0, with those of earlier ones that show the same.
Linking: TypeAlias = Callable[[Sequence[Hit]], Mapping[int, Sequence[int]]]


def _no_links(_: Sequence[Hit]) -> Mapping[int, Sequence[int]]:
    return {}


def shown(
    ranking: Ranking, options: SearchOptions, linking: Linking = _no_links
) -> tuple[list[Hit], int]:
    """Return the page of hits that the options ask for, and how many were weak.

    Where weak ones are left out, date and path order all that are relevant, up to SORTED of them;
    else the page alone, which is chosen by rank.
    """
    wanted = options.offset + options.k
    hits, weak = _enough(ranking, options, linking, wanted)
    if options.sort != "relevance":
        order = _ORDERS[options.sort]
        if options.relevant and hits and all(_is_known(hit) for hit in hits):
            hits, weak = _enough(ranking, options, linking, max(wanted, SORTED))
            hits = sorted(hits, key=order)
        else:
            hits[options.offset :] = sorted(hits[options.offset :], key=order)
    page = hits[options.offset : wanted]
    return [replace(hit, rank=rank) for rank, hit in enumerate(page, options.offset + 1)], weak


def _is_known(hit: Hit) -> bool:
    """Tell whether it is known that a hit is relevant, not only that it comes early."""
    return hit.relevance is not None or "words" in hit.why


def _enough(
    ranking: Ranking, options: SearchOptions, linking: Linking, wanted: int
) -> tuple[list[Hit], int]:
    """Return as many hits as wanted, or all, marked or folded; and how many were weak.

    Where they are not folded, only copies of the same bytes are marked: that costs nothing.
    """
    asked = wanted + _MORE if options.relevant or options.fold else wanted
    while True:
        ranked = ranking(asked)
        strong = [hit for hit in ranked if hit.is_relevant]
        hits = strong if options.relevant else ranked
        hits = folded(marked(hits, linking(hits))) if options.fold else marked(hits, {})
        all_seen = len(ranked) < asked or asked >= max(_MOST, wanted)
        last = ranked[-_PATIENCE:]
        in_vain = len(last) == _PATIENCE and not any(hit.is_relevant for hit in last)
        in_vain = in_vain and options.relevant
        if len(hits) >= wanted or all_seen or in_vain:
            return hits[:wanted], len(ranked) - len(strong)
        asked = min(max(4 * asked, _PATIENCE), max(_MOST, wanted))


def _by_date(hit: Hit) -> tuple[float, str]:
    """Order the newest first, those without a date last."""
    taken = hit.taken_at
    return (-(taken - datetime(1, 1, 1)).total_seconds() if taken else 1.0), hit.source


_ORDERS: dict[str, Callable[[Hit], tuple[float, str]]] = {
    "date": _by_date,
    "path": lambda hit: (0.0, hit.source),
}
