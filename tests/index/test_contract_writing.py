"""What every store that is filled here must hold: the second part of index/interface.py."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from every_store import (
    KINDS,
    ONE,
    OTHER,
    PHOTOS,
    STRANGE,
    Kind,
    Opened,
    every_kind,
    names,
    photo,
    state,
    unit_vectors,
)

from clipsearch.errors import LibraryClosed, LibraryError, LibraryLocked, LibraryReadOnly
from clipsearch.index.changes import (
    Change,
    Completed,
    Copied,
    Exclude,
    Failed,
    ForgetFailure,
    ForgetFolder,
    ForgetMount,
    Gone,
    Include,
    KeepFolder,
    Moved,
    Named,
    Scanned,
    SeenMount,
    SeenSidecar,
    SidecarsRead,
    Touched,
    UseModel,
)
from clipsearch.index.filters import Missing
from clipsearch.index.interface import SearchableStore, WritableStore, writable
from clipsearch.index.paths import to_text
from clipsearch.index.records import FACTS, Exclusion, PhotoMetadata, Word
from clipsearch.index.store import Store

AXES = unit_vectors(9, seed=4)
SMALL = unit_vectors(2, 5, OTHER.width)


@pytest.fixture
def opened(kind: Kind, tmp_path: Path) -> Iterator[Opened]:
    with kind.opened(tmp_path / "library") as opened:
        yield opened


@pytest.fixture
def store(opened: Opened) -> WritableStore:
    return opened.store


def everything(store: SearchableStore) -> dict[str, object]:
    """Return all that a store holds, without ids and times."""
    photos = store.photos(store.photos_below(None).tolist())
    kept: dict[str, object] = {}
    for one in photos.values():
        (known,) = (k for k in store.photos_with_content(one.content_hash) if k.photo.id == one.id)
        rows = {m: store.vectors(m, [one.id])[0].round(4).tolist() for m in known.embedded_by}
        said = one.metadata, one.moment, one.moment_from, store.words([one.id]).get(one.id)
        kept[str(one.file.path)] = one.file, one.content_hash, said, rows
    places = store.places()
    return {
        "photos": kept,
        "failures": {one.file.path: (one.file, one.reason) for one in store.failures()},
        "folders": [(f.path, f.kind, f.scanned_at is not None) for f in places.folders],
        "mounts": list(places.mounts),
        "exclusions": list(places.exclusions),
        "models": [(row.id, row.photos, row.is_current) for row in store.models()],
    }


def contents(store: SearchableStore) -> dict[str, str]:
    ids = names(store)
    photos = store.photos(list(ids.values()))
    return {name: photos[id_].content_hash for name, id_ in ids.items()}


# Each kind of change


@every_kind
def test_new_content_drops_what_other_models_made_of_the_old(store: WritableStore) -> None:
    store.apply([photo("a", AXES[0], "old")], 1)
    store.apply([photo("a", SMALL[0], "old")], 2)
    assert [known.embedded_by for known in store.photos_with_content("old")] == [{1, 2}]
    store.apply([photo("a", AXES[1], "new")], 1)
    assert [known.embedded_by for known in store.photos_with_content("new")] == [{1}]
    assert names(store) == {"a": 1}  # it is the same photo


@every_kind
def test_a_copy_takes_all_that_is_known_of_its_source(store: WritableStore) -> None:
    store.apply([photo("a", AXES[0], "h"), Failed(state("b"), "broken")], 1)
    store.apply([photo("a", SMALL[0], "h")], 2)
    store.apply([Copied(1, state("b"))])
    assert [known.embedded_by for known in store.photos_with_content("h")] == [{1, 2}] * 2
    copy = names(store)["b"]
    np.testing.assert_array_equal(store.vectors(1, [1]), store.vectors(1, [copy]))
    assert store.failures() == []


@every_kind
def test_a_moved_photo_takes_the_place_of_what_was_there(store: WritableStore) -> None:
    store.apply([photo("a", AXES[0], "a"), photo("b", AXES[1], "b")], 1)
    store.apply([Failed(state("b"), "broken"), Moved(1, state("b", size=11))])
    assert names(store) == {"b": 1}
    assert store.photos([1])[1].file == state("b", size=11)
    assert store.failures() == []
    store.apply([Touched(1, state("b", mtime_ns=7))])
    assert store.photos([1])[1].file.mtime_ns == 7


@every_kind
def test_a_failure_leaves_the_photo_as_it_was(store: WritableStore) -> None:
    store.apply([photo("a", AXES[0])], 1)
    store.apply([Failed(state("a", size=3), "cut short"), Failed(state("b"), "empty")])
    store.apply([Failed(state("b", size=2), "odd")])
    assert [(one.file.size, one.reason) for one in store.failures()] == [
        (3, "cut short"),
        (2, "odd"),
    ]
    assert names(store) == {"a": 1}
    store.apply([ForgetFailure(PHOTOS / "a"), ForgetFailure(PHOTOS / "never there")])
    assert [one.file.path.name for one in store.failures()] == ["b"]


@every_kind
def test_places_are_kept_and_forgotten(store: WritableStore) -> None:
    store.apply([KeepFolder(PHOTOS, "folder"), SeenMount(PHOTOS), SeenMount(PHOTOS)])
    store.apply([Scanned(PHOTOS), KeepFolder(PHOTOS / "a.jpg", "file"), Scanned(PHOTOS / "none")])
    store.apply([KeepFolder(PHOTOS, "folder")])  # known: its last scan is remembered
    folders = store.places().folders
    assert [(f.path, f.kind, f.scanned_at is None) for f in folders] == [
        (PHOTOS, "folder", False),
        (PHOTOS / "a.jpg", "file", True),
    ]
    store.apply([ForgetFolder(PHOTOS), ForgetFolder(PHOTOS / "none")])
    assert [folder.path.name for folder in store.places().folders] == ["a.jpg"]
    assert store.places().mounts == (PHOTOS,)
    store.apply([ForgetMount(PHOTOS), ForgetMount(PHOTOS / "none")])
    assert store.places().mounts == ()


@every_kind
def test_exclusions_are_kept_in_their_order_until_they_are_taken_back(store: WritableStore) -> None:
    made = [Exclusion("pattern", "*.png"), Exclusion("path", "/photos/a"), Exclusion("path", "*")]
    made += [Exclusion("pattern", "!b.png"), Exclusion("ignore file", "/photos/a")]
    store.apply([Exclude(one) for one in made])
    store.apply([Exclude(made[1]), Include(Exclusion("pattern", "/photos/a"))])
    assert store.places().exclusions == tuple(made)
    store.apply([Include(made[0]), Include(made[0]), Exclude(made[0]), Include(made[4])])
    assert store.places().exclusions == (*made[1:4], made[0])


@every_kind
def test_a_change_to_a_photo_that_is_gone_is_passed_over(store: WritableStore) -> None:
    store.apply([photo("a", AXES[0], "a")], 1)
    store.apply([Failed(state("a"), "broken")])
    before = everything(store)
    store.apply([Touched(7, state("a")), Moved(7, state("a")), Copied(7, state("a")), Gone(7)])
    assert everything(store) == before


@every_kind
def test_ids_are_never_given_again(store: WritableStore) -> None:
    store.apply([photo("a", AXES[0], "a"), photo("b", AXES[1], "b")], 1)
    store.apply([Gone(2)])
    store.apply([photo("b", AXES[1], "b")], 1)
    assert names(store) == {"a": 1, "b": 3}


# Batches


@every_kind
@pytest.mark.parametrize(
    "bad",
    [
        photo("z", np.full(8, np.nan, np.float32)),
        photo("z", np.full(8, np.inf, np.float32)),
        photo("z", SMALL[0]),
        UseModel(77),
    ],
    ids=["NaN", "infinite", "another width", "no such model"],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_batch_is_committed_whole_or_not_at_all(opened: Opened, bad: Change, first: bool) -> None:
    store = opened.store
    store.apply([photo(name, AXES[n], name) for n, name in enumerate("abcd")], 1)
    good: list[Change] = [
        *(photo("new", AXES[5]), photo("a", AXES[6], "other"), Moved(2, state("c"))),
        *(Copied(1, state("copy")), Failed(state("f"), "broken"), Gone(4), UseModel(1)),
        *(KeepFolder(PHOTOS, "folder"), Scanned(PHOTOS), SeenMount(PHOTOS)),
    ]
    before = everything(store)
    reader = opened.reader()
    with pytest.raises((ValueError, LibraryError)):
        store.apply([bad, *good] if first else [*good, bad], 1)
    assert everything(store) == everything(reader) == before
    store.apply(good, 1)
    assert everything(store) == everything(reader) != before


@every_kind
def test_changes_speak_of_the_state_before_their_batch(store: WritableStore) -> None:
    store.apply([photo(name, AXES[n], name) for n, name in enumerate("abcde")], 1)
    ids = names(store)
    # a and b are swapped; c -> d -> e -> new; a copy of what a was, where c was
    store.apply(
        [
            *(Moved(ids["a"], state("b")), Moved(ids["b"], state("a"))),
            *(Moved(ids["c"], state("d")), Moved(ids["d"], state("e"))),
            *(Moved(ids["e"], state("new")), Copied(ids["a"], state("c"))),
        ]
    )
    assert contents(store) == {"a": "b", "b": "a", "c": "a", "d": "c", "e": "d", "new": "e"}
    assert {names(store)[name] for name in ("b", "a", "d", "e", "new")} == set(ids.values())


@every_kind
def test_a_copy_is_of_what_its_source_was(store: WritableStore) -> None:
    store.apply([photo("a", AXES[0], "old")], 1)
    for changes in (
        [Copied(1, state("b")), photo("a", AXES[1], "new")],
        [photo("a", AXES[2], "newer"), Copied(1, state("c"))],
        [Gone(1), Copied(1, state("d"))],
    ):
        store.apply(changes, 1)
    assert contents(store) == {"b": "old", "c": "new", "d": "newer"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS[:2], ids=["SQLite", "SQLite in segments"])
def test_stores_agree_after_any_batches(opened: Opened, tmp_path: Path, seed: int) -> None:
    """With the one in memory, which is simple enough to be believed."""
    random = np.random.default_rng(seed)
    numbers = ("0", "IMG_20190102_030405", "IMG-20210714-WA0001")
    pool = [Path(name) / number for name in STRANGE for number in numbers]

    def batch(step: int, by: Opened) -> list[Change]:
        """Return the same changes for each store, whatever its ids are."""
        draw = np.random.default_rng([seed, step])
        known = names(by.store)
        ids = [known[name] for name in draw.permutation(sorted(known))]
        files = [state(pool[n], int(draw.integers(1, 9))) for n in draw.permutation(len(pool))]
        changes: list[Change] = [Moved(id_, files.pop()) for id_ in ids[0:4]]
        changes += [Touched(id_, files.pop()) for id_ in ids[4:6]]
        changes += [Copied(id_, files.pop()) for id_ in ids[2:8]]
        changes += [Gone(id_) for id_ in ids[8 : 8 + int(draw.integers(0, 6))]]
        changes += [Failed(files.pop(), f"no {n}") for n in range(2)]
        changes.append(ForgetFailure(files[0].path))
        embed = (AXES, SMALL)[step % 3 == 2]
        for _ in range(int(draw.integers(0, 8))):
            content = f"content {draw.integers(0, 9)}"
            vector = embed[int(content[-1]) % len(embed)]
            words = (Word("title", content), Word("keyword", f"embedded at {step}"))
            changes.append(replace(photo("-", vector, content), file=files.pop(), words=words))
        taken = PhotoMetadata(4, 3, "JPEG", taken_at="2021-07-14T10:11:12+02:00", facts=FACTS)
        changes.append(Completed(f"content {draw.integers(0, 9)}", taken, (Word("person", "Ä"),)))
        beside = tuple(state(f"{n}.xmp") for n in range(int(draw.integers(0, 3))))
        changes += [SidecarsRead(id_, beside, (Word("title", "sea"),)) for id_ in ids[3:9:2]]
        order = draw.permutation(len(changes))
        return [changes[n] for n in order]

    with KINDS[2].opened(tmp_path / "none") as simple:
        for step in range(25):
            model = 2 if step % 3 == 2 else 1
            before = everything(simple.store)
            assert everything(opened.store) == before
            for one in (opened, simple):
                one.store.apply(batch(step, one), model)
            if opened.kind.in_segments and random.random() < 0.3:
                opened.store.refresh_vectors(model)
        assert everything(opened.store) == everything(simple.store)
        queries = unit_vectors(3, seed=9)
        scores = [one.store.search(1, queries, 60)[0] for one in (opened, simple)]
        np.testing.assert_allclose(*scores, atol=2e-6)


# What photos and their sidecars say


@every_kind
def test_words_come_with_a_photo_and_go_with_it(store: WritableStore) -> None:
    sea, anna = Word("title", "The sea"), Word("person", "Anna 'n' \u202e\udcff")
    store.apply([replace(photo("a", AXES[0], "a"), words=(sea, anna)), photo("b", AXES[1], "b")], 1)
    assert store.words([1, 2, 77]) == {1: (sea, anna)}
    store.apply([Copied(1, state("c")), Moved(1, state("d"))])
    ids = names(store)
    assert store.words(list(ids.values())) == {ids["c"]: (sea, anna), ids["d"]: (sea, anna)}
    store.apply([replace(photo("d", AXES[2], "new"), words=(anna,)), Gone(ids["c"])], 1)
    assert store.words(list(ids.values())) == {ids["d"]: (anna,)}


@every_kind
def test_words_of_sidecars_stand_before_those_of_the_photo(store: WritableStore) -> None:
    sea, beach, both = Word("title", "sea"), Word("title", "beach"), Word("keyword", "2021")
    store.apply([replace(photo("a", AXES[0], "a"), words=(sea, both))], 1)
    store.apply([SidecarsRead(1, (state("a.xmp"),), (beach, both)), SidecarsRead(77, (), (sea,))])
    assert store.words([1]) == {1: (beach, both, sea)}
    known = SeenSidecar(*(to_text(PHOTOS / name) for name in ("a", "a.xmp")), 10, 100)
    assert store.known_sidecars([PHOTOS]) == store.known_sidecars([PHOTOS / "a"]) == {known}
    assert known.state() == state("a.xmp")
    assert store.known_sidecars([PHOTOS / "b"]) == set()
    store.apply([replace(photo("a", AXES[1], "other"), words=(both,))], 1)
    assert store.words([1]) == {1: (beach, both)}
    store.apply([SidecarsRead(1, ())])
    assert store.words([1]) == {1: (both,)}


@every_kind
def test_photos_of_an_older_run_are_completed_with_their_copies(store: WritableStore) -> None:
    store.apply([photo("a", AXES[0], "a"), photo("b", AXES[1], "b")], 1)
    store.apply([Copied(1, state("c"))])
    assert store.incomplete() == 3
    known = PhotoMetadata(4, 3, "JPEG", perceptual_hash="0f", place="Nizza", facts=FACTS)
    store.apply([Completed("a", known, (Word("title", "sea"),))])
    assert store.incomplete() == 1
    assert store.photos([1])[1].metadata == store.photos([3])[3].metadata == known
    assert store.words([1, 2, 3]) == dict.fromkeys((1, 3), (Word("title", "sea"),))
    store.apply([Completed("a", replace(known, place=None))])  # which the file does not say
    assert store.photos([1])[1].metadata == known
    assert store.words([1]) == {}
    assert [known.photo_id for known in store.to_complete([PHOTOS])] == [2]
    assert store.to_complete([PHOTOS / "a"]) == []
    np.testing.assert_allclose(store.vectors(1, [1]), AXES[:1], atol=1e-3)


@every_kind
def test_places_are_named_by_position_once_each(store: WritableStore) -> None:
    def at(name: str, n: int, *position: float | None) -> Change:
        one = photo(name, AXES[n])
        latitude, longitude = position
        where = replace(one.metadata, latitude=latitude, longitude=longitude)
        return replace(one, metadata=where)

    store.apply([at("a", 0, 50.1, 14.4), at("b", 1, 50.1, 14.4), at("sea", 2, 30.0, -40.0)], 1)
    store.apply([at("nowhere", 3, None, None), at("half", 4, 50.1, None)], 1)
    assert sorted(store.unnamed_positions(10)) == [(30.0, -40.0), (50.1, 14.4)]
    assert len(store.unnamed_positions(1)) == 1
    store.apply([Named(50.1, 14.4, "Prague, CZ"), Named(30.0, -40.0, None), Named(1, 1, "Sea")])
    assert store.unnamed_positions(10) == []
    places = {
        name: store.photos([id_])[id_].metadata.place or None for name, id_ in names(store).items()
    }
    assert places == {
        **dict.fromkeys(("a", "b"), "Prague, CZ"),
        **dict.fromkeys(("sea", "nowhere", "half")),
    }
    missing = store.select(Missing("place"), [])
    assert missing is not None
    ids = store.photos_below(None)
    assert len(ids[missing.holds(ids)]) == 3
    # One that is named stays so, and edited it is looked for again.
    store.apply([Named(50.1, 14.4, "Praha, CZ")])
    assert store.photos([names(store)["a"]])[names(store)["a"]].metadata.place == "Prague, CZ"
    store.apply([replace(at("a", 5, 50.2, 14.4), content_hash="edited")], 1)
    assert store.unnamed_positions(10) == [(50.2, 14.4)]


@every_kind
def test_a_photo_without_a_date_has_that_of_its_name(store: WritableStore) -> None:
    taken = PhotoMetadata(4, 3, "JPEG", taken_at="2020-05-06T07:08:09+02:00")
    name = "IMG_20190102_030405.jpg"
    store.apply([photo(name, AXES[0], "a"), photo("b", AXES[1], "b")], 1)
    store.apply([replace(photo("c", AXES[2], "c"), metadata=taken)], 1)

    def moments() -> dict[str, tuple[str | None, str | None]]:
        photos = store.photos(list(names(store).values())).values()
        return {one.file.path.name: (one.moment, one.moment_from) for one in photos}

    said, named = ("2020-05-06T07:08:09", "photo"), ("2019-01-02T03:04:05", "name")
    assert moments() == {name: named, "b": (None, None), "c": said}
    ids = names(store)
    store.apply([Moved(ids[name], state("a")), Moved(ids["b"], state("IMG-20210714-WA0001.jpg"))])
    assert moments() == {
        **{"a": (None, None), "c": said},
        "IMG-20210714-WA0001.jpg": ("2021-07-14", "name"),
    }
    store.apply([Completed("a", taken), Copied(ids["c"], state(name))])
    assert moments()["a"] == moments()[name] == said


# Models


@every_kind
def test_a_model_is_known_by_what_it_computes(store: WritableStore) -> None:
    moved = replace(ONE, name=STRANGE[10])
    assert store.add_model(moved) == 1
    assert [row.identity for row in store.models()] == [moved, OTHER]
    assert store.add_model(replace(ONE, weights_sha256="cc")) == 3


@every_kind
def test_queries_change_over_to_a_model_at_once(opened: Opened) -> None:
    store, reader = opened.store, opened.reader()
    store.apply([photo("a", AXES[0], "h"), UseModel(1)], 1)
    with reader.reading():
        assert [row.is_current for row in reader.models()] == [True, False]
        store.apply([photo("a", SMALL[0], "h"), UseModel(2)], 2)
        assert [(row.photos, row.is_current) for row in reader.models()] == [(1, True), (0, False)]
    assert [(row.photos, row.is_current) for row in reader.models()] == [(1, False), (1, True)]


# What a run asks


@every_kind
def test_files_are_compared_with_what_is_known(store: WritableStore) -> None:
    store.apply([photo(name, AXES[0]) for name in STRANGE], 1)
    store.apply([photo("other", SMALL[0])], 2)
    states = store.known_states(1, [PHOTOS])
    expected = {(to_text(PHOTOS / name), 10, 100) for name in STRANGE}
    assert states == expected | {(to_text(PHOTOS / "other"), 10, None)}
    assert {row[2] for row in store.known_states(None, [PHOTOS])} == {None}
    assert len(store.known_states(1, [PHOTOS / "trip", PHOTOS / "a_b"])) == 2
    assert store.known_states(1, []) == store.known_states(1, [Path("/nowhere")]) == set()
    known = store.known_of(1, states)
    assert known.keys() == {PHOTOS / name for name in (*STRANGE, "other")}
    assert {path.name for path, one in known.items() if not one.embedded} == {"other"}
    assert known[PHOTOS / "trip"].content_hash == "hash of trip"
    assert store.known_of(1, []) == {}


# One writer


@every_kind
def test_only_the_writer_changes_anything(opened: Opened) -> None:
    store = opened.store
    refused: list[BaseException] = []

    def change() -> None:
        for write in (
            lambda: store.apply([]),
            lambda: store.add_model(ONE),
            lambda: store.refresh_vectors(1),
        ):
            with pytest.raises(RuntimeError, match="only inside") as caught:
                write()
            refused.append(caught.value)

    thread = threading.Thread(target=change)
    thread.start()
    thread.join()
    assert len(refused) == 3


@every_kind
def test_a_second_writer_is_told_or_waits_its_turn(opened: Opened) -> None:
    store = opened.store
    said: list[str] = []
    got: list[str] = []
    asked = threading.Event()

    def write() -> None:
        with pytest.raises(LibraryLocked), store.writing():
            got.append("at once")
        with pytest.raises(LibraryLocked), store.writing(wait=True, stop=lambda: True):
            got.append("after giving up")

        def waiting(line: str) -> None:
            said.append(line)
            asked.set()

        with store.writing(wait=True, waiting=waiting):
            store.apply([photo("b", AXES[1], "b")], 1)
            got.append("in turn")

    thread = threading.Thread(target=write)
    thread.start()
    assert asked.wait(30)
    store.apply([photo("a", AXES[0], "a")], 1)
    assert contents(store) == {"a": "a"}
    opened.release()
    thread.join(30)
    assert (got, len(said)) == (["in turn"], 1)
    assert "writing" in said[0]
    assert contents(store) == {"a": "a", "b": "b"}


@every_kind
def test_a_store_that_was_closed_takes_nothing(opened: Opened) -> None:
    opened.store.close()
    with pytest.raises(LibraryClosed):
        opened.store.apply([photo("a", AXES[0])], 1)
    with pytest.raises(LibraryClosed), opened.store.writing():
        pass


# Where the second part is not offered


def test_a_store_that_is_filled_elsewhere_is_refused_in_one_line(tmp_path: Path) -> None:
    with KINDS[2].opened(tmp_path / "none") as opened:
        with pytest.raises(LibraryReadOnly) as caught:
            writable(opened.reader(), "/libraries/theirs")
        assert str(caught.value).startswith("/libraries/theirs: ")
        assert "\n" not in str(caught.value)
        assert writable(opened.store, "mine") is opened.store


def test_one_that_was_opened_for_reading_is_not_written_to(tmp_path: Path) -> None:
    with KINDS[0].opened(tmp_path / "library"):
        reader = Store.open(tmp_path / "library", read_only=True)
        with pytest.raises(LibraryReadOnly), reader.writing():
            pass


@pytest.mark.parametrize("part", [SearchableStore, WritableStore])
def test_each_part_is_small(part: type) -> None:
    own = [name for name in vars(part) if not name.startswith("_")]
    assert len(own) <= 20  # with what the page counts, and what is kept for it
