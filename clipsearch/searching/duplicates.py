"""All photos of a library that are the same, of one burst, or much alike, in groups."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipsearch.copies import AlikeGroup, CopiedPhoto, Duplicates, Kind, in_order
from clipsearch.index.records import RAW, PhotoRecord
from clipsearch.searching.alike import Looks, Places, base_of, of_one_burst, same
from clipsearch.searching.pairs import Pairs, by_content, by_embedding, by_shape
from clipsearch.searching.raw_pairs import pictures_beside
from clipsearch.searching.same_photo import is_framed

if TYPE_CHECKING:
    from clipsearch.index.interface import SearchableStore
    from clipsearch.index.selection import Selection

_AT_ONCE = 4096  # rows

# Names that programs give to what they made of another file.
_DERIVED = re.compile(
    r"\(\d+\)$|~\d*$|\bcopy\b|\bcopie\b|\bcopia\b|\bkopie\b|kopia|\bedit(ed)?\b|bearbeitet|"
    r"modifi[eé]|editad[ao]|\bresized\b|\bscaled\b|\bcompressed\b|\bsmall\b|thumb|-WA\d+$",
    re.IGNORECASE,
)
_OF_CAMERAS = frozenset({"JPEG", "MPO", "HEIF", "AVIF", "TIFF", "JPEG2000"})
_DAY = 24 * 3600 * 10**9  # nanoseconds
_AS_LARGE = 0.75  # of the pixels of the largest: a border adds some, a crop takes some off


def find_duplicates(
    store: SearchableStore, model_id: int, photos: int, selected: Selection | None
) -> Duplicates:
    """Return the groups among the photos that are selected and that a model has embedded.

    `photos` is how many it has embedded. The store must be in a `reading` block.
    """
    ids = _embedded(store, model_id, photos, selected)
    if not len(ids):
        return Duplicates((), 0)
    looks = _read(store, model_id, ids, selected)
    parts, close = by_embedding(looks)
    pairs = Pairs.joined(by_content(looks), parts, by_shape(looks))
    is_same = same(looks, *pairs)
    groups = connected(pairs.ones[is_same], pairs.others[is_same])
    found = [_group("same", group) for group in _rows_of(store, looks, groups)]
    kept = ~np.isin(looks.ids, [photo.id for group in found for photo in group.others])
    bursts = _bursts(looks, np.flatnonzero(kept))
    kept[[place for burst in bursts for place in burst]] = False
    alone = kept[close.ones] & kept[close.others]
    much_alike = _around(close.ones[alone], close.others[alone])
    found += [_group("burst", group) for group in _rows_of(store, looks, bursts)]
    found += [_group("look-alike", group) for group in _rows_of(store, looks, much_alike)]
    incomplete = int(np.count_nonzero(~looks.was_read))
    return Duplicates(in_order(found), len(looks), incomplete)


def _group(kind: Kind, photos: Sequence[PhotoRecord]) -> AlikeGroup:
    keep = _best(photos)
    others = sorted(
        (CopiedPhoto.from_record(photo) for photo in photos if photo is not keep),
        key=lambda one: one.source,
    )
    return AlikeGroup(kind, CopiedPhoto.from_record(keep), tuple(others))


def _rows_of(
    store: SearchableStore, looks: Looks, groups: Sequence[Sequence[int]]
) -> Iterator[list[PhotoRecord]]:
    """Yield the rows of the photos of each group, which are their places."""
    places = sorted({place for group in groups for place in group})
    rows = dict(zip(places, _rows(store, looks.ids[places]), strict=True))
    yield from ([rows[place] for place in group] for group in groups)


# Reading


def _embedded(
    store: SearchableStore, model_id: int, photos: int, selected: Selection | None
) -> NDArray[np.int64]:
    """Return the ids (n,), rising, of what is selected: a search for all of them has them."""
    any_vector = np.zeros((1, _width(store, model_id)), np.float32)
    any_vector[0, 0] = 1
    ids = store.search(model_id, any_vector, max(photos, 1), selected=selected, exact=True)[1][0]
    return np.sort(ids[ids >= 0])


def _width(store: SearchableStore, model_id: int) -> int:
    return next(row.identity.width for row in store.models(count_to=0) if row.id == model_id)


def _rows(store: SearchableStore, ids: NDArray[np.int64]) -> Iterator[PhotoRecord]:
    """Yield the rows of photos in the order of their ids (n,)."""
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE].tolist()
        rows = store.photos(some)
        yield from (rows[photo_id] for photo_id in some)


def _read(
    store: SearchableStore, model_id: int, ids: NDArray[np.int64], selected: Selection | None
) -> Looks:
    """Return what tells which photos are alike.

    A raw photo that has its picture beside it, if that is selected, is left out: the two are one.
    """
    chunks = [ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)]
    vectors = np.concatenate([store.vectors(model_id, chunk.tolist()) for chunk in chunks])
    raws: list[PhotoRecord] = []

    def noted() -> Iterator[PhotoRecord]:
        for photo in _rows(store, ids):
            if photo.metadata.format == RAW:
                raws.append(photo)
            yield photo

    looks = Looks.of(noted(), vectors, base_of(vectors))
    if not raws:
        return looks
    behind = pictures_beside(store, model_id, raws, selected)
    return looks.only(np.flatnonzero(~np.isin(ids, list(behind))))


# Which to keep


class _Mark(NamedTuple):
    """How well a photo stands for its copies: the larger the better."""

    facts: int  # of two, when and with what it was taken, those that it says
    named_by_nobody: bool  # not as programs name what they made of another file
    unframed: bool  # without a border
    pixels: int
    of_a_camera: int  # 2 as the sensor saw it, 1 in a format that cameras write
    old: int  # the more days ago the file was written the larger
    size: int  # bytes
    near: int  # the shorter its path the larger
    first: int  # the earlier it was indexed the larger


def _mark(photo: PhotoRecord) -> _Mark:
    said = photo.metadata
    return _Mark(
        (said.taken_at is not None) + (said.camera is not None),
        _DERIVED.search(photo.file.path.stem) is None,
        not is_framed(said.perceptual_hash),
        said.width * said.height,
        2 if said.format == RAW else int(said.format in _OF_CAMERAS),
        -(photo.file.mtime_ns // _DAY),
        photo.file.size,
        -len(str(photo.file.path)),
        -photo.id,
    )


def _best(photos: Sequence[PhotoRecord]) -> PhotoRecord:
    """Return the photo to keep: the best of those that are about as large as the largest."""
    marks = [_mark(photo) for photo in photos]
    least = _AS_LARGE * max(mark.pixels for mark in marks)
    return max(
        (pair for pair in zip(marks, photos, strict=True) if pair[0].pixels >= least),
        key=lambda pair: pair[0],
    )[1]


# Pairs become groups


def connected(ones: Places, others: Places) -> list[list[int]]:
    """Return the photos that pairs connect, in groups, each rising and in order of the first."""
    heads: dict[int, int] = {}

    def head(place: int) -> int:
        while (above := heads.setdefault(place, place)) != place:
            heads[place] = heads[above]
            place = above
        return place

    for one, other in zip(ones.tolist(), others.tolist(), strict=True):
        low, high = sorted((head(one), head(other)))
        heads[high] = low
    groups: dict[int, list[int]] = {}
    for place in sorted(heads):
        groups.setdefault(head(place), []).append(place)
    return list(groups.values())


def _bursts(looks: Looks, places: Places) -> list[list[int]]:
    """Return those of some photos that one camera took of one scene, each within seconds."""
    timed = places[~np.isnan(looks.seconds[places]) & (looks.cameras[places] >= 0)]
    timed = timed[np.lexsort((looks.seconds[timed], looks.cameras[timed]))]
    ones, others = timed[:-1], timed[1:]
    together = of_one_burst(looks, ones, others)
    return connected(ones[together], others[together])


def _around(ones: Places, others: Places) -> list[list[int]]:
    """Return photos with those like them: first where most are, each photo in one group only.

    All of a group are like one of it. In a chain, the ends might be like nothing of each other.
    """
    near: dict[int, set[int]] = {}
    for one, other in zip(ones.tolist(), others.tolist(), strict=True):
        near.setdefault(one, set()).add(other)
        near.setdefault(other, set()).add(one)
    groups: list[list[int]] = []
    taken: set[int] = set()
    for place in sorted(near, key=lambda place: (-len(near[place]), place)):
        free = near[place] - taken
        if place not in taken and free:
            groups.append([place, *sorted(free)])
            taken |= {place, *free}
    return groups
