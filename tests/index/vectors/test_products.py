"""Many queries at once find what each finds alone, to the last bit of each score."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsearch.index.selection import Selection
from clipsearch.index.vectors import products, vector_files, vector_index
from clipsearch.index.vectors.products import WORTH_A_PRODUCT, margins
from clipsearch.index.vectors.vector_files import write_file
from clipsearch.index.vectors.vector_index import VectorIndex

MANY = 3 * WORTH_A_PRODUCT


@pytest.fixture(autouse=True, params=["without FAISS", "with FAISS"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test as for a small library and as for a large one, in blocks of odd sizes."""
    if request.param == "with FAISS":
        monkeypatch.setattr(vector_files, "SMALL", -1)
        monkeypatch.setattr(vector_index, "SMALL", -1)
    monkeypatch.setattr(products, "_PRODUCTS_AT_ONCE", 1700)
    monkeypatch.setattr(products, "_ROWS_IN_CACHE", 13)
    monkeypatch.setattr(vector_index, "QUERIES_AT_ONCE", WORTH_A_PRODUCT + 3)


def unit(random: np.random.Generator, count: int, width: int) -> np.ndarray:
    vectors = random.normal(size=(count, width))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = (vectors / np.maximum(lengths, 1e-9)).astype(np.float32)
    return unit


def index_of(vectors: np.ndarray, photo_ids: np.ndarray) -> VectorIndex:
    index = VectorIndex.empty(vectors.shape[1])
    index.add(vectors.astype(np.float16), ids_for(photo_ids))
    return index


def ids_for(photo_ids: np.ndarray) -> np.ndarray:
    return np.stack([np.arange(len(photo_ids)) * 3 + 5, photo_ids], axis=1).astype(np.int64)


def assert_as_one_by_one(
    index: VectorIndex, queries: np.ndarray, k: int, selected: Selection | None = None
) -> None:
    scores, ids = index.search(queries, k, selected=selected)
    alone = [index.search(query[None], k, selected=selected) for query in queries]
    np.testing.assert_array_equal(ids, np.concatenate([found for _, found in alone]))
    np.testing.assert_array_equal(scores, np.concatenate([found for found, _ in alone]))


@given(st.data())
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_batch_finds_what_each_query_finds_alone(data: st.DataObject) -> None:
    """Whatever is equal, nearly equal, removed or left out, and however long queries are."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count, width = data.draw(st.integers(1, 1500)), data.draw(st.sampled_from([1, 3, 24, 65]))
    vectors = unit(random, count, width)
    same = random.random(count) < data.draw(st.sampled_from([0, 0.1, 0.5, 1]))
    vectors[same] = vectors[0]
    nearly = random.random(count) < data.draw(st.sampled_from([0, 0.2, 0.9]))
    vectors[nearly] = random.permuted(np.tile(vectors[0], (int(nearly.sum()), 1)), axis=1)
    photo_ids = random.permutation(count) + 1
    gone = random.random(count) < data.draw(st.sampled_from([0, 0, 0.1, 0.9]))
    index = index_of(vectors, photo_ids).without(ids_for(photo_ids)[gone, 0])
    queries = unit(random, MANY, width)
    queries[: MANY // 3] = np.abs(queries[0]).mean()  # scores permuted vectors nearly alike
    queries[MANY // 3 : MANY // 2] = vectors[0]
    queries[-1] = 0
    queries *= data.draw(st.sampled_from([1, 1e-20, 1e4, 1e30]))
    k = data.draw(st.sampled_from([1, 10, 60, count + 3]))
    some = random.permutation(photo_ids)[: data.draw(st.integers(0, count))]
    assert_as_one_by_one(index, queries, k)
    for selected in (Selection.only_these(some), Selection.all_but_these(some)):
        assert_as_one_by_one(index, queries, k, selected)


@pytest.mark.parametrize("selected", [None, Selection.only_these(range(0, 3000, 2))])
def test_what_scores_nearly_alike_comes_in_the_order_of_one_query_alone(
    selected: Selection | None,
) -> None:
    """Vectors of the same numbers in another order: what a product adds up otherwise."""
    random = np.random.default_rng(1)
    vectors = random.permuted(np.tile(unit(random, 1, 65), (3000, 1)), axis=1)
    queries = np.tile(unit(random, 1, 65).mean(), (MANY, 65)) * random.random((MANY, 1))
    index = index_of(vectors, random.permutation(3000))
    assert_as_one_by_one(index, queries.astype(np.float32), 10, selected)


@pytest.mark.parametrize("width", [1, 7, 64, 513])
@pytest.mark.parametrize("scale", [1e-30, 1, 1e20])
def test_a_product_differs_from_a_score_by_less_than_the_margin(width: int, scale: float) -> None:
    random = np.random.default_rng(width)
    vectors = unit(random, 500, width).astype(np.float16).astype(np.float32)
    queries = (random.normal(size=(20, width)) * scale).astype(np.float32)
    alone = np.stack([products.scores(vectors, query) for query in queries])
    differ = np.abs(queries @ vectors.T - alone).max(axis=1)
    assert (differ <= margins(queries, 1.0)).all()
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
    assert (margins(queries, 1.0) <= 1.3e-7 * (width + 9) * lengths + 1e-25).all()


@pytest.mark.parametrize("damage", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_hides_nothing_from_a_batch(tmp_path: Path, damage: float) -> None:
    random = np.random.default_rng(2)
    vectors = unit(random, 400, 24).astype(np.float16)
    vectors[random.integers(0, 400, 30), 3] = damage
    batches = [(vectors, ids_for(np.arange(400)))]
    stamp, _ = write_file(tmp_path / "a.faiss", 24, 400, batches)
    index = VectorIndex.open(tmp_path / "a.faiss", stamp, verify=True)
    for k in (1, 10, 380):
        assert_as_one_by_one(index, unit(random, MANY, 24), k)


def test_numbers_of_float16_are_those_of_float32() -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    bits = every[np.isfinite(every.view(np.float16))].reshape(-1, 64)
    room = np.empty(bits.shape, np.int32)
    numbers, longest = products._in_float32(bits.view(np.uint8), room, measure=True)
    np.testing.assert_array_equal(numbers, bits.view(np.float16).astype(np.float32))
    assert longest == pytest.approx(np.linalg.norm(numbers, axis=1).max(), rel=1e-6)


def test_few_results_are_held_at_once_however_many_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """All vectors are equal, so that each query is asked again and again for more."""
    monkeypatch.setattr(vector_index, "_RESULTS_AT_ONCE", 2000)
    held: list[int] = []
    fetch = VectorIndex._fetch

    def watched(*given: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = fetch(*given)  # type: ignore[arg-type]
        held.append(found[0].size)
        return found

    monkeypatch.setattr(VectorIndex, "_fetch", watched)
    random = np.random.default_rng(3)
    index = index_of(np.tile(unit(random, 1, 8), (900, 1)), np.arange(900)[::-1])
    queries = unit(random, 100, 8)
    assert (index.search(queries, 5)[1] == np.arange(5)).all()
    assert max(held) <= 2 * 2000
    assert_as_one_by_one(index, queries, 5)
