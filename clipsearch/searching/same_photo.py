"""Whether two photos are the same picture, by their perceptual hashes.

Two numbers tell it, both at most 1. `whole` compares the pictures as they are, in the one of the
eight ways to turn and mirror one of them that fits best. `part` compares one picture with a part of
the other, at whatever place fits best: one of them is a crop of the other, or has a border.

What is compared are the waves of middle length that a picture consists of (its DCT, each weighed by
its frequency, so that a bright sky over dark land, which thousands of photos have, counts little),
as the cosine of the angle between them. More light, or less contrast, may have moved every level of
grey but has kept their order: the levels of one picture are tried in the order of the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from clipsearch.photos.perceptual_hash import LETTERS, SIDE

Floats = NDArray[np.float32]

_RING = 1  # pixels at the edge that are not compared: a border may shine through
_INSIDE = SIDE - 2 * _RING
_HIGHEST = 8  # frequency that is compared, in half waves to the side
_STEP, _MOST = 0.0125, 0.1  # of a side: steps in which the place of a crop is found; cut at an end
_MOST_OF_A_SIDE = 0.13  # that is cut off, at both ends together
_FRAME = 4  # levels by which the corners of a border differ: some of the picture shines through
_ROUNDS = 2  # the place along one side, then along the other; and again
_AT_ONCE = 1024  # pairs, so that memory is bounded

# Where a part may lie that is looked for roughly, as the places of its ends along a side.
_ROUGH_CUTS = ((0.0, 0.0), (0.05, 0.05), (0.0, 0.1), (0.1, 0.0), (0.025, 0.025))
_ROUGH_HIGHEST = 4
# From these products on, of `rough_parts` and of `turned_alike`, a pair is worth a closer look.
ROUGHLY, TURNED = 0.95, 0.97


class Likeness(NamedTuple):
    """How alike the pictures of each pair are."""

    whole: Floats  # (n,) as they are, turned or mirrored as fits best
    turn: NDArray[np.int64]  # (n,) which of `turned` that is of the first one; 0: upright as it is
    part: Floats  # (n,) of one with a part of the other, both upright as they are
    # (n, 2): how much of the height and of the width of the first the second shows; above 1 where
    # the first is a part of the second.
    shown: Floats


def levels(hashes: Sequence[str]) -> Floats:
    """Return the pictures (n, SIDE, SIDE) that are left in hashes, none of which is empty."""
    table = np.zeros(128, np.float32)
    table[list(LETTERS.encode())] = np.arange(len(LETTERS))
    letters = np.frombuffer("".join(hashes).encode("ascii"), np.uint8)
    return table[letters].reshape(len(hashes), SIDE, SIDE)


def is_hash(text: str | None) -> TypeGuard[str]:
    """Say whether a text is a hash that can be compared: not empty, and of the right letters."""
    return text is not None and len(text) == SIDE * SIDE and not text.strip(LETTERS)


def is_framed(text: str | None) -> bool:
    """Say of a hash whether its picture is of one colour in all corners, as with a border."""
    if not is_hash(text):
        return False
    corners = levels([text])[0, [0, 0, -1, -1], [0, -1, 0, -1]]
    return bool(np.ptp(corners) <= _FRAME)


def turned(pictures: Floats) -> Iterator[Floats]:
    """Yield pictures (n, SIDE, SIDE) in the eight ways to turn and mirror them, as they are first.

    The odd ones are mirrored; those of which half the place is odd lie on their sides.
    """
    for quarters in range(4):
        turn = np.rot90(pictures, quarters, axes=(1, 2))
        yield turn
        yield turn[:, :, ::-1]


def lies_on_its_side(turn: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say of the places in `turned` whether width and height have changed places there."""
    on_its_side: NDArray[np.bool_] = turn // 2 % 2 == 1
    return on_its_side


def likeness(ones: Floats, others: Floats) -> Likeness:
    """Compare pictures (n, SIDE, SIDE) pair by pair."""
    parts = [
        _likeness(ones[start : start + _AT_ONCE], others[start : start + _AT_ONCE])
        for start in range(0, len(ones), _AT_ONCE)
    ]
    if not parts:
        empty = np.empty(0, np.float32)
        return Likeness(empty, np.empty(0, np.int64), empty, np.empty((0, 2), np.float32))
    return Likeness(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _likeness(ones: Floats, others: Floats) -> Likeness:
    whole, turn = _whole(ones, others)
    first, its_shown = _part(ones, others)
    second, other_shown = _part(others, ones)
    of_first = (first >= second)[:, None]
    return Likeness(
        whole, turn, np.maximum(first, second), np.where(of_first, its_shown, 1 / other_shown)
    )


def _whole(ones: Floats, others: Floats) -> tuple[Floats, NDArray[np.int64]]:
    plain = _plain(others)
    turn = np.stack([_cosine(_plain(one), plain) for one in turned(ones)]).argmax(axis=0)
    fitting = np.empty_like(ones)
    for place, one in enumerate(turned(ones)):
        fitting[turn == place] = one[turn == place]
    return _in_any_light(fitting, others), turn


def _part(ones: Floats, others: Floats) -> tuple[Floats, Floats]:
    """Compare the second pictures with the parts of the first that fit best; and their sizes."""
    windows, shares = _windows()
    waves, weights = _waves(_HIGHEST)
    inside = waves @ windows[:, _RING:-_RING]  # (windows, waves, SIDE)
    stacked = inside.reshape(-1, SIDE)  # for one product in place of many
    wanted = _spectrum(others)
    columns = np.zeros(len(ones), np.int64)
    for _ in range(_ROUNDS):
        half = ones @ inside[columns].transpose(0, 2, 1)
        spectra = (stacked @ half).reshape(len(ones), len(windows), len(waves), len(waves))
        rows = _fits(spectra * weights, wanted).argmax(axis=1)
        half = inside[rows] @ ones
        spectra = (half @ stacked.T).reshape(len(ones), len(waves), len(windows), len(waves))
        fits = _fits(spectra.transpose(0, 2, 1, 3) * weights, wanted)
        columns = fits.argmax(axis=1)
    parts: Floats = windows[rows] @ ones @ windows[columns].transpose(0, 2, 1)
    best = np.maximum(fits.max(axis=1), _in_any_light(parts, others))
    return best, np.stack([shares[rows], shares[columns]], axis=1)


def _fits(spectra: Floats, wanted: Floats) -> Floats:
    """Return the cosines (n, windows) of spectra (n, windows, waves, waves) to the one wanted."""
    product = np.einsum("nwij,nij->nw", spectra, wanted)
    lengths = np.einsum("nwij,nwij->nw", spectra, spectra)
    lengths *= np.einsum("nij,nij->n", wanted, wanted)[:, None]
    cosines: Floats = product / np.sqrt(np.maximum(lengths, 1e-12))
    return cosines


def _in_any_light(ones: Floats, others: Floats) -> Floats:
    """Compare as they are, and each with the levels of the other in its own order."""
    one, other = _spectrum(ones), _spectrum(others)
    as_they_are = _cosine(one, other)
    lit = np.maximum(
        _cosine(_spectrum(_lit_as(ones, others)), other),
        _cosine(one, _spectrum(_lit_as(others, ones))),
    )
    return np.maximum(as_they_are, lit)


def _lit_as(ones: Floats, others: Floats) -> Floats:
    """Return the first pictures with the levels of the second, in the order of their own."""
    order = ones.reshape(len(ones), -1).argsort(axis=1, kind="stable")
    lit = np.empty((len(ones), SIDE * SIDE), np.float32)
    np.put_along_axis(lit, order, np.sort(others.reshape(len(others), -1), axis=1), axis=1)
    return lit.reshape(ones.shape)


def _spectrum(pictures: Floats) -> Floats:
    waves, weights = _waves(_HIGHEST)
    inside = pictures[:, _RING:-_RING, _RING:-_RING]
    return np.asarray(waves @ inside @ waves.T, np.float32) * weights


def _plain(pictures: Floats) -> Floats:
    plain: Floats = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    return plain


def _cosine(ones: Floats, others: Floats) -> Floats:
    """Return the cosines (n,) of the angles between what is (n, rows, columns)."""
    product = np.einsum("nij,nij->n", ones, others)
    lengths = np.einsum("nij,nij->n", ones, ones) * np.einsum("nij,nij->n", others, others)
    cosine: Floats = product / np.sqrt(np.maximum(lengths, 1e-12))
    return cosine


@cache
def _waves(highest: int) -> tuple[Floats, Floats]:
    """Return the waves of the DCT (waves, _INSIDE), and the weight of each pair of them."""
    frequency = np.arange(highest + 1)
    place = (np.arange(_INSIDE) + 0.5) / _INSIDE
    waves = np.cos(np.pi * frequency[:, None] * place) * np.sqrt(2 / _INSIDE)
    together = np.hypot(frequency[:, None], frequency)
    weights = np.where(together <= highest, together, 0)
    return waves.astype(np.float32), weights.astype(np.float32)


@cache
def _windows() -> tuple[Floats, Floats]:
    """Return what scales parts of a side to the whole (n, SIDE, SIDE), and their shares of it."""
    cuts = np.arange(round(_MOST / _STEP) + 1) * _STEP
    ends = [(low, high) for low in cuts for high in cuts if low + high <= _MOST_OF_A_SIDE]
    shares = np.array([1 - low - high for low, high in ends], np.float32)
    return np.stack([_window(low, 1 - high) for low, high in ends]), shares


def _window(low: float, high: float) -> Floats:
    """Return the matrix (SIDE, SIDE) that scales [low, high] of a side to the whole, by area."""
    edges = (low + (high - low) * np.linspace(0, 1, SIDE + 1)) * SIDE
    pixels = np.arange(SIDE)
    shared = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shared = np.clip(shared, 0, None)
    window: Floats = (shared / shared.sum(axis=1, keepdims=True)).astype(np.float32)
    return window


# What finds the pairs that are worth it, among many


def turned_alike(pictures: Floats) -> Floats:
    """Return for pictures (n, SIDE, SIDE) unit vectors (n, 72) that no turn or mirror changes.

    Mirroring a picture changes the signs of its DCT, turning it the places of rows and columns.
    """
    waves, weights = _waves(_HIGHEST - 1)
    inside = pictures[:, _RING:-_RING, _RING:-_RING]
    spectrum = np.abs((waves @ inside @ waves.T) * weights)
    rows, columns = np.triu_indices(_HIGHEST)
    one, other = spectrum[:, rows, columns], spectrum[:, columns, rows]
    return _unit(np.concatenate([one + other, np.abs(one - other)], axis=1))


def rough_parts(pictures: Floats) -> Floats:
    """Return unit vectors (n, places, w) of parts of pictures, the first that of the whole.

    The product of one with the whole of another picture is ROUGHLY or more where that is the part.
    """
    weights = _waves(_ROUGH_HIGHEST)[1]
    stacked = _rough_windows()
    cuts, waves = len(_ROUGH_CUTS), len(weights)
    spectra = (stacked @ pictures @ stacked.T).reshape(len(pictures), cuts, waves, cuts, waves)
    weighed = np.asarray(spectra.transpose(0, 1, 3, 2, 4) * weights, np.float32)
    return _unit(weighed.reshape(len(pictures), cuts**2, waves**2))


@cache
def _rough_windows() -> Floats:
    """Return the waves of the parts that are looked for roughly (places of a side, SIDE)."""
    waves = _waves(_ROUGH_HIGHEST)[0]
    cut = [waves @ _window(low, 1 - high)[_RING:-_RING] for low, high in _ROUGH_CUTS]
    return np.concatenate(cut)


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
    return unit
