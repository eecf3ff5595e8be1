"""Search is exact: equal to numpy over the same float16 values, whatever is removed or tied."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from overlooking_gpu import Overlooking

from clipsearch.index.selection import Selection
from clipsearch.index.vectors import vector_files, vector_index
from clipsearch.index.vectors.vector_files import FileStamp, UnusableFile, checksum, write_file
from clipsearch.index.vectors.vector_index import VectorIndex

WIDTH = 24


@pytest.fixture(autouse=True, params=["without FAISS", "with FAISS"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test as for a small library and as for a large one."""
    if request.param == "with FAISS":
        monkeypatch.setattr(vector_files, "SMALL", -1)
        monkeypatch.setattr(vector_index, "SMALL", -1)


def unit_vectors(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def ids_for(photo_ids: np.ndarray) -> np.ndarray:
    return np.stack([np.arange(len(photo_ids)) * 3 + 5, photo_ids], axis=1).astype(np.int64)


def index_of(vectors: np.ndarray, photo_ids: np.ndarray) -> VectorIndex:
    index = VectorIndex.empty(WIDTH)
    half = len(vectors) // 2
    ids = ids_for(photo_ids)
    index.add(vectors[:half].astype(np.float16), ids[:half])
    index.add(vectors[half:].astype(np.float16), ids[half:])
    return index


def save(vectors: np.ndarray, photo_ids: np.ndarray, path: Path) -> FileStamp:
    half, ids, stored = len(vectors) // 2, ids_for(photo_ids), vectors.astype(np.float16)
    batches = [(stored[:half], ids[:half]), (stored[half:], ids[half:])]
    return write_file(path, WIDTH, len(vectors), batches)[0]


def brute_force(
    vectors: np.ndarray, photo_ids: np.ndarray, queries: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best of each query by plain numpy over the rounded vectors."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float16).astype(np.float64).T
    order = np.array([np.lexsort((photo_ids, -row.round(9)))[:k] for row in scores])
    return np.take_along_axis(scores, order, axis=1), photo_ids[order]


def assert_equals_brute_force(
    index: VectorIndex,
    vectors: np.ndarray,
    photo_ids: np.ndarray,
    k: int = 10,
    selected: Selection | None = None,
) -> None:
    queries = unit_vectors(7, seed=99)
    scores, found = index.search(queries, k, selected=selected)
    expected_scores, expected = brute_force(vectors, photo_ids, queries, k)
    count = expected.shape[1]
    assert (scores.dtype, found.dtype) == (np.float32, np.int64)
    assert scores.shape == found.shape == (7, k)
    np.testing.assert_array_equal(found[:, :count], expected)
    np.testing.assert_allclose(scores[:, :count], expected_scores, atol=2e-6)
    assert (found[:, count:] == -1).all()
    assert np.isneginf(scores[:, count:]).all()


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 26, 27, 3000])
@pytest.mark.parametrize("k", [1, 10, 40])
def test_search_equals_brute_force(count: int, k: int) -> None:
    vectors = unit_vectors(count)
    photo_ids = np.random.default_rng(1).permutation(count) + 1
    assert_equals_brute_force(index_of(vectors, photo_ids), vectors, photo_ids, k)


def test_an_empty_index_finds_nothing() -> None:
    scores, ids = VectorIndex.empty(WIDTH).search(unit_vectors(2), 3)
    assert np.isneginf(scores).all()
    assert (ids == -1).all()
    assert VectorIndex.empty(WIDTH).search(unit_vectors(0), 3)[0].shape == (0, 3)


@pytest.mark.parametrize("removed", [1, 50, 400, 499, 500])
def test_exactly_k_are_found_however_many_of_the_best_were_removed(removed: int) -> None:
    vectors = unit_vectors(500)
    photo_ids = np.arange(500) + 1
    index = index_of(vectors, photo_ids)
    query = unit_vectors(7, seed=99)[:1]
    nearest_first = np.argsort(-(vectors @ query[0]))
    gone = nearest_first[:removed]
    index = index.without(ids_for(photo_ids)[gone, 0])
    kept = np.sort(nearest_first[removed:])
    assert index.removed == removed
    assert_equals_brute_force(index, vectors[kept], photo_ids[kept])


def test_removing_ids_that_are_not_there_removes_nothing() -> None:
    index = index_of(unit_vectors(10), np.arange(10))
    assert index.without(np.array([-1, 0, 6, 7, 10_000])) is index
    assert index.without(np.array([], dtype=np.int64)) is index
    assert VectorIndex.empty(WIDTH).without(np.array([1])).removed == 0


def test_removing_leaves_the_index_of_others_as_it_is() -> None:
    vectors, photo_ids = unit_vectors(40), np.arange(40)
    index = index_of(vectors, photo_ids)
    fewer = index.without(ids_for(photo_ids)[:30, 0])
    assert (index.removed, fewer.removed, len(fewer)) == (0, 30, 40)
    assert_equals_brute_force(index, vectors, photo_ids)
    assert_equals_brute_force(fewer, vectors[30:], photo_ids[30:])
    kept_vectors, kept_ids = fewer.kept()
    np.testing.assert_array_equal(kept_vectors, vectors[30:].astype(np.float16))
    np.testing.assert_array_equal(kept_ids, ids_for(photo_ids)[30:])


@pytest.mark.parametrize("copies", [5, 26, 27, 300])
def test_ties_come_in_order_of_photo_id(copies: int) -> None:
    one, other = unit_vectors(2)
    vectors = np.array([one] * copies + [other] * 10)
    photo_ids = np.random.default_rng(2).permutation(len(vectors)) + 1
    scores, found = index_of(vectors, photo_ids).search(one[None], 10)
    same = np.sort(photo_ids[:copies])[:10]
    np.testing.assert_array_equal(found[0, : len(same)], same)
    assert len(set(scores[0, : len(same)])) == 1


def test_a_saved_index_opens_with_the_same_results(tmp_path: Path) -> None:
    vectors, photo_ids = unit_vectors(300), np.arange(300)[::-1].copy()
    stamp = save(vectors, photo_ids, tmp_path / "a.faiss")
    last_id = ids_for(photo_ids)[-1, 0]
    size = (tmp_path / "a.faiss").stat().st_size
    assert stamp == FileStamp(300, WIDTH, last_id, size, checksum(tmp_path / "a.faiss"))
    opened = VectorIndex.open(tmp_path / "a.faiss", stamp, verify=True)
    assert_equals_brute_force(opened, vectors, photo_ids)


def test_an_index_file_is_one_that_faiss_itself_reads(tmp_path: Path) -> None:
    vectors = unit_vectors(50)
    save(vectors, np.arange(50), tmp_path / "a.faiss")
    plain = faiss.read_index(str(tmp_path / "a.faiss"))
    np.testing.assert_array_equal(
        plain.reconstruct_n(0, 50), vectors.astype(np.float16).astype(np.float32)
    )


def test_stored_vectors_round_as_numpy_rounds(tmp_path: Path) -> None:
    awkward = np.array([1 / 3, 2**-24, 2**-25, -1.0009766, 1.00048828125, 1e-8], np.float32)
    vectors = np.resize(awkward, (4, WIDTH)).astype(np.float32)
    save(vectors, np.arange(4), tmp_path / "a.faiss")
    stored = faiss.read_index(str(tmp_path / "a.faiss")).reconstruct_n(0, 4)
    np.testing.assert_array_equal(stored, vectors.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("at", [0, 4, 40, 2000, -2000, -100, -1])
def test_a_changed_byte_anywhere_is_noticed(tmp_path: Path, at: int) -> None:
    path = tmp_path / "a.faiss"
    stamp = save(unit_vectors(200), np.arange(200), path)
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(UnusableFile, match=r"does not match its checksum|else than recorded"):
        VectorIndex.open(path, stamp, verify=True)


def test_a_file_that_is_not_what_was_recorded_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "a.faiss"
    stamp = save(unit_vectors(200), np.arange(200), path)
    data = path.read_bytes()

    def reason(content: bytes | None, expected: FileStamp) -> str:
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UnusableFile) as caught:
            VectorIndex.open(path, expected, verify=False)
        return str(caught.value)

    assert reason(None, stamp) == "is missing"
    assert reason(data[:-1], stamp) == "has another length than recorded"
    assert reason(b"", stamp) == "has another length than recorded"
    other = "holds something else than recorded"
    assert reason(b"\0" * len(data), stamp) == other
    assert reason(b"", FileStamp(0, WIDTH, 0, 0, "00000000")) == other
    for wrong in ({"width": WIDTH + 1}, {"watermark": 7}, {"vectors": 199}):
        assert reason(data, replace(stamp, **wrong)) == other
    flat = faiss.IndexFlatL2(WIDTH)
    flat.add(unit_vectors(200))
    faiss.write_index(flat, str(path))
    content = path.read_bytes() + bytes(200 * 16)
    assert reason(content, replace(stamp, bytes=len(content))) == other


@pytest.mark.parametrize("count", [1, 200])
def test_an_index_file_begins_as_faiss_itself_writes_it(tmp_path: Path, count: int) -> None:
    index = faiss.IndexScalarQuantizer(
        WIDTH, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.add(unit_vectors(count))
    save(unit_vectors(count), np.arange(count), tmp_path / "a.faiss")
    faiss.write_index(index, str(tmp_path / "plain.faiss"))
    ids = ids_for(np.arange(count)).astype("<i8").tobytes()
    plain = (tmp_path / "plain.faiss").read_bytes()
    assert (tmp_path / "a.faiss").read_bytes() == plain + ids


HEADER_BYTES = 81


@pytest.mark.parametrize("at", range(HEADER_BYTES))
def test_no_file_with_another_header_reaches_faiss(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the byte: a count, a width, the kind, a length that FAISS would believe."""
    path = tmp_path / "a.faiss"
    stamp = save(unit_vectors(20), np.arange(20), path)
    assert stamp.bytes == HEADER_BYTES + 20 * (2 * WIDTH + 16)
    data = bytearray(path.read_bytes())
    fail = lambda *_: pytest.fail("FAISS was given the file")  # noqa: E731
    monkeypatch.setattr(faiss, "read_index", fail)
    monkeypatch.setattr(faiss, "ZeroCopyIOReader", fail)
    for value in (data[at] ^ 0x01, data[at] ^ 0x80, 0xFF if data[at] != 0xFF else 0):
        path.write_bytes(data[:at] + bytes([value]) + data[at + 1 :])
        with pytest.raises(UnusableFile, match="holds something else"):
            VectorIndex.open(path, replace(stamp, checksum=checksum(path)), verify=True)


BIG = 2**63 - 1


@pytest.mark.parametrize(
    "wrong",
    [
        *({"vectors": count} for count in (BIG, -1, 0, 2**62, -(2**63))),
        *({"width": width} for width in (BIG, 0, -1, 2**31, 2**32 + WIDTH)),
        *({"bytes": count} for count in (BIG, -1, 0)),
        *({"watermark": number} for number in (BIG, -1)),
        {"vectors": BIG, "width": BIG, "bytes": BIG},
        {"vectors": -1, "bytes": HEADER_BYTES - 2 * WIDTH - 16},
    ],
)
def test_a_stamp_with_absurd_numbers_is_not_believed(tmp_path: Path, wrong: dict[str, int]) -> None:
    path = tmp_path / "a.faiss"
    stamp = save(unit_vectors(20), np.arange(20), path)
    if "bytes" in wrong and 0 < wrong["bytes"] < stamp.bytes:
        path.write_bytes(path.read_bytes()[: wrong["bytes"]])
    with pytest.raises(UnusableFile):
        VectorIndex.open(path, replace(stamp, **wrong), verify=False)


def test_ids_that_do_not_rise_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.faiss"
    stamp = save(unit_vectors(20), np.arange(20), path)
    data = path.read_bytes()
    swapped = data[: -20 * 16] + data[-19 * 16 : -18 * 16] + data[-20 * 16 : -19 * 16]
    path.write_bytes(swapped + data[-18 * 16 :])
    renewed = replace(stamp, checksum=checksum(path))
    with pytest.raises(UnusableFile, match="holds something else"):
        VectorIndex.open(path, renewed, verify=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_the_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.faiss")
    with pytest.raises(UnusableFile, match="is not a file"):
        VectorIndex.open(tmp_path / "a.faiss", FileStamp(1, WIDTH, 1, 0, "00000000"), verify=True)


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_saving_does_not_write_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "a.faiss").symlink_to(tmp_path / "mine.txt")
    save(unit_vectors(20), np.arange(20), tmp_path / "a.faiss")
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("left_out", [1, 250, 499, 500])
@pytest.mark.parametrize("removed", [0, 100])
def test_what_is_not_selected_makes_place_for_the_next_best(left_out: int, removed: int) -> None:
    vectors, photo_ids = unit_vectors(500), np.arange(500) + 1
    query = unit_vectors(7, seed=99)[:1]
    nearest_first = np.argsort(-(vectors @ query[0]))
    gone = nearest_first[:removed]
    index = index_of(vectors, photo_ids).without(ids_for(photo_ids)[gone, 0])
    for count in (left_out, 3, 0):
        out = nearest_first[removed // 2 : removed // 2 + count]
        kept = np.setdiff1d(np.arange(500), np.concatenate([gone, out]))
        rest = np.setdiff1d(photo_ids, photo_ids[out])
        selections = Selection.all_but_these(photo_ids[out]), Selection.only_these(rest)
        for selected in selections:
            assert_equals_brute_force(index, vectors[kept], photo_ids[kept], selected=selected)


@given(st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_selection_is_searched_exactly(data: st.DataObject) -> None:
    """Whatever was removed, ties, and whether those left are few or many, or ids unknown."""
    count = data.draw(st.integers(1, 900))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    vectors = unit_vectors(count, seed=1)
    vectors[random.random(count) < data.draw(st.sampled_from([0, 0.2, 0.9]))] = vectors[0]
    photo_ids = random.permutation(count) + 1
    gone = random.random(count) < data.draw(st.sampled_from([0, 0, 0.1, 0.95]))
    some = random.permutation(photo_ids)[: data.draw(st.integers(0, count))]
    named = np.concatenate([some, random.integers(count + 1, 2 * count + 2, 5), [0]])
    only, others = Selection.only_these(named), Selection.all_but_these(named)
    index = index_of(vectors, photo_ids).without(ids_for(photo_ids)[gone, 0])
    k = data.draw(st.sampled_from([1, 7, 40, count, count + 3]))
    for selected, is_in in ((only, True), (others, False), (only, True)):
        keep = (np.isin(photo_ids, some) == is_in) & ~gone
        assert_equals_brute_force(index, vectors[keep], photo_ids[keep], k, selected)
    assert_equals_brute_force(index, vectors[~gone], photo_ids[~gone], k)


@pytest.mark.parametrize("few", [1, 40, 60])
def test_a_photo_that_was_embedded_anew_is_found_by_its_last_embedding(few: int) -> None:
    vectors = unit_vectors(1000)
    photo_ids = np.concatenate([np.random.default_rng(1).permutation(700), np.arange(300)])
    old = np.flatnonzero(photo_ids[:700] < 300)
    index = index_of(vectors, photo_ids).without(ids_for(photo_ids)[old, 0])
    named = np.arange(0, 700, 11)[:few]
    keep = np.isin(photo_ids, named)
    keep[old] = False
    selected = Selection.only_these([*named, 5000, -1])
    assert_equals_brute_force(index, vectors[keep], photo_ids[keep], 70, selected)


@pytest.mark.parametrize("in_a_file", [False, True])
@pytest.mark.parametrize("count", [0, 1, 14, 15, 16, 100])
def test_few_selected_are_read_one_by_one(
    tmp_path: Path, count: int, in_a_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to one in two hundred; FAISS's index is not asked for them."""
    monkeypatch.setattr(vector_files, "SMALL", -1)
    monkeypatch.setattr(vector_index, "SMALL", -1)
    vectors, photo_ids = unit_vectors(3000), np.random.default_rng(1).permutation(3000)
    index = index_of(vectors, photo_ids)
    if in_a_file:
        index = VectorIndex.open(
            tmp_path / "a", save(vectors, photo_ids, tmp_path / "a"), verify=True
        )
    scanned: list[object] = []
    fetch = VectorIndex._fetch
    monkeypatch.setattr(
        VectorIndex, "_fetch", lambda *given: (scanned.append(given), fetch(*given))[1]
    )
    rows = np.arange(7, 7 + count)
    selected = Selection.only_these(photo_ids[rows])
    assert_equals_brute_force(index, vectors[rows], photo_ids[rows], selected=selected)
    assert bool(scanned) == (count > 15)
    assert index.search(unit_vectors(0), 3, selected=selected)[0].shape == (0, 3)


def test_threads_search_one_index_within_selections_of_their_own() -> None:
    vectors, photo_ids = unit_vectors(3000), np.arange(3000)
    index = index_of(vectors, photo_ids)
    parts = [photo_ids[start::9] for start in range(9)]

    def search(number: int) -> None:
        part = parts[number % 9]
        for _ in range(5):
            selected = Selection.only_these(part)
            assert_equals_brute_force(index, vectors[part], part, selected=selected)
            rest = np.setdiff1d(photo_ids, part)
            selected = Selection.all_but_these(part)
            assert_equals_brute_force(index, vectors[rest], rest, selected=selected)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(search, range(18)))


def test_a_gpu_is_passed_by_where_only_some_are_selected() -> None:
    vectors, photo_ids = unit_vectors(3000), np.arange(3000)
    index = index_of(vectors, photo_ids)
    index._gpu_index = Overlooking(index_of(vectors, photo_ids))
    index = index.without(ids_for(photo_ids)[:1500, 0])
    assert_equals_brute_force(index, vectors[1500:], photo_ids[1500:])
    for part in (photo_ids[1000:1510], photo_ids[1400:]):
        kept = part[part >= 1500]
        selected = Selection.only_these(part)
        assert_equals_brute_force(index, vectors[kept], kept, selected=selected)


@pytest.mark.skipif(faiss.get_num_gpus() == 0, reason="no GPU that FAISS sees")
@pytest.mark.parametrize("k", [1, 10, 3000])
def test_a_gpu_finds_what_the_cpu_finds(k: int) -> None:
    vectors, photo_ids = unit_vectors(20_000), np.arange(20_000)
    index = index_of(vectors, photo_ids)
    index = index.without(ids_for(photo_ids)[::7, 0])
    queries = unit_vectors(20, seed=3)
    scores, found = index.search(queries, k)
    index.move_to_gpu()
    assert index.note is None
    gpu_scores, gpu_found = index.search(queries, k)
    np.testing.assert_allclose(gpu_scores, scores, atol=1e-3)
    assert not np.isin(gpu_found, photo_ids[::7]).any()
    out = np.arange(0, 20_000, 2)
    kept = np.setdiff1d(photo_ids, np.concatenate([out, photo_ids[::7]]))
    selected = Selection.all_but_these(out)
    assert_equals_brute_force(index, vectors[kept], photo_ids[kept], k, selected)
    shared = [len(np.intersect1d(found[row], gpu_found[row])) / k for row in range(len(queries))]
    assert np.mean(shared) > 0.99
