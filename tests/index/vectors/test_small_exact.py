"""A small library is searched without FAISS, and finds what FAISS finds."""

import faiss
import numpy as np
import pytest

from clipsearch.index.vectors import vector_index
from clipsearch.index.vectors.small_exact import SMALL, SmallIndex
from clipsearch.index.vectors.vector_files import _header
from clipsearch.index.vectors.vector_index import VectorIndex


def unit(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    vectors = rng.normal(size=(count, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def both(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> tuple[VectorIndex, VectorIndex]:
    """Return the same vectors as a small index and as FAISS's."""
    ids = np.stack([np.arange(len(vectors)) + 1, (np.arange(len(vectors)) * 7919) % 100_003], 1)
    small = VectorIndex.empty(vectors.shape[1])
    small.add(vectors, ids)
    assert isinstance(small._index, SmallIndex)
    with monkeypatch.context() as patch:
        patch.setattr(vector_index, "SMALL", 0)
        patch.setattr("clipsearch.index.vectors.vector_files.SMALL", 0)
        large = VectorIndex.empty(vectors.shape[1])
        large.add(vectors, ids)
    assert isinstance(large._index, faiss.IndexScalarQuantizer)
    return small, large


@pytest.mark.parametrize("width", [3, 8, 24, 512])
@pytest.mark.parametrize("count", [1, 2, 17, 1000])
def test_it_finds_what_faiss_finds_with_ties_removed_and_hidden_ones(width, count, monkeypatch):
    rng = np.random.default_rng(width * count)
    vectors = unit(rng, count, width)
    vectors[rng.integers(0, count, count // 3)] = vectors[0]  # many equal ones
    small, large = both(vectors, monkeypatch)
    queries = np.concatenate([unit(rng, 5, width), vectors[:2]]).astype(np.float32)
    for step in range(3):
        for k in (1, 3, count, count + 5):
            (scores, ids), (faiss_scores, faiss_ids) = (
                i.search(queries, k) for i in (small, large)
            )
            np.testing.assert_allclose(scores, faiss_scores, atol=2e-6)
            apart = np.where(ids >= 0, faiss_scores, -5 - np.arange(k))
            alone = np.abs(np.diff(apart, axis=1, prepend=9, append=-(10**6))) > 4e-6
            alone = alone[:, 1:] & alone[:, :-1]
            assert (ids[alone] == faiss_ids[alone]).all()
            tied = (scores[:, 1:] == scores[:, :-1]) & (ids[:, 1:] >= 0)
            assert (np.diff(ids, axis=1)[tied] > 0).all()
        which = np.arange(step, count, 3) + 1
        for index in (small, large):
            index.remove(which) if step == 0 else index.hide(which)


def test_equal_vectors_score_the_same_to_the_last_bit_and_come_by_id():
    rng = np.random.default_rng(1)
    vectors = np.repeat(unit(rng, 1, 257), 999, axis=0)
    index = VectorIndex.empty(257)
    index.add(vectors, np.stack([np.arange(999) + 1, rng.permutation(999)], 1))
    scores, ids = index.search(unit(rng, 3, 257).astype(np.float32), 20)
    assert (scores == scores[:, :1]).all()
    assert (ids == np.arange(20)).all()


def test_an_index_that_grows_is_taken_over_by_faiss():
    rng = np.random.default_rng(2)
    vectors = unit(rng, SMALL + 1, 4)
    ids = np.stack([np.arange(len(vectors)) + 1] * 2, 1)
    index = VectorIndex.empty(4)
    index.add(vectors[:SMALL], ids[:SMALL])
    assert isinstance(index._index, SmallIndex)
    index.add(vectors[SMALL:], ids[SMALL:])
    assert isinstance(index._index, faiss.IndexScalarQuantizer)
    assert (index.vectors(0, len(index)) == vectors).all()


@pytest.mark.parametrize("width", [1, 3, 256, 4096, 65536])
@pytest.mark.parametrize("count", [0, 1, 1000, 10_000_000])
def test_the_header_is_the_one_that_faiss_writes(width, count):
    index = faiss.IndexScalarQuantizer(
        width, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    written = bytearray(faiss.serialize_index(index).tobytes())
    written[8:16] = count.to_bytes(8, "little")
    written[-8:] = (2 * width * count).to_bytes(8, "little")
    assert _header(width, count) == bytes(written)
