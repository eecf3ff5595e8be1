"""From a ranking to what is shown: the cut by relevance, the folding of copies, order and page.

The order is fixed: filters have chosen who is ranked; then come exactly k, the cut, the folding. So
that k counts what is shown, more are ranked where some of them fall away. Photos are told by their
ids until it is known which are shown: of these alone more is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clipsearch.results import Hit
from clipsearch.searching.folding import fronts
from clipsearch.searching.ranking import Ranked

if TYPE_CHECKING:
    from clipsearch.index.records import PhotoRecord
    from clipsearch.options import SearchOptions

# Returns the n best that pass the filters, or all there are, best first. Those of a smaller n are
# the first of them, so that pages have neither gaps nor repeats.
Ranks: TypeAlias = Callable[[int], Ranked]
# Returns what is known of photos, in the order of their ids.
Rows: TypeAlias = Callable[[list[int]], "list[PhotoRecord]"]
# Returns the places of photos, from 0, with those of earlier ones that show the same; with their
# vectors (n, width), where these are known.
Linking: TypeAlias = Callable[
    ["Sequence[PhotoRecord]", "NDArray[np.float32] | None"], Mapping[int, Sequence[int]]
]

# Ranks are nearly those of relevance: behind so many weak ones in a row nothing is shown. The few
# that would be are hardly ever right.
PATIENCE = 20
# Photos beyond those wanted that are ranked at once: so the end is seen where all that is relevant
# comes first. More would cost time in a large library.
_AHEAD = PATIENCE
_SPARE = 10  # of these, so many more are read than are wanted, for some may be copies
SORTED = 1_000  # of the relevant, so many at most are put in order of date or path
_MOST = 10_000  # that are ranked beyond what is asked for


def as_ranked(options: SearchOptions) -> bool:
    """Tell whether the k best are shown as they are ranked."""
    return (
        options.offset == 0
        and options.sort == "relevance"
        and not (options.relevant or options.fold)
    )


def first_asked(options: SearchOptions) -> int:
    """Return how many photos `shown` asks a ranking for first."""
    return _ranked_first(options, options.offset + options.k)


def _ranked_first(options: SearchOptions, wanted: int) -> int:
    return wanted + _AHEAD if options.relevant or options.fold else wanted


def _no_links(*_: object) -> Mapping[int, Sequence[int]]:
    return {}


def shown(
    ranks: Ranks, options: SearchOptions, rows: Rows, linking: Linking = _no_links
) -> tuple[list[Hit], int]:
    """Return the page of hits that the options ask for, and how many were weak.

    Where weak ones are left out, date and path order all that are relevant, up to SORTED of them;
    else the page alone, which is chosen by rank.
    """
    offset, wanted = options.offset, options.offset + options.k
    enough = _Enough(ranks, options, rows, linking)
    hits, weak = enough.of(wanted)
    if options.sort != "relevance":
        order = _ORDERS[options.sort]
        if options.relevant and hits and all(_is_known(hit) for hit in hits):
            hits, weak = enough.of(max(wanted, SORTED))
            hits = sorted(hits, key=order)
        else:
            hits[offset:] = sorted(hits[offset:], key=order)
    page = enumerate(hits[offset:wanted], offset + 1)
    return [hit if hit.rank == rank else replace(hit, rank=rank) for rank, hit in page], weak


def _is_known(hit: Hit) -> bool:
    """Tell whether it is known that a hit is relevant, not only that it comes early."""
    return hit.relevance is not None or "words" in hit.why


class _Enough(NamedTuple):
    """Finds as many hits as are wanted, marked or folded."""

    ranks: Ranks
    options: SearchOptions
    rows: Rows
    linking: Linking

    def of(self, wanted: int) -> tuple[list[Hit], int]:
        """Return as many hits as wanted, or all, and how many were weak."""
        options = self.options
        asked = _ranked_first(options, wanted)
        while True:
            ranked = self.ranks(asked)
            relevant = ranked.are_relevant
            all_seen = len(relevant) < asked or asked >= max(_MOST, wanted)
            if options.relevant:
                end = end_of(relevant)
                all_seen |= end < len(relevant)
                places = np.flatnonzero(relevant[:end])
            else:
                places = np.arange(len(relevant))
            hits = self._marked(ranked, places, wanted)
            if len(hits) >= wanted or all_seen:
                return hits[:wanted], int((~relevant).sum())
            asked = min(4 * asked, max(_MOST, wanted))

    def _marked(self, ranked: Ranked, places: NDArray[np.int64], wanted: int) -> list[Hit]:
        """Return the hits at some places of a ranking, at least as many as wanted or all.

        Where they are not folded, only copies of the same bytes are marked: that costs little.
        """
        read = wanted + _SPARE if self.options.fold else wanted
        while True:
            some = places[:read]
            photos = self.rows(ranked.ids[some].tolist())
            links: Mapping[int, Sequence[int]] = {}
            if self.options.fold:
                vectors = None if ranked.vectors is None else ranked.vectors[some]
                links = self.linking(photos, vectors)
            front = fronts([photo.content_hash for photo in photos], links)
            behind: dict[int, list[int]] = {}
            for at, first in enumerate(front):
                if at != first:
                    behind.setdefault(first, []).append(photos[at].id)
            kept = [at for at, first in enumerate(front) if at == first or not self.options.fold]
            if len(kept) >= wanted or read >= len(places):
                break
            read *= 4
        folded = behind if self.options.fold else {}
        return [
            _hit(
                *(rank, ranked, int(some[at]), photos[at]),
                behind=photos[front[at]].id if front[at] != at else None,
                alike=tuple(folded.get(at, ())),
            )
            for rank, at in enumerate(kept, 1)
        ]


def end_of(relevant: NDArray[np.bool_]) -> int:
    """Return where the first PATIENCE photos in a row begin that are weak, or how many there are.

    So it depends on the ranking alone, not on how much of it is looked at.
    """
    known = np.concatenate([[-1], np.flatnonzero(relevant), [len(relevant)]])
    far = np.flatnonzero(np.diff(known) > PATIENCE)
    return int(known[far[0]]) + 1 if len(far) else len(relevant)


def _hit(
    rank: int,
    ranked: Ranked,
    place: int,
    photo: PhotoRecord,
    *,
    behind: int | None,
    alike: tuple[int, ...],
) -> Hit:
    known = None if ranked.relevance is None else round(float(ranked.relevance[place]), 4)
    return Hit.from_record(
        *(rank, float(ranked.cosines[place]), photo),
        relevance=known,
        why=("words",) if ranked.by_words[place] else ("visual",),
        behind=behind,
        alike=alike,
    )


def _by_date(hit: Hit) -> tuple[float, str]:
    """Order the newest first, those without a date last."""
    taken = hit.taken_at
    return (-(taken - datetime(1, 1, 1)).total_seconds() if taken else 1.0), hit.source


_ORDERS: dict[str, Callable[[Hit], tuple[float, str]]] = {
    "date": _by_date,
    "path": lambda hit: (0.0, hit.source),
}
