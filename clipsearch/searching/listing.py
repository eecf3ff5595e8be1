"""Photos without a question: those that pass the filters, by date or path, a page of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from clipsearch.index.records import RAW, PhotoRecord
from clipsearch.results import Hit
from clipsearch.searching.raw_pairs import pictures_beside

if TYPE_CHECKING:
    from clipsearch.index.interface import SearchableStore
    from clipsearch.index.listing import Order
    from clipsearch.index.selection import Selection
    from clipsearch.options import SearchOptions


def page(
    store: SearchableStore, model_id: int, selected: Selection | None, options: SearchOptions
) -> list[Hit]:
    """Return the page of photos that the options ask for; newest first where they name no order.

    A raw photo behind a picture is none of them, as in a search. To be called in one committed
    state of the store.
    """
    wanted = options.offset + options.k
    photos = _first(store, model_id, selected, wanted, "path" if options.sort == "path" else "date")
    return [
        replace(Hit.from_record(rank, 0.0, photo), why=())
        for rank, photo in enumerate(photos[options.offset : wanted], options.offset + 1)
    ]


def _first(
    store: SearchableStore, model_id: int, selected: Selection | None, wanted: int, order: Order
) -> list[PhotoRecord]:
    asked = wanted
    while True:
        ids = store.listed(selected, order, limit=asked).tolist()
        photos = _without_raws(store, model_id, selected, ids)
        if len(photos) >= wanted or len(ids) < asked:
            return photos
        asked *= 2


def _without_raws(
    store: SearchableStore, model_id: int, selected: Selection | None, ids: Sequence[int]
) -> list[PhotoRecord]:
    known = store.photos(ids)
    raws = [photo for photo in known.values() if photo.metadata.format == RAW]
    behind = pictures_beside(store, model_id, raws, selected) if raws else {}
    return [known[id_] for id_ in ids if id_ not in behind]
