"""Which photos are the same, of one burst, or much alike: judged pair by pair, from numbers alone.

The same: of the same bytes; or by their perceptual hashes (`same_photo.py`) and, where one shows a
part of the other, by their embeddings and proportions as well. A camera that says that it took the
two in different seconds is believed: then they are a burst, however alike.

Cosines differ from model to model. What counts is the closeness: how far a cosine lies on the way
from that of any two photos of the library (0) to 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clipsearch.photos.perceptual_hash import SIDE
from clipsearch.searching import same_photo
from clipsearch.searching.same_photo import Floats, is_hash

if TYPE_CHECKING:
    from clipsearch.index.records import PhotoRecord

Places = NDArray[np.int64]  # of photos in Looks

# Fitted on edits of 150 photos of 16,177, and on what is most alike among those, which was looked
# at; benchmarks/copies.py measures them on others.
_WHOLE = 0.985
_PART, _PROPORTIONS = 0.985, 0.045  # the natural logarithm by which width to height may be off
LEAST_CLOSE = 0.55  # two that show a part of each other; with a border, the least was 0.57
# Two of one second, camera and size may be frames of a burst: then they must be as alike as a
# picture and its JPEG.
_FRAMES = 0.998
BURST_SECONDS = 3.0
_SAME_SCENE = 0.6  # closeness of photos that were taken within seconds
LOOK_ALIKE = 0.9  # closeness; others are not looked for

_AT_ONCE = 4096  # photos
_SAMPLE = 256  # photos that stand for the library
_HIGHEST_BASE = 0.6  # cosine: a library of nothing but copies has no others to compare with
_TO_THE_SECOND = len("2023-07-14T18:22:05")


@dataclass(frozen=True)
class Looks:
    """What tells which of n photos are alike."""

    ids: NDArray[np.int64]  # (n,)
    vectors: Floats  # (n, width), unit length
    pictures: NDArray[np.uint8]  # (n, SIDE, SIDE), by perceptual hash; noughts where is none
    has_picture: NDArray[np.bool_]  # (n,): False also for those of one colour
    was_read: NDArray[np.bool_]  # (n,): False where no hash was made yet
    sizes: NDArray[np.float64]  # (n, 2): width and height
    contents: NDArray[np.int64]  # (n,): the same number for the same bytes
    seconds: NDArray[np.float64]  # (n,): when it was taken; NaN where it does not say
    cameras: NDArray[np.int64]  # (n,): the same number for the same camera; -1 where none is said
    base: float  # cosine of any two photos

    @classmethod
    def of(cls, photos: Iterable[PhotoRecord], vectors: Floats, base: float) -> Looks:
        """Return what rows of the catalog and their embeddings (n, width) tell."""
        rows = [_row(photo) for photo in photos]
        ids, hashes, sizes, contents, seconds, cameras = zip(*rows, strict=True)
        usable = [text if is_hash(text) else "" for text in hashes]
        has_picture = np.array([bool(text) for text in usable], bool)
        pictures = np.zeros((len(rows), SIDE, SIDE), np.uint8)
        pictures[has_picture] = same_photo.levels([text for text in usable if text])
        return cls(
            ids=np.array(ids, np.int64),
            vectors=vectors,
            pictures=pictures,
            has_picture=has_picture,
            was_read=np.array([text is not None for text in hashes], bool),
            sizes=np.array(sizes, np.float64),
            contents=_numbered(contents),
            seconds=np.array(seconds, np.float64),
            cameras=_numbered(cameras),
            base=base,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def only(self, places: Places) -> Looks:
        """Return what is known of some of the photos."""
        columns = (column.name for column in fields(self) if column.name != "base")
        return replace(self, **{name: getattr(self, name)[places] for name in columns})

    def at(self, places: Places) -> Floats:
        """Return the pictures (m, SIDE, SIDE) of some photos."""
        return self.pictures[places].astype(np.float32)

    def near_in_time(self, ones: Places, others: Places) -> NDArray[np.bool_]:
        """Say of pairs (m,) whether one camera took them within seconds."""
        near: NDArray[np.bool_] = (
            (np.abs(self.seconds[ones] - self.seconds[others]) <= BURST_SECONDS)
            & (self.cameras[ones] == self.cameras[others])
            & (self.cameras[ones] >= 0)
        )
        return near

    def closeness(self, ones: Places, others: Places) -> Floats:
        """Return how close (m,) the embeddings of pairs are."""
        cosines = np.einsum("nw,nw->n", self.vectors[ones], self.vectors[others])
        return self.as_closeness(cosines)

    def as_closeness(self, cosines: Floats) -> Floats:
        """Return cosines as closeness."""
        return (cosines - np.float32(self.base)) / np.float32(1 - self.base)

    @cached_property
    def wholes(self) -> Floats:
        """Return the whole pictures (n, w) as `rough_parts` are compared with them."""
        some = np.array_split(np.arange(len(self)), len(self) // _AT_ONCE + 1)
        return np.concatenate([same_photo.rough_parts(self.at(few))[:, 0] for few in some])


def base_of(vectors: Floats) -> float:
    """Return the cosine of any two photos: the median, of a sample of unit vectors (n, width)."""
    sample = vectors[:: max(1, len(vectors) // _SAMPLE)][:_SAMPLE]
    if len(sample) < 2:
        return 0.0
    ones, others = np.triu_indices(len(sample), 1)
    cosines = np.sort((sample @ sample.T)[ones, others])
    # np.median would load masked arrays, which takes longer than all else here.
    median = (cosines[len(cosines) // 2] + cosines[~(len(cosines) // 2)]) / 2
    return min(float(median), _HIGHEST_BASE)


def same(looks: Looks, ones: Places, others: Places) -> NDArray[np.bool_]:
    """Say of pairs (m,) whether they are the same photo."""
    identical = looks.contents[ones] == looks.contents[others]
    same: NDArray[np.bool_] = identical.copy()
    judged = np.flatnonzero(~identical & looks.has_picture[ones] & looks.has_picture[others])
    ones, others = ones[judged], others[judged]
    alike = same_photo.likeness(looks.at(ones), looks.at(others))
    part = (
        (alike.part >= _PART)
        & (_off(looks.sizes[ones], looks.sizes[others], alike.shown) <= _PROPORTIONS)
        & (looks.closeness(ones, others) >= LEAST_CLOSE)
    )
    one_camera = (looks.cameras[ones] == looks.cameras[others]) & (looks.cameras[ones] >= 0)
    apart = np.abs(looks.seconds[ones] - looks.seconds[others])  # NaN is neither
    of_one_size = (looks.sizes[ones] == looks.sizes[others]).all(axis=1)
    frames = one_camera & (apart == 0) & of_one_size & (alike.whole < _FRAMES)
    same[judged] = ((alike.whole >= _WHOLE) | part) & ~(one_camera & (apart > 0)) & ~frames
    return same


def _off(
    ones: NDArray[np.float64], others: NDArray[np.float64], shown: Floats
) -> NDArray[np.float64]:
    """Return by how much the proportions differ (m,) of the seconds and what they show of firsts.

    As natural logarithms of width to height.
    """
    expected = np.log(ones[:, 0] * shown[:, 1]) - np.log(ones[:, 1] * shown[:, 0])
    off: NDArray[np.float64] = np.abs(expected - np.log(others[:, 0]) + np.log(others[:, 1]))
    return off


def of_one_burst(looks: Looks, ones: Places, others: Places) -> NDArray[np.bool_]:
    """Say of pairs (m,) whether one camera took them of one scene within seconds."""
    close = looks.closeness(ones, others) >= _SAME_SCENE
    return looks.near_in_time(ones, others) & close


_Row: TypeAlias = "tuple[int, str | None, tuple[int, int], str, float, str | None]"


def _row(photo: PhotoRecord) -> _Row:
    """Return what Looks hold of a photo: a row of the catalog is larger."""
    said = photo.metadata
    size, seconds = (said.width, said.height), _seconds(photo)
    return photo.id, said.perceptual_hash, size, photo.content_hash, seconds, said.camera


def _numbered(texts: Sequence[str | None]) -> NDArray[np.int64]:
    numbers: dict[str | None, int] = {None: -1}
    return np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)


def _seconds(photo: PhotoRecord) -> float:
    moment = photo.moment or ""
    if len(moment) < _TO_THE_SECOND:
        return np.nan
    return (datetime.fromisoformat(moment[:_TO_THE_SECOND]) - datetime(1970, 1, 1)).total_seconds()
