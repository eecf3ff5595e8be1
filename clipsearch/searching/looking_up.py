"""From the ids of photos, as a search of vectors gives them, to what is known of them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import shown
from clipsearch.errors import InvalidInput

if TYPE_CHECKING:
    from clipsearch.index.interface import SearchableStore
    from clipsearch.index.records import PhotoRecord, Word
    from clipsearch.index.selection import Selection
    from clipsearch.results import Hit

PhotoIds = Sequence[int] | NDArray[np.int64]

_ALL = 2**63 - 1  # photos
_NOTHING = -1  # how a row of ids is filled up


@dataclass(frozen=True)
class PhotoDetails:
    """All that a library knows of a photo."""

    photo: PhotoRecord
    hit: Hit  # the same with its place and tags, as searches have it; of no rank
    words: tuple[Word, ...]  # its title, description, keywords and people


def photos_of(store: SearchableStore, photo_ids: PhotoIds) -> list[PhotoRecord]:
    """Return photos in the order of their ids; raises InvalidInput for an id of no photo."""
    ids = ids_given(photo_ids)
    found = store.photos(ids)
    _check(ids, found)
    return [found[photo_id] for photo_id in ids]


def vectors_of(store: SearchableStore, model_id: int, photo_ids: PhotoIds) -> NDArray[np.float32]:
    """Return embeddings (n, width) in the order of ids; InvalidInput for an id of no photo.

    Raises LibraryError for a photo that the model has not embedded.
    """
    ids = ids_given(photo_ids)
    with store.reading():
        _check(ids, store.photos(ids))
        return store.vectors(model_id, ids)


def count_of(store: SearchableStore, selected: Selection | None) -> int:
    """Return how many photos are selected; to be called in one committed state of the store."""
    if selected is None or selected.all_but:  # which the store, asked again, has in memory
        return len(store.listed(selected, "date", limit=_ALL))
    return len(selected.ids)


def ids_given(photo_ids: PhotoIds) -> list[int]:
    """Return the ids in a list or an array, without the -1 that fill up a row of them.

    Raises InvalidInput for what are no ids.
    """
    try:
        ids = np.atleast_1d(np.asarray(photo_ids))
    except ValueError:  # rows of several lengths
        ids = np.array([""])
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise InvalidInput(f"photo ids must be whole numbers in one row, not {shown(photo_ids)}")
    return [photo_id for photo_id in ids.tolist() if photo_id != _NOTHING]


def _check(ids: list[int], known: Container[int]) -> None:
    missing = next((photo_id for photo_id in ids if photo_id not in known), None)
    if missing is not None:
        raise InvalidInput(f"the library has no photo {missing}")
