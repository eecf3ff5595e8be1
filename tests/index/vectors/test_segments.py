"""A library grows by files that each hold a part of its vectors, and stays one in every search."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlite_utils import Database as SqliteUtils

from clipsearch.index.changes import Change, Embedded, Gone
from clipsearch.index.records import FileState, ModelIdentity, PhotoMetadata
from clipsearch.index.store import Store
from clipsearch.index.vectors import segments
from clipsearch.index.vectors.segments import Held, planned
from clipsearch.index.vectors.vector_files import checksum

WIDTH = 16
NEWEST = segments.NEWEST


def held(vectors: int, removed: int = 0, *, usable: bool = True, lists: bool = False) -> Held:
    return Held(vectors, removed, usable, lists)


# The plan


@pytest.mark.parametrize(
    ("there", "newer", "expected"),
    [
        ([], 0, []),
        ([], 5, [(0, 1)]),
        ([held(100)], 0, []),
        ([held(100)], 1, [(0, 2)]),
        ([held(100, removed=1)], 0, [(0, 2)]),
        ([held(100, removed=100)], 0, [(0, 2)]),
        ([held(100, usable=False)], 0, [(0, 2)]),
        ([held(60), held(40)], 0, [(0, 3)]),
    ],
)
def test_a_small_library_has_one_file_made_anew_after_every_change(
    there: list[Held], newer: int, expected: list[tuple[int, int]]
) -> None:
    assert planned(there, newer) == expected


@pytest.mark.parametrize(
    ("there", "newer", "expected"),
    [
        ([held(100_000)], NEWEST, []),
        ([held(100_000)], NEWEST + 1, [(1, 2)]),
        ([held(100_000), held(4_002)], 2_001, [(1, 3)]),
        ([held(100_000), held(4_003)], 2_001, [(2, 3)]),
        ([held(14_000), held(4_002)], 2_001, [(1, 3)]),
        ([held(12_000), held(4_002)], 2_001, [(0, 3)]),
        ([held(100_000, removed=5_000)], 0, []),
        ([held(100_000, removed=5_001)], 0, [(0, 1)]),
        ([held(100_000, usable=False), held(9_000)], 100, [(0, 1)]),
        ([held(100_000, usable=False), held(9_000)], 2_001, [(0, 1), (2, 3)]),
        ([held(90_000), held(20_000, removed=8_000)], 6_000, [(1, 3)]),
    ],
)
def test_a_large_library_gets_files_in_proportion_to_what_changed(
    there: list[Held], newer: int, expected: list[tuple[int, int]]
) -> None:
    assert planned(there, newer) == expected


@pytest.mark.parametrize(
    ("there", "newer", "expected"),
    [
        ([held(499_999)], 0, []),
        ([held(500_000)], 0, [(0, 1)]),
        ([held(500_000, lists=True)], 0, []),
        ([held(499_000), held(1_500)], 0, [(0, 1)]),  # the small one gains nothing by lists
        ([held(450_000), held(60_000)], 0, [(0, 1), (1, 2)]),
    ],
)
def test_segments_get_lists_once_the_library_is_large(
    there: list[Held], newer: int, expected: list[tuple[int, int]]
) -> None:
    assert planned(there, newer) == expected


@pytest.mark.parametrize("batch", [2_001, 5_000, 37_000])
def test_a_vector_is_written_a_few_times_only_and_files_stay_few(batch: int) -> None:
    sizes: list[int] = []
    written = 0
    for _ in range(1_000_000 // batch):
        plan = planned([held(size, lists=True) for size in sizes], batch)
        assert plan[-1][1] == len(sizes) + 1
        first = plan[-1][0]
        sizes[first:] = [sum(sizes[first:]) + batch]
        written += sizes[-1]
        assert len(sizes) <= np.log2(max(2, sum(sizes) / batch)) + 1
    assert written / sum(sizes) <= 2 * np.log2(1_000_000 / batch)


# Libraries that grow: with thresholds so small that every step of it happens


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "NEWEST", 10)
    monkeypatch.setattr(segments, "APPROXIMATE_FROM", 10**9)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "library", create=True) as store, store.writing():
        store.catalog.add_model(ModelIdentity("one", "ViT", "aa", "{}", WIDTH))
        yield store


def unit_vectors(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def photo(number: int, vector: np.ndarray, version: str = "") -> Embedded:
    file = FileState(Path(f"/photos/{number % 7}/{number}.jpg"), 10, 100)
    return Embedded(file, f"hash {number} {version}", PhotoMetadata(4, 3, "JPEG"), vector)


QUERIES = unit_vectors(4, seed=1000)


def assert_search_is_exact(store: Store, hidden: int | None = None) -> None:
    """Compare with brute force over the rows of the catalog, read by other means."""
    rows = list(
        SqliteUtils(store.folder / "catalog.sqlite").query(
            "SELECT photo_id, path, vector FROM embeddings JOIN photos ON photos.id = photo_id"
        )
    )
    rows = [row for row in rows if f"/photos/{hidden}/" not in row["path"]]
    ids = np.array([row["photo_id"] for row in rows])
    vectors = np.array([np.frombuffer(row["vector"], "<f2") for row in rows], np.float64)
    without = [] if hidden is None else [Path(f"/photos/{hidden}")]
    found = store.search(1, QUERIES, 9, without=without, exact=True)[1]
    for query, hits in zip(QUERIES, found, strict=True):
        best = np.lexsort((ids, -(vectors.reshape(-1, WIDTH) @ query).round(9)))[:9]
        assert hits[: len(best)].tolist() == ids[best].tolist()
        assert (hits[len(best) :] == -1).all()


def test_search_is_exact_while_a_library_grows_and_shrinks(store: Store, small: None) -> None:
    """Followed by a reader that stays open, and by one that is new each time."""
    random = np.random.default_rng(5)
    vectors = iter(unit_vectors(6000, seed=6))
    seen: set[int] = set()
    with Store.open(store.folder, read_only=True) as reader:
        for step in range(80):
            known = [row.photo_id for row in store.catalog.known_files(1).values()]
            most = 25 if step % 20 < 14 else 90
            changes: list[Change] = [
                Gone(int(id_)) for id_ in random.permutation(known)[: random.integers(0, most)]
            ]
            numbers = random.choice(2000, size=random.integers(0, 60), replace=False)
            changes += [photo(int(n), next(vectors), f"v{step}") for n in numbers]
            store.apply(changes, 1)
            hidden = step % 7 if step % 3 == 0 else None
            assert_search_is_exact(reader, hidden)
            store.refresh_vectors(1)
            info = store.index_info(1)
            seen.add(info.files)
            assert info.note is None
            assert info.delta <= 10
            assert info.vectors - info.removed + info.delta == store.catalog.counts(1).embedded
            assert len(list((store.folder / "vectors").iterdir())) == info.files
            assert_search_is_exact(reader, hidden)
            with Store.open(store.folder, read_only=True) as other:
                assert_search_is_exact(other, hidden)
                assert other.index_info(1).note is None
    assert {1, 2, 3} <= seen


def grown(store: Store) -> list[Path]:
    """Give a library three segments of 400, 100 and 30, three newer photos and a few removed."""
    vectors = unit_vectors(533, seed=2)
    for first, end in ((0, 400), (400, 500), (500, 530), (530, 533)):
        store.apply([photo(n, vectors[n]) for n in range(first, end)], 1)
        store.refresh_vectors(1)
    store.apply([Gone(id_) for id_ in (3, 77, 450, 520, 532)], 1)
    store.refresh_vectors(1)
    assert store.index_info(1).files == 3
    rows = SqliteUtils(store.folder / "catalog.sqlite").query(
        "SELECT file FROM vector_indexes ORDER BY watermark"
    )
    return [store.folder / "vectors" / row["file"] for row in rows]


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("damage", ["gone", "cut", "a byte"])
def test_a_segment_that_is_damaged_is_made_anew_and_no_other(
    store: Store, small: None, which: int, damage: str
) -> None:
    files = grown(store)
    data = bytearray(files[which].read_bytes())
    others = {file: file.stat().st_ino for file in files if file != files[which]}
    if damage == "gone":
        files[which].unlink()
    elif damage == "cut":
        files[which].write_bytes(data[:-1])
    else:
        data[len(data) // 2] ^= 1
        files[which].write_bytes(data)
    with Store.open(store.folder, read_only=True) as reader:
        assert_search_is_exact(reader)
        assert reader.index_info(1).note is not None
        store.refresh_vectors(1)
        assert_search_is_exact(reader)
        assert reader.index_info(1).note is None
    assert {file: file.stat().st_ino for file in others} == others
    assert store.index_info(1).files == 3


def test_two_segments_that_hold_the_same_are_not_both_believed(store: Store, small: None) -> None:
    """As a hostile library may have it: photos must not be found twice."""
    grown(store)
    db = SqliteUtils(store.folder / "catalog.sqlite")
    first = next(iter(db.query("SELECT * FROM vector_indexes ORDER BY watermark LIMIT 1")))
    db.execute("DELETE FROM vector_indexes WHERE watermark <> ?", [first["watermark"]])
    db.execute("UPDATE vector_indexes SET watermark = 0 WHERE watermark = ?", [first["watermark"]])
    db["vector_indexes"].insert({**first, "watermark": 400})
    with Store.open(store.folder, read_only=True) as reader:
        assert_search_is_exact(reader)
    store.refresh_vectors(1)
    assert_search_is_exact(store)


def test_a_file_that_gives_a_photo_all_vectors_is_not_believed(store: Store, small: None) -> None:
    """It has the right shape and checksum; each hit alone is a photo with an embedding."""
    file = grown(store)[0]
    db = SqliteUtils(store.folder / "catalog.sqlite")
    count = next(iter(db.query("SELECT vectors FROM vector_indexes ORDER BY watermark")))["vectors"]
    data = bytearray(file.read_bytes())
    ids = np.frombuffer(data, "<i8", 2 * count, len(data) - 16 * count).reshape(count, 2)
    ids[:, 1] = ids[0, 1]
    file.write_bytes(data)
    with db.conn:
        values = [checksum(file), file.name]
        db.execute("UPDATE vector_indexes SET checksum = ? WHERE file = ?", values)
    with Store.open(store.folder, read_only=True) as reader:
        assert_search_is_exact(reader)


def test_adding_to_a_large_library_leaves_its_files_alone(store: Store, small: None) -> None:
    files = grown(store)
    before = {file: file.stat().st_mtime_ns for file in files}
    vectors = unit_vectors(6, seed=9)
    store.apply([photo(3000 + n, vectors[n]) for n in range(6)], 1)
    store.refresh_vectors(1)
    assert {file: file.stat().st_mtime_ns for file in files} == before
    assert_search_is_exact(store)


def test_removals_that_no_file_holds_any_more_are_forgotten(store: Store, small: None) -> None:
    grown(store)
    count = "SELECT count(*) FROM removed_embeddings"
    db = SqliteUtils(store.folder / "catalog.sqlite")
    known = [row.photo_id for row in store.catalog.known_files(1).values()]
    store.apply([Gone(id_) for id_ in known], 1)
    assert db.execute(count).fetchone() == (533,)
    store.refresh_vectors(1)
    assert db.execute(count).fetchone() == (0,)
    assert store.index_info(1).path is None
    assert list((store.folder / "vectors").iterdir()) == []
    store.apply([photo(1, unit_vectors(1, 1)[0])], 1)
    assert_search_is_exact(store)


class PowerCut(BaseException):
    """Ends what is being done, as if the process were gone."""


@pytest.mark.parametrize("step", ["write_file", "put_in_place", "_record", "remove_litter"])
def test_a_crash_while_segments_are_merged_loses_nothing(
    store: Store, small: None, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = grown(store)
    vectors = unit_vectors(60, seed=12)
    store.apply([photo(4000 + n, vectors[n]) for n in range(60)], 1)
    done = getattr(segments, step)

    def then_cut(*arguments: object, **options: object) -> None:
        done(*arguments, **options)
        raise PowerCut

    with monkeypatch.context() as patch, Store.open(store.folder, read_only=True) as reader:
        patch.setattr(segments, step, then_cut)
        assert_search_is_exact(reader)
        with pytest.raises(PowerCut):
            store.refresh_vectors(1)
        assert_search_is_exact(reader)
    with Store.open(store.folder, read_only=True) as reader:
        assert_search_is_exact(reader)
        assert reader.index_info(1).note is None
        assert reader.index_info(1).files == (3 if step in ("write_file", "put_in_place") else 2)
    store.refresh_vectors(1)
    assert_search_is_exact(store)
    left = set((store.folder / "vectors").iterdir())
    assert len(left) == store.index_info(1).files == 2
    assert files[0] in left
    assert store.index_info(1).delta == 0
