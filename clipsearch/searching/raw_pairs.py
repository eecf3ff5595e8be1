"""A raw photo and the picture that the camera made of it are one result: the picture.

They are known by where they lie and by what they say of themselves, so nothing is kept of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clipsearch.index.records import PhotoRecord

if TYPE_CHECKING:
    from pathlib import Path

    from clipsearch.index.interface import SearchableStore
    from clipsearch.index.selection import Selection

# How cameras name the picture beside a raw file, in order; in capitals, too.
_SUFFIXES = (".jpg", ".jpeg", ".heic", ".heif", ".hif")
# Pixel phones name them apart: PXL_20230714.RAW-02.ORIGINAL.dng, PXL_20230714.RAW-01.COVER.jpg.
_PHONE_RAW, _PHONE_PICTURES = ".RAW-02.ORIGINAL", (".RAW-01.COVER", ".RAW-01.MP.COVER")
_SAME = 0.95  # cosine; of a raw photo and its JPEG it is at least 0.98
_TO_THE_SECOND = len("2023-07-14T18:22:05")


def pictures_beside(
    store: SearchableStore, model_id: int, raws: Sequence[PhotoRecord], selected: Selection | None
) -> dict[int, int]:
    """Return for the raw photos that have one the picture of the same moment beside it, by ids.

    It lies in the same folder under the same name but for the suffix, and says the same second and
    camera; or it says neither, and looks the same. One that a search of the `selected` photos with
    this model can't find counts for none.
    """
    import numpy as np

    places = {raw.id: list(_places_of_pictures(raw.file.path)) for raw in raws}
    known = store.photos_at({place for those in places.values() for place in those})
    ids = np.array([one.photo.id for one in known], np.int64)
    findable = np.full(len(ids), True) if selected is None else selected.holds(ids)
    pictures = {
        one.photo.file.path: one.photo
        for one, found in zip(known, findable, strict=True)
        if found and model_id in one.embedded_by
    }
    beside: dict[int, int] = {}
    for raw in raws:
        for place in places[raw.id]:
            picture = pictures.get(place)
            if picture is not None and (
                _same_moment(raw, picture) or _looks_the_same(store, model_id, raw, picture)
            ):
                beside.setdefault(raw.id, picture.id)
    return beside


def _places_of_pictures(raw: Path) -> Iterator[Path]:
    stem = raw.stem
    stems = [stem]
    if stem.endswith(_PHONE_RAW):
        stems += [stem.removesuffix(_PHONE_RAW) + end for end in _PHONE_PICTURES]
    for name in stems:
        for suffix in _SUFFIXES:
            yield raw.with_name(name + suffix)
            yield raw.with_name(name + suffix.upper())


def _same_moment(raw: PhotoRecord, picture: PhotoRecord) -> bool:
    one, other = raw.metadata, picture.metadata
    second = (one.taken_at or "")[:_TO_THE_SECOND]
    known = len(second) == _TO_THE_SECOND
    return known and (other.taken_at or "").startswith(second) and one.camera == other.camera


def _looks_the_same(
    store: SearchableStore, model_id: int, raw: PhotoRecord, picture: PhotoRecord
) -> bool:
    """Say whether a picture that says nothing of itself, as some programs write it, is the same."""
    if picture.metadata.taken_at is not None or picture.metadata.camera is not None:
        return False
    one, other = store.vectors(model_id, [raw.id, picture.id])
    return float(one @ other) >= _SAME
