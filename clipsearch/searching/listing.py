"""Photos without a question: those that pass the filters, by date or path, a page of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.filters import OneOf
from clipsearch.index.records import RAW, PhotoRecord
from clipsearch.results import Hit
from clipsearch.searching.raw_pairs import pictures_beside

if TYPE_CHECKING:
    from clipsearch.index.interface import SearchableStore
    from clipsearch.index.listing import Order
    from clipsearch.index.selection import Selection
    from clipsearch.options import SearchOptions

_FEW = 1000  # photos that are read to see which are raw; of more, the store is asked


def page(
    store: SearchableStore, model_id: int, selected: Selection | None, options: SearchOptions
) -> list[Hit]:
    """Return the page of photos that the options ask for; newest first where they name no order.

    A raw photo behind a picture is none of them, as in a search. To be called in one committed
    state of the store.
    """
    wanted = options.offset + options.k
    ids = _first(store, model_id, selected, wanted, "path" if options.sort == "path" else "date")
    on_page = ids[options.offset : wanted].tolist()
    photos = store.photos(on_page)
    return [
        replace(Hit.from_record(rank, 0.0, photos[id_]), why=())
        for rank, id_ in enumerate(on_page, options.offset + 1)
    ]


def _first(
    store: SearchableStore, model_id: int, selected: Selection | None, wanted: int, order: Order
) -> NDArray[np.int64]:
    """Return the ids of the first photos in an order, at least so many or all there are."""
    asked = wanted
    while True:
        ids = store.listed(selected, order, limit=asked)
        raws = _raws_among(store, ids)
        behind = list(pictures_beside(store, model_id, raws, selected)) if raws else []
        shown = ids[~np.isin(ids, behind)] if behind else ids
        if len(shown) >= wanted or len(ids) < asked:
            return shown
        asked *= 2


def _raws_among(store: SearchableStore, ids: NDArray[np.int64]) -> list[PhotoRecord]:
    if len(ids) > _FEW:
        raw = store.select(OneOf("format", (RAW,)), [])
        ids = ids if raw is None else ids[raw.holds(ids)]
    return store.raw_photos(ids.tolist())
