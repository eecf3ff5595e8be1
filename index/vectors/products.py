"""Many queries at once: which rows may be among the best, found by matrix products.

A product takes a fraction of the time of as many single scans, but adds up in another order than
the kernel that scores a query alone, and so differs from it in the last bits. Therefore it only
names candidates: all rows whose product comes so near to the best that the difference could matter.
Their scores, and so what is found and in which order, come from the kernel of a single query.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORTH_A_PRODUCT = 8  # queries: of 1,000,000 x 512, they take as long as 8 scans by FAISS
QUERIES_AT_ONCE = 1 << 10
_NUMBERS_AT_ONCE = 1 << 23  # of vectors, in float32: 32 MB
_PRODUCTS_AT_ONCE = 1 << 22  # 16 MB
_ROWS_IN_CACHE = 256  # 0.5 MB of 512 dimensions in float32
_FEW = 64  # queries: of so few, BLAS multiplies a block by them sooner than them by a block
_SERIAL = 100_000  # products that FAISS's heaps take in on one core

_ROUNDING = 2.0**-24  # of a float32, relative
_LARGEST = 1e29  # length of a query: times the longest float16 vector it is far from overflowing
_NO_NUMBER = 65_504.0  # the largest float16; a vector as long is no unit vector
_ENDLESS = 1e30
_GROUP = 16  # rows of which only the best is looked at first
_SIGN_AND_DIGITS = np.uint32(0x8FFFE000).view(np.int32)
_TO_SCALE = np.float32(2.0**112)


def worth_a_product(queries: NDArray[np.float32]) -> bool:
    """Tell whether queries (n, width) are so many, and of lengths that can't overflow."""
    return len(queries) >= WORTH_A_PRODUCT and bool((_lengths(queries) < _LARGEST).all())


def margins(queries: NDArray[np.float32], longest: float) -> NDArray[np.float32]:
    """Return by how much two ways to score a vector of at most that length may differ, (n,).

    Adding up n products of float32 in any order, fused or not, is wrong by at most
    gamma(n) |q| |v|, with gamma(n) = n u / (1 - n u) and u = 2**-24 (Higham, Accuracy and Stability
    of Numerical Algorithms, 3.1); two ways differ by twice that. The 8 are for the roundings of the
    lengths, and where margins are added to scores; the rest is for products below float32's range.
    """
    width = queries.shape[1]
    gamma = (width + 8) * _ROUNDING / (1 - (width + 8) * _ROUNDING)
    differ: NDArray[np.float64] = 2 * gamma * _lengths(queries) * longest + width * 2.0**-100
    return differ.astype(np.float32)


def scores(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores (n,) of vectors (n, width); -inf for what is no number.

    Row by row, and not by a matrix product: a vector scores the same alone and among others.
    """
    found = np.einsum("ij,j->i", vectors, query)
    return np.where(np.isfinite(found), found, -np.inf).astype(np.float32)


def near_best(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int64],
    queries: NDArray[np.float32],
    count: int,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield for each query those of the rows of vectors that hold its best, and their `scores`.

    The `count` best are among them, and all that score as much as the last of these.
    """
    worth_it = worth_a_product(queries) and count * _GROUP < len(rows)
    most = _longest(vectors) if worth_it else np.inf
    if not most < np.inf:  # what is no number is in no product
        for query in queries:
            found = scores(vectors, query)
            yield rows, found if len(found) == len(rows) else found[rows]
        return
    vectors = vectors if len(vectors) == len(rows) else vectors[rows]
    at_once = max(1, _PRODUCTS_AT_ONCE // len(rows))
    for start in range(0, len(queries), at_once):
        some = queries[start : start + at_once]
        products = some @ vectors.T
        least = _reached(products, count) - 2 * margins(some, most)
        for query, row, enough in zip(some, products, least, strict=True):
            near = np.flatnonzero(row >= enough)
            yield rows[near], scores(vectors[near], query)


def _reached(products: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return for each row (n,) what at least `count` of its numbers reach, and few more do."""
    groups = products.shape[1] // _GROUP
    best = products[:, : groups * _GROUP].reshape(len(products), _GROUP, groups).max(axis=1)
    reached: NDArray[np.float32] = np.partition(best, groups - count, axis=1)[:, groups - count]
    return reached


def candidates(
    blocks: Callable[[int], Iterator[NDArray[np.uint8]]],
    queries: NDArray[np.float32],
    count: int,
    longest: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64], float]:
    """Return the largest products (n, count), best first, their rows, and the longest's length.

    `blocks(size)` yields all vectors in turn, up to so many at a time: float16 as bytes (m, bytes).
    No other row has a product larger than the last that is returned. How long the longest vector is
    at most (for `margins`) is measured unless it is given. FAISS is needed: its heaps keep the
    largest.
    """
    import faiss

    asked, width = queries.shape
    size = max(1, min(_NUMBERS_AT_ONCE // width, _PRODUCTS_AT_ONCE // asked))
    room, products = np.empty((size, width), np.int32), np.empty(asked * size, np.float32)
    library: Any = faiss  # its types know nothing of these
    heap = library.ResultHeap(asked, count, keep_max=True)
    at, measured = 0, 0.0
    for block in blocks(size):
        vectors, longest_here = _in_float32(block, room[: len(block)], measure=longest is None)
        measured = max(measured, longest_here)
        found = products[: asked * len(block)].reshape(asked, len(block))
        if asked < _FEW:
            np.copyto(found, (vectors @ queries.T).T)
        else:
            np.matmul(queries, vectors.T, out=found)
        # A few at a time, which FAISS does on one core: to start more takes longer than they save.
        some = max(1, _SERIAL // len(block))
        for start in range(0, asked, some):
            part = found[start : start + some]
            heap.heaps.addn(len(block), faiss.swig_ptr(part), at, start, len(part))
        at += len(block)
    heap.finalize()
    if longest is None:  # what is no number may have taken any place: then nothing is certain
        longest = measured if measured < _NO_NUMBER else _ENDLESS
    return heap.D, heap.I, longest


def _in_float32(
    block: NDArray[np.uint8], room: NDArray[np.int32], *, measure: bool
) -> tuple[NDArray[np.float32], float]:
    """Return vectors of float16 in float32, in the room given, and the length of the longest.

    That is 0 unless it is to be measured. It takes half as long as numpy's own conversion. Sign,
    exponent and digits are put where a float32 has them; its exponents begin 112 lower. What is no
    number, as a damaged file may hold, becomes a large one.
    """
    numbers, longest = room.view(np.float32), 0.0
    for start in range(0, len(block), _ROWS_IN_CACHE):
        part = slice(start, start + _ROWS_IN_CACHE)
        bits, some = room[part], numbers[part]
        np.copyto(bits, block[part].view(np.int16))
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, _SIGN_AND_DIGITS, out=bits)
        np.multiply(some, _TO_SCALE, out=some)
        longest = max(longest, _longest(some)) if measure else 0.0
    return numbers, longest


def _longest(vectors: NDArray[np.float32]) -> float:
    """Return the length of the longest of vectors that were float16."""
    return math.sqrt(np.einsum("ij,ij->i", vectors, vectors).max())


def _lengths(queries: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the lengths of vectors (n,), however large or small their numbers."""
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", queries, queries, dtype=np.float64)
    return np.sqrt(squares)
