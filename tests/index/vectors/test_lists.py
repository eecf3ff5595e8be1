"""Lists find nearly all neighbours, say how many, and are believed no further than is safe."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sqlite_utils import Database as SqliteUtils

from clipsearch.index.changes import Embedded, Gone
from clipsearch.index.records import FileState, ModelIdentity, PhotoMetadata
from clipsearch.index.selection import Selection
from clipsearch.index.store import Store
from clipsearch.index.vectors import list_building, lists, segments, vector_index
from clipsearch.index.vectors.list_building import TARGET, lists_for
from clipsearch.index.vectors.lists import Model, candidates_for
from clipsearch.index.vectors.vector_files import (
    EXACT,
    FileStamp,
    UnusableFile,
    checksum,
    write_file,
)
from clipsearch.index.vectors.vector_index import VectorIndex

WIDTH = 32
COUNT = 5000
LISTS = 128
IVF = "IVF {}, 2 bits a dimension, re-ranked from float16"


@cache
def clustered(count: int, seed: int = 0) -> np.ndarray:
    """Unit vectors around 200 centres, which are the same for every seed.

    They differ more in some directions than in others, as real ones do.
    """
    spread = 2.0 / (1 + np.arange(WIDTH)) ** 0.5
    centres = np.random.default_rng(77).normal(size=(200, WIDTH)) * spread
    random = np.random.default_rng(seed)
    own = 0.2 * random.normal(size=(count, WIDTH)) * spread
    vectors = centres[random.integers(0, 200, count)] + own
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16)


QUERIES = clustered(60, seed=5).astype(np.float32)
IDS = np.stack([np.arange(COUNT) * 2 + 1, np.arange(COUNT) + 10], axis=1)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FileStamp, float]:
    path = tmp_path_factory.mktemp("lists") / "a.faiss"
    stamp, recall = write_file(path, WIDTH, COUNT, [(clustered(COUNT), IDS)], lists=True)
    assert recall is not None
    return path, stamp, recall


def recall_of(found: np.ndarray, best: np.ndarray) -> float:
    return float(np.mean([np.isin(one, two).mean() for one, two in zip(best, found, strict=True)]))


def test_what_was_measured_holds_for_other_queries(written: tuple[Path, FileStamp, float]) -> None:
    path, stamp, recall = written
    assert TARGET <= recall <= 1
    assert (stamp.lists, stamp.kind) == (LISTS, IVF.format(LISTS))
    assert 1 <= stamp.probes <= LISTS // 2
    index = VectorIndex.open(path, stamp, verify=True)
    exact_scores, exact = index.search(QUERIES, 10)
    scores, found = index.search(QUERIES, 10, exact=False)
    assert recall_of(found, exact) >= TARGET - 0.01
    assert not np.array_equal(found, exact) or recall_of(found, exact) == 1
    all_scores = QUERIES @ clustered(COUNT).astype(np.float32).T
    np.testing.assert_allclose(scores, np.take_along_axis(all_scores, found - 10, 1), atol=2e-6)
    np.testing.assert_allclose(exact_scores[:, 0], scores[:, 0], atol=2e-6)
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_one_query_finds_what_many_find(
    written: tuple[Path, FileStamp, float], cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = VectorIndex.open(*written[:2], verify=False)
    many = index.search(QUERIES, 10, exact=False)[1]
    monkeypatch.setattr(lists, "faiss_threads", lambda: cores)
    monkeypatch.setattr(lists, "_WORTH_A_CORE", 1)
    for query, found in zip(QUERIES, many, strict=True):
        np.testing.assert_array_equal(index.search(query[None], 10, exact=False)[1][0], found)
    assert index.search(QUERIES[:0], 10, exact=False)[1].shape == (0, 10)
    assert index.search(QUERIES, 0, exact=False)[1].shape == (60, 0)


@pytest.mark.parametrize("k", [40, 200, COUNT + 5])
def test_where_lists_are_no_gain_all_is_searched(
    written: tuple[Path, FileStamp, float], k: int
) -> None:
    index = VectorIndex.open(*written[:2], verify=False)
    assert candidates_for(k) * 5 > COUNT
    np.testing.assert_array_equal(
        index.search(QUERIES, k, exact=False)[1], index.search(QUERIES, k)[1]
    )


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.99, 0.999, 1.0])
@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize("how", ["select", "remove"])
def test_what_is_left_out_makes_place_for_the_next_best(
    written: tuple[Path, FileStamp, float],
    share: float,
    near: bool,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether it lies all about, or just where the query looks."""
    index = VectorIndex.open(*written[:2], verify=False)
    query = QUERIES[:1]
    order = np.argsort(-(query @ clustered(COUNT).astype(np.float32).T)[0])
    if not near:
        order = np.random.default_rng(3).permutation(COUNT)
    out = order[: round(share * COUNT)]
    monkeypatch.setattr(vector_index, "EXACT_WITHIN", 0)  # lists, however few are left
    monkeypatch.setattr(vector_index, "_WORTH_SCANNING", COUNT)
    selected = Selection.all_but_these(IDS[out, 1]) if how == "select" else None
    index = index.without(IDS[out, 0]) if how == "remove" else index
    scores, found = index.search(query, 10, selected=selected, exact=False)
    left = min(10, COUNT - len(out))
    assert (found[0, :left] >= 10).all()
    assert (found[0, left:] == -1).all()
    assert not np.isin(found[0, :left], IDS[out, 1]).any()
    exact = index.search(query, 10, selected=selected)[1]
    assert recall_of(found[:, :left], exact[:, :left]) >= 0.9 if left else True
    assert np.isneginf(scores[0, left:]).all()


@pytest.mark.parametrize("share", [0.002, 0.1, 0.6, 0.99])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_where_few_enough_pass_all_of_them_are_looked_at(
    written: tuple[Path, FileStamp, float], share: float, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large a part of the index they are."""
    monkeypatch.setattr(VectorIndex, "_search_lists", lambda *_: pytest.fail("lists were asked"))
    index = VectorIndex.open(*written[:2], verify=False)
    passing = np.random.default_rng(4).permutation(COUNT)[: round(share * COUNT)]
    scores, found = index.search(
        QUERIES, k, selected=Selection.only_these(IDS[passing, 1]), exact=False
    )
    cosines = QUERIES @ clustered(COUNT).astype(np.float32)[passing].T
    for query, row in zip(cosines, found, strict=True):
        best = np.lexsort((IDS[passing, 1], -query))[:k]
        assert row[: len(best)].tolist() == IDS[passing[best], 1].tolist()
        assert (row[len(best) :] == -1).all()
    assert (np.isneginf(scores) == (found == -1)).all()


@pytest.mark.parametrize("wrapped", [False, True])
def test_threads_search_the_same_lists_at_once(
    written: tuple[Path, FileStamp, float], wrapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each within a selection of its own, so that they look into more and fewer of the lists."""
    if wrapped:
        monkeypatch.setattr(lists, "_what_is_wrapped", lambda index: None)
    monkeypatch.setattr(vector_index, "EXACT_WITHIN", 0)
    monkeypatch.setattr(vector_index, "_WORTH_SCANNING", COUNT)
    selections = [None, *(Selection.only_these(IDS[n :: n + 1, 1]) for n in range(1, 6))]
    alone = VectorIndex.open(*written[:2], verify=False)
    expected = [alone.search(QUERIES, 10, selected=s, exact=False)[1] for s in selections]
    for _ in range(3):
        shared = VectorIndex.open(*written[:2], verify=False)  # none of its lists is read yet

        def search(number: int, shared: VectorIndex = shared) -> None:
            selected = selections[number % 6]
            for first in range(0, len(QUERIES), 5):
                queries = QUERIES[first : first + 5]
                found = shared.search(queries, 10, selected=selected, exact=False)[1]
                np.testing.assert_array_equal(found, expected[number % 6][first : first + 5])

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(search, range(24)))


def test_vectors_that_lists_can_not_tell_apart_are_searched_exactly(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(3000, 64)).astype(np.float16)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    path = tmp_path / "a.faiss"
    ids = IDS[:3000]
    stamp, recall = write_file(path, 64, 3000, [(vectors, ids)], lists=True)
    assert recall is not None
    assert recall < TARGET
    assert (stamp.lists, stamp.probes, stamp.kind) == (0, 0, EXACT)
    assert len(VectorIndex.open(path, stamp, verify=True)) == 3000


def test_many_copies_of_one_vector_cost_nothing_but_their_order(tmp_path: Path) -> None:
    vectors = clustered(COUNT).copy()
    vectors[1000:4000] = vectors[0]
    path = tmp_path / "a.faiss"
    stamp, _ = write_file(path, WIDTH, COUNT, [(vectors, IDS)], lists=True)
    index = VectorIndex.open(path, stamp, verify=True)
    scores, found = index.search(vectors[:1].astype(np.float32), 10, exact=False)
    assert len(set(found[0].tolist())) == 10
    assert len(set(scores[0].tolist())) == 1


@pytest.mark.parametrize(("vectors", "lists"), [(20_000, 256), (10**6, 2048), (10**7, 4096)])
def test_there_are_about_as_many_lists_as_vectors_in_each(vectors: int, lists: int) -> None:
    assert lists_for(vectors) == lists


# The file: the numbers that were learnt, the lists' lengths, row numbers, codes


def lists_start(stamp: FileStamp) -> int:
    return 81 + stamp.vectors * (2 * WIDTH + 16)


def sizes_start(stamp: FileStamp) -> int:
    learnt = sum(math.prod(shape) for shape in Model.shapes(WIDTH, stamp.lists))
    return lists_start(stamp) + 4 * learnt


def sizes_of(data: bytes | bytearray, stamp: FileStamp) -> np.ndarray:
    return np.frombuffer(bytes(data), "<i8", stamp.lists, sizes_start(stamp))


def renewed(path: Path, stamp: FileStamp, data: bytes | bytearray) -> FileStamp:
    path.write_bytes(data)
    return replace(stamp, checksum=checksum(path), bytes=len(data))


def test_each_vector_stands_in_the_list_of_its_nearest_centroid(
    written: tuple[Path, FileStamp, float],
) -> None:
    path, stamp, _ = written
    data = path.read_bytes()
    centroids = np.frombuffer(data, "<f4", stamp.lists * WIDTH, lists_start(stamp))
    sizes = sizes_of(data, stamp)
    rows = np.frombuffer(data, "<i4", COUNT, sizes_start(stamp) + 8 * stamp.lists)
    vectors = clustered(COUNT).astype(np.float32)
    distances = np.square(vectors[:, None] - centroids.reshape(1, -1, WIDTH)).sum(axis=2)
    assert sorted(rows.tolist()) == list(range(COUNT))
    nearest = np.repeat(np.arange(stamp.lists), sizes)
    np.testing.assert_allclose(distances[rows, nearest], distances[rows].min(axis=1), atol=1e-5)


@pytest.mark.parametrize("wrong", [-1, 2**63 - 1, -(2**63), COUNT + 1, 0])
def test_no_lists_of_other_lengths_are_searched(
    written: tuple[Path, FileStamp, float], tmp_path: Path, wrong: int
) -> None:
    source, stamp, _ = written
    data = bytearray(source.read_bytes())
    sizes = sizes_of(data, stamp)
    assert sizes.sum() == COUNT
    for number in (0, stamp.lists - 1):
        changed = sizes.copy()
        changed[number] = wrong
        data[sizes_start(stamp) : sizes_start(stamp) + changed.nbytes] = changed.tobytes()
        with pytest.raises(UnusableFile, match="holds something else"):
            VectorIndex.open(tmp_path / "a", renewed(tmp_path / "a", stamp, data), verify=False)


def test_lengths_that_the_codes_do_not_have_are_not_believed(
    written: tuple[Path, FileStamp, float], tmp_path: Path
) -> None:
    """As many vectors in all, but in other lists: more or fewer blocks of codes."""
    source, stamp, _ = written
    data = bytearray(source.read_bytes())
    changed = np.zeros(stamp.lists, "<i8")
    changed[5] = COUNT
    data[sizes_start(stamp) : sizes_start(stamp) + changed.nbytes] = changed.tobytes()
    with pytest.raises(UnusableFile, match="holds something else"):
        VectorIndex.open(tmp_path / "a", renewed(tmp_path / "a", stamp, data), verify=False)
    for wrong in (source.read_bytes()[:-1], source.read_bytes() + b"0"):
        with pytest.raises(UnusableFile, match="holds something else"):
            VectorIndex.open(tmp_path / "a", renewed(tmp_path / "a", stamp, wrong), verify=False)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e30])
def test_no_numbers_that_can_not_be_learnt_are_searched_with(
    written: tuple[Path, FileStamp, float], tmp_path: Path, number: float
) -> None:
    source, stamp, _ = written
    good, at = source.read_bytes(), lists_start(stamp)
    for shape in Model.shapes(WIDTH, stamp.lists):
        size = 4 * math.prod(shape)
        for place in (at, at + size - 4):
            data = bytearray(good)
            data[place : place + 4] = np.array([number], "<f4").tobytes()
            with pytest.raises(UnusableFile, match="holds something else"):
                VectorIndex.open(tmp_path / "a", renewed(tmp_path / "a", stamp, data), verify=False)
        at += size


@pytest.mark.parametrize(
    "wrong",
    [
        *({"lists": number} for number in (-1, 0, 1, 127, 129, COUNT, COUNT + 1, 2**62)),
        {"lists": LISTS, "bytes": 1000},
    ],
)
def test_a_record_of_other_lists_is_not_believed(
    written: tuple[Path, FileStamp, float], wrong: dict[str, int]
) -> None:
    path, stamp, _ = written
    with pytest.raises(UnusableFile):
        VectorIndex.open(path, replace(stamp, **wrong), verify=False)


@pytest.mark.parametrize("probes", [-(2**63), -1, 0, 1, LISTS, LISTS + 1, 2**63 - 1])
def test_a_record_of_absurd_probes_does_no_harm(
    written: tuple[Path, FileStamp, float], probes: int
) -> None:
    path, stamp, _ = written
    index = VectorIndex.open(path, replace(stamp, probes=probes), verify=False)
    assert (index.search(QUERIES, 10, exact=False)[1] >= 10).all()


@pytest.mark.parametrize("seed", range(12))
def test_lists_may_hold_anything_and_do_no_harm(
    written: tuple[Path, FileStamp, float], tmp_path: Path, seed: int
) -> None:
    """What was learnt, row numbers and codes from elsewhere: noise, rows beyond the end."""
    source, stamp, _ = written
    data = np.frombuffer(source.read_bytes(), np.uint8).copy()
    random = np.random.default_rng(seed)
    share = (0.01, 0.2, 1.0)[seed % 3]
    learnt = data[lists_start(stamp) : sizes_start(stamp)].copy().view("<f4")
    some = random.random(len(learnt)) < share
    learnt[some] = random.normal(scale=(0, 1, 30, 300)[seed // 3], size=int(some.sum()))
    learnt.clip(-900, 900, out=learnt)
    data[lists_start(stamp) : sizes_start(stamp)] = learnt.view(np.uint8)
    held = data[sizes_start(stamp) + 8 * stamp.lists :]
    some = random.random(len(held)) < share
    value = (0xFF, 0x7F, None, None)[seed // 3]
    noise = random.integers(0, 256, len(held), dtype=np.uint8)
    held[some] = noise[some] if value is None else value
    path = tmp_path / "a.faiss"
    index = VectorIndex.open(path, renewed(path, stamp, data.tobytes()), verify=True)
    selected = Selection.all_but_these(IDS[::3, 1])
    scores, found = index.search(QUERIES, 10, selected=selected, exact=False)
    known = np.isin(found, IDS[:, 1])
    assert (known | (found == -1)).all()
    assert (np.isfinite(scores) == known).all()


# In a library


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(segments, "NEWEST", 50)
    monkeypatch.setattr(segments, "LISTS_FROM", 1000)
    monkeypatch.setattr(segments, "APPROXIMATE_FROM", 3000)
    monkeypatch.setattr(list_building, "TARGET", 0.95)  # so few vectors are hard to put in lists
    with Store.open(tmp_path / "library", create=True) as store, store.writing():
        store.catalog.add_model(ModelIdentity("one", "ViT", "aa", "{}", WIDTH))
        yield store


def add(store: Store, first: int, end: int) -> None:
    vectors = clustered(COUNT).astype(np.float32)
    files = [FileState(Path(f"/photos/{n}.jpg"), 10, 100) for n in range(first, end)]
    seen = PhotoMetadata(4, 3, "JPEG")
    numbers = range(first, end)
    changes = [
        Embedded(file, f"{n}", seen, vectors[n]) for n, file in zip(numbers, files, strict=True)
    ]
    store.apply(changes, 1)
    store.refresh_vectors(1)


def found_share(store: Store, without: list[Path] | None = None) -> float:
    selected = store.select(without=without or [])
    found = store.search(1, QUERIES, 10, selected=selected)[1]
    return recall_of(found, store.search(1, QUERIES, 10, selected=selected, exact=True)[1])


def test_a_library_that_grows_large_is_searched_by_lists(store: Store) -> None:
    add(store, 0, 2500)
    info = store.index_info(1)
    assert (info.kind, info.recall, info.files) == (EXACT, None, 1)
    assert found_share(store) == 1
    add(store, 2500, 3100)  # now it is large: the file that was exact gets lists, too
    info = store.index_info(1)
    assert (info.kind, info.files) == (IVF.format(64), 2)
    assert info.recall is not None
    assert info.recall >= 0.95
    assert found_share(store) >= 0.98
    add(store, 3100, 3140)
    assert (store.index_info(1).files, store.index_info(1).delta) == (2, 40)
    found = store.search(1, clustered(COUNT)[3120:3121].astype(np.float32), 1)[1]
    assert found.tolist() == [[3121]]  # searchable at once
    store.apply([Gone(id_) for id_ in range(1, 100)], 1)
    assert found_share(store) >= 0.98
    hidden = [Path(f"/photos/{n}.jpg") for n in range(100, 400)]
    assert found_share(store, hidden) >= 0.98
    before = info.path
    add(store, 3140, COUNT)
    info = store.index_info(1)
    assert (info.files, info.kind, info.path == before) == (1, IVF.format(LISTS), False)
    assert info.recall is not None
    assert found_share(store) >= 0.98


@pytest.mark.parametrize("least", [0.95, 1.1])
def test_in_a_large_file_lists_may_miss_a_little_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: float
) -> None:
    monkeypatch.setattr(list_building, "LARGE", 1000)
    monkeypatch.setattr(list_building, "TARGET", 1.1)  # of smaller files, which this is not
    monkeypatch.setattr(list_building, "LARGE_LEAST", least)
    path = tmp_path / "a.faiss"
    stamp, recall = write_file(path, WIDTH, COUNT, [(clustered(COUNT), IDS)], lists=True)
    assert recall is not None
    assert recall >= 0.95
    assert stamp.kind == (IVF.format(LISTS) if least < 1 else EXACT)


def test_lists_that_were_of_no_use_are_not_tried_again_at_every_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_building, "TARGET", 1.1)
    add(store, 0, 3100)
    info = store.index_info(1)
    assert (info.kind, info.recall, info.note) == (EXACT, None, None)
    assert found_share(store) == 1
    assert info.path is not None
    before = info.path.stat().st_mtime_ns
    add(store, 3100, 3101)
    assert info.path.stat().st_mtime_ns == before


def test_lists_of_another_library_are_found_out(store: Store) -> None:
    """Rows and shape are as they should be; the photos are not."""
    add(store, 0, 3100)
    info = store.index_info(1)
    assert info.path is not None
    data = bytearray(info.path.read_bytes())
    start = 81 + 3100 * 2 * WIDTH
    ids = np.frombuffer(bytes(data[start : start + 3100 * 16]), "<i8").reshape(-1, 2).copy()
    ids[:, 1] += 10_000
    data[start : start + 3100 * 16] = ids.tobytes()
    info.path.write_bytes(data)
    db = SqliteUtils(store.folder / "catalog.sqlite")
    db.execute("UPDATE vector_indexes SET checksum = ?", [checksum(info.path)])
    with Store.open(store.folder, read_only=True) as reader:
        found = reader.search(1, QUERIES, 10)[1]
        np.testing.assert_array_equal(found, store.search(1, QUERIES, 10, exact=True)[1])
        assert reader.index_info(1).note is not None


def test_candidates_are_more_than_what_is_asked_for() -> None:
    assert [candidates_for(k) for k in (1, 10, 100)] == [112, 400, 3280]
    assert math.log2(lists_for(12345)).is_integer()
