"""Which hits stand behind another: as copies of it, or as photos of the same burst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.results import Hit

if TYPE_CHECKING:
    from clipsearch.index.interface import SearchableStore

# Hits that are compared by what they show; of those after them, copies of the same bytes are known.
MOST_COMPARED = 512
# Taken for the cosine of any two photos: that of a few hits would change from page to page.
_BASE = 0.3


def marked(hits: Sequence[Hit], links: Mapping[int, Sequence[int]]) -> list[Hit]:
    """Return the hits, each `behind` the first before it that it is a copy of or linked with.

    `links` are places of hits, from 0, with those of earlier ones. What a hit stands behind depends
    on the hits before it alone.
    """
    first: dict[str, int] = {}
    fronts: list[int] = []
    for place, hit in enumerate(hits):
        same_bytes = first.setdefault(hit.content_hash, place)
        front = min(same_bytes, *links.get(place, ()), place)
        fronts.append(fronts[front] if front != place else place)
    return [
        replace(hit, behind=hits[front].id) if front != place else hit
        for place, (hit, front) in enumerate(zip(hits, fronts, strict=True))
    ]


def folded(hits: Sequence[Hit]) -> list[Hit]:
    """Return marked hits without those behind another, which names them as `alike`."""
    alike: dict[int, list[int]] = {}
    for hit in hits:
        if hit.behind is not None:
            alike.setdefault(hit.behind, []).append(hit.id)
    return [replace(hit, alike=tuple(alike.get(hit.id, ()))) for hit in hits if hit.behind is None]


def links_among(store: SearchableStore, model_id: int, hits: Sequence[Hit]) -> dict[int, list[int]]:
    """Return the places of hits, from 0, with those of earlier ones that show the same.

    The same photo whatever was done to it, or one of the same burst, of the first MOST_COMPARED.
    """
    from clipsearch.searching.alike import Looks, of_one_burst, same
    from clipsearch.searching.pairs import all_pairs

    ids = [hit.id for hit in hits[:MOST_COMPARED]]
    if len(ids) < 2:
        return {}
    rows = store.photos(ids)
    photos = [rows[photo_id] for photo_id in ids]
    looks = Looks.of(photos, store.vectors(model_id, ids), _BASE)
    likely = all_pairs(looks)
    is_same = same(looks, *likely)
    ones, others = (places.astype(np.int64) for places in np.triu_indices(len(looks), 1))
    near = looks.near_in_time(ones, others)
    ones, others = ones[near], others[near]
    together = of_one_burst(looks, ones, others)
    linked = [
        *zip(likely.ones[is_same].tolist(), likely.others[is_same].tolist(), strict=True),
        *zip(ones[together].tolist(), others[together].tolist(), strict=True),
    ]
    links: dict[int, list[int]] = {}
    for one, other in linked:
        links.setdefault(other, []).append(one)
    return links
