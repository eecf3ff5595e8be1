"""The pairs of photos that are worth a closer look, found among many without comparing all."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from clipsearch.searching import same_photo
from clipsearch.searching.alike import LEAST_CLOSE, LOOK_ALIKE, Looks, Places
from clipsearch.searching.same_photo import Floats

NEIGHBOURS = 32  # nearest photos that each is compared with
_TURNED_NEIGHBOURS = 8
_AT_ONCE = 2048  # photos
_COMPARED_WITH_ALL = 5_000  # photos; more are compared with those in the lists nearby
_LISTS_LOOKED_INTO = 32
_LEARNED_FROM = 20  # photos for each list
_PRODUCTS = 1 << 23  # of photos that are compared at once: what bounds memory


class Pairs(NamedTuple):
    """Pairs of places in Looks, the first the lower one, each once."""

    ones: Places  # (m,)
    others: Places  # (m,)

    @classmethod
    def of(cls, ones: Places, others: Places) -> Pairs:
        """Return each of some pairs once, without those of a photo with itself."""
        low, high = np.minimum(ones, others), np.maximum(ones, others)
        pairs = np.unique(np.stack([low, high], axis=1)[low < high], axis=0)
        return cls(pairs[:, 0], pairs[:, 1])

    @classmethod
    def joined(cls, *parts: Pairs) -> Pairs:
        """Return the pairs of several."""
        return cls.of(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def all_pairs(looks: Looks) -> Pairs:
    """Return the pairs of a few photos that may be the same: all are compared with all."""
    ones, others = (places.astype(np.int64) for places in np.triu_indices(len(looks), 1))
    identical = looks.contents[ones] == looks.contents[others]
    pictured = looks.has_picture[ones] & looks.has_picture[others]
    close = looks.as_closeness(looks.vectors @ looks.vectors.T)[ones, others] >= LEAST_CLOSE
    shapes = same_photo.turned_alike(looks.at(np.arange(len(looks))))
    turned = (shapes @ shapes.T)[ones, others] >= same_photo.TURNED
    near = np.flatnonzero(pictured & close & ~turned & ~identical)
    parts = same_photo.rough_parts(looks.at(np.arange(len(looks)))) if len(near) else None
    worth = identical | (pictured & turned)
    if parts is not None:
        fits = (parts.reshape(-1, parts.shape[-1]) @ parts[:, 0].T).reshape(*parts.shape[:2], -1)
        rough = fits.max(axis=1)
        worth[near] = np.maximum(rough, rough.T)[ones[near], others[near]] >= same_photo.ROUGHLY
    return Pairs(ones[worth], others[worth])


def by_content(looks: Looks) -> Pairs:
    """Return the photos of the same bytes, each with the first of them."""
    _, first, which = np.unique(looks.contents, return_index=True, return_inverse=True)
    return Pairs.of(first[which].astype(np.int64), np.arange(len(looks)))


def by_embedding(looks: Looks) -> tuple[Pairs, Pairs]:
    """Return the pairs of neighbours that may be a picture and its part, and the look-alikes."""
    parts: list[Pairs] = []
    alike: list[Pairs] = []
    for places, cosines, others in _nearest(looks.vectors, NEIGHBOURS):
        close = np.where(others >= 0, looks.as_closeness(cosines), -1)
        ones = np.broadcast_to(places[:, None], others.shape)
        likely = (close >= LEAST_CLOSE) & looks.has_picture[ones] & looks.has_picture[others]
        likely &= _rough(looks, places, others) >= same_photo.ROUGHLY
        parts.append(Pairs.of(ones[likely], others[likely]))
        much = close >= LOOK_ALIKE
        alike.append(Pairs.of(ones[much], others[much]))
    return Pairs.joined(*parts), Pairs.joined(*alike)


def _rough(looks: Looks, places: Places, others: Places) -> Floats:
    """Return the products (m, k) of photos' parts with the whole of their neighbours."""
    rough = np.empty(others.shape, np.float32)
    for start in range(0, len(places), 256):
        few = slice(start, start + 256)
        parts = same_photo.rough_parts(looks.at(places[few]))
        wholes = looks.wholes[others[few]]
        rough[few] = (parts @ wholes.transpose(0, 2, 1)).max(axis=1)
    return rough


def by_shape(looks: Looks) -> Pairs:
    """Return the pairs whose pictures are nearly the same when turned or mirrored."""
    with_picture = np.flatnonzero(looks.has_picture)
    if len(with_picture) < 2:
        return Pairs(*np.empty((2, 0), np.int64))
    chunks = [with_picture[chunk] for chunk in _chunks(len(with_picture))]
    shapes = np.concatenate([same_photo.turned_alike(looks.at(chunk)) for chunk in chunks])
    found = [Pairs(*np.empty((2, 0), np.int64))]
    for places, products, others in _nearest(shapes, _TURNED_NEIGHBOURS):
        row, column = np.nonzero((products >= same_photo.TURNED) & (others >= 0))
        found.append(Pairs.of(with_picture[places[row]], with_picture[others[row, column]]))
    return Pairs.joined(*found)


def _nearest(vectors: Floats, k: int) -> Iterator[tuple[Places, Floats, Places]]:
    """Yield places (m,) of unit vectors (n, width), and the k nearest of each beside itself.

    These as products and places, both (m, k or less); where there are no more, the place is -1.
    Of many, they are looked for in the lists nearby.
    """
    everyone = np.arange(len(vectors))
    if len(vectors) <= _COMPARED_WITH_ALL:
        groups: Iterable[tuple[Places, Places]] = ((few, everyone) for few in _chunks(len(vectors)))
    else:
        groups = _in_lists(vectors)
    for group, candidates in groups:
        others = vectors[candidates]
        most = min(k + 1, len(candidates))
        step = max(1, _PRODUCTS // len(candidates))
        for places in (group[start : start + step] for start in range(0, len(group), step)):
            products = vectors[places] @ others.T
            nearest = np.argpartition(-products, most - 1, axis=1)[:, :most]
            yield places, np.take_along_axis(products, nearest, axis=1), candidates[nearest]


def _in_lists(vectors: Floats) -> Iterator[tuple[Places, Places]]:
    """Yield the places of unit vectors (n, width), list by list, with those in the lists nearby.

    So that what is compared is compared in products of matrices: to look for each vector by itself
    takes ten times as long.
    """
    import faiss

    lists = round(4 * len(vectors) ** 0.5)
    clustering = faiss.Kmeans(
        *(vectors.shape[1], lists),
        niter=8,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=_LEARNED_FROM,
    )
    clustering.train(vectors)
    centers = np.asarray(clustering.centroids)
    parts = [(vectors[few] @ centers.T).argmax(axis=1) for few in _chunks(len(vectors))]
    own = np.concatenate(parts)
    in_order = np.argsort(own, kind="stable")
    bounds = np.searchsorted(own[in_order], np.arange(lists + 1))
    members = [in_order[start:end] for start, end in itertools.pairwise(bounds)]
    for places, near in zip(members, centers @ centers.T, strict=True):
        if len(places):
            nearby = np.argsort(-near, kind="stable")[:_LISTS_LOOKED_INTO]
            yield places, np.concatenate([members[one] for one in nearby])


def _chunks(count: int) -> Iterator[Places]:
    for start in range(0, count, _AT_ONCE):
        yield np.arange(start, min(start + _AT_ONCE, count))
