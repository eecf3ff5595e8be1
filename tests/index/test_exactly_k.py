"""Filters, then exactly k: the k nearest of what passes, as numpy finds them, however searched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from every_store import ONE, unit_vectors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_filters import FOLDERS, made_photo, trees
from memory_store import MemoryStore
from overlooking_gpu import move_to_stand_in
from plain_filters import passes

from clipsearch.index.changes import Gone
from clipsearch.index.filters import Filter
from clipsearch.index.interface import SearchableStore, WritableStore
from clipsearch.index.records import PhotoRecord
from clipsearch.index.store import Store
from clipsearch.index.vectors import model_vectors, segments, vector_files, vector_index
from clipsearch.index.vectors.vector_index import VectorIndex

QUERIES = unit_vectors(3, seed=1000)
WAYS = ("numpy", "FAISS", "segments", "GPU", "in memory")


@dataclass(frozen=True)
class Filled:
    """A store with what it holds."""

    store: SearchableStore
    photos: dict[int, PhotoRecord]
    vectors: dict[int, np.ndarray]


@pytest.fixture(scope="module", params=WAYS)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """Return a store of 230 photos that is searched in one of the ways; some of them tie."""
    with pytest.MonkeyPatch.context() as patch:
        prepare(patch, request.param)
        folder = tmp_path_factory.mktemp("k") / "library"
        kind = MemoryStore if request.param == "in memory" else None
        store: WritableStore = kind() if kind else Store.open(folder, create=True)
        with store.writing():
            store.add_model(ONE)
            for first in range(0, 250, 50):
                paths = [
                    f"{FOLDERS[n % 7].rstrip('/')}/{n} a.jpg" for n in range(first, first + 50)
                ]
                numbers = range(first, first + 50)
                photos = map(made_photo, (n // 3 for n in numbers), paths)
                store.apply(list(photos), 1)
                if request.param != "numpy":
                    store.refresh_vectors(1)
            store.apply([Gone(id_) for id_ in range(7, 250, 12)], 1)
        ids = store.photos_below(None).tolist()
        vectors = dict(zip(ids, store.vectors(1, ids), strict=True))
        yield Filled(store, store.photos(ids), vectors)
        store.close()


def prepare(patch: pytest.MonkeyPatch, way: str) -> None:
    """Let so few photos be searched as many are."""
    if way in ("FAISS", "segments", "GPU"):
        patch.setattr(vector_files, "SMALL", -1)
        patch.setattr(vector_index, "SMALL", -1)
        patch.setattr(segments, "NEWEST", 10 if way == "segments" else 0)
    if way == "GPU":
        patch.setattr(model_vectors, "GPU_VECTORS", 1)
        patch.setattr(model_vectors, "gpu_available", lambda: True)
        patch.setattr(VectorIndex, "move_to_gpu", move_to_stand_in)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    tree=trees(),
    k=st.sampled_from([1, 2, 10, 57, 229, 230, 1000]),
    exact=st.booleans(),
)
def test_what_is_found_is_what_numpy_finds_of_what_passes(
    filled: Filled, tree: Filter, k: int, exact: bool
) -> None:
    store = filled.store
    ids = np.array([id_ for id_, photo in filled.photos.items() if passes(tree, photo)], np.int64)
    with store.reading():
        selected = store.select(tree, [])
        scores, found = store.search(1, QUERIES, k, selected=selected, exact=exact)
    for query, row_scores, row in zip(QUERIES, scores, found, strict=True):
        cosines = np.array([filled.vectors[id_].astype(np.float64) @ query for id_ in ids])
        best = np.lexsort((ids, -cosines.round(9)))[:k]
        assert row[: len(best)].tolist() == ids[best].tolist()
        np.testing.assert_allclose(row_scores[: len(best)], cosines[best], atol=2e-6)
        assert (row[len(best) :] == -1).all()
        assert np.isneginf(row_scores[len(best) :]).all()
