"""Which photos stand behind another: as copies of it, or as photos of the same burst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from clipsearch.index.interface import SearchableStore
    from clipsearch.index.records import PhotoRecord

# Photos that are compared by what they show; of those after them, only copies of the same bytes
# are known.
MOST_COMPARED = 512
# Taken for the cosine of any two photos: that of a few photos would change from page to page.
_BASE = 0.3


def fronts(contents: Sequence[str], links: Mapping[int, Sequence[int]]) -> list[int]:
    """Return for each of some photos the place, from 0, of the first that it stands behind.

    That is the first it is a copy of, by the hash of its `contents`, or linked with; its own place
    where it stands behind none. `links` are places of photos with those of earlier ones. It depends
    on the photos before it alone.
    """
    first: dict[str, int] = {}
    fronts: list[int] = []
    for place, content in enumerate(contents):
        same_bytes = first.setdefault(content, place)
        front = min(same_bytes, *links.get(place, ()), place)
        fronts.append(fronts[front] if front != place else place)
    return fronts


def links_among(
    store: SearchableStore,
    model_id: int,
    photos: Sequence[PhotoRecord],
    vectors: NDArray[np.float32] | None,
) -> dict[int, list[int]]:
    """Return the places of photos, from 0, with those of earlier ones that show the same.

    The same photo whatever was done to it, or one of the same burst, of the first MOST_COMPARED.
    `vectors` (n, width) are read where they are not given.
    """
    from clipsearch.searching.alike import Looks, of_one_burst, same
    from clipsearch.searching.pairs import all_pairs

    photos = photos[:MOST_COMPARED]
    if len(photos) < 2:
        return {}
    if vectors is None:
        vectors = store.vectors(model_id, [photo.id for photo in photos])
    looks = Looks.of(photos, vectors[:MOST_COMPARED], _BASE)
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
