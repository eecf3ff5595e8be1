"""What every store finds by words: `find_words` of index/interface.py."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from every_store import KINDS, PHOTOS, Kind, Opened, every_kind, names, photo, state, unit_vectors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsearch.index.changes import (
    Change,
    Copied,
    ForgetFolder,
    Gone,
    KeepFolder,
    Moved,
    Named,
    SidecarsRead,
)
from clipsearch.index.interface import SearchableStore
from clipsearch.index.records import Word
from clipsearch.index.selection import Selection
from clipsearch.index.word_search import finding

VECTORS = unit_vectors(40)


@pytest.fixture
def opened(kind: Kind, tmp_path: Path) -> Iterator[Opened]:
    with kind.opened(tmp_path / "library") as opened:
        opened.fill([KeepFolder(PHOTOS, "folder")])
        yield opened


def named(*files: str) -> list[Change]:
    return [photo(file, VECTORS[n]) for n, file in enumerate(files)]


def found(store: SearchableStore, *words: str) -> list[str]:
    """Return the names of the photos with some of the words."""
    name_of = {id_: name for name, id_ in names(store).items()}
    return [name_of[id_] for id_ in store.find_words(words).photo_ids.tolist()]


@every_kind
def test_a_photo_has_the_words_of_its_path_below_an_indexed_folder(opened: Opened) -> None:
    opened.fill(named("machu-picchu_2019.jpg", "Rome 2019/EiffelTower.jpg", "IMG_1234.jpg"))
    store = opened.store
    assert found(store, "picchu") == ["machu-picchu_2019.jpg"]
    assert found(store, "2019") == ["machu-picchu_2019.jpg", "Rome 2019/EiffelTower.jpg"]
    assert found(store, "rome", "tower", "picchu") == found(store, "2019")
    assert found(store, "photo") == found(store, "jpg") == found(store, "1234") == []


@every_kind
def test_a_photo_has_the_words_in_it_and_beside_it(opened: Opened) -> None:
    one = replace(photo("a.jpg", VECTORS[0]), words=(Word("person", "Ann-Kathrin Müller"),))
    opened.fill([one, photo("b.jpg", VECTORS[1])])
    opened.fill([SidecarsRead(2, (state("b.xmp"),), (Word("keyword", "Fêtes"),))])
    assert found(opened.store, "muller") == ["a.jpg"]
    assert found(opened.store, "fete") == ["b.jpg"]
    opened.fill([SidecarsRead(2, (state("b.xmp"),), (Word("keyword", "wedding"),))])
    assert found(opened.store, "fete") == []
    assert found(opened.store, "wedding") == ["b.jpg"]


@every_kind
def test_a_photo_has_the_words_of_its_place_but_not_of_the_code_of_its_country(
    opened: Opened,
) -> None:
    one = photo("a.jpg", VECTORS[0])
    where = replace(one.metadata, latitude=32.7, longitude=-117.2)
    opened.fill([replace(one, metadata=where), photo("b.jpg", VECTORS[1])])
    assert found(opened.store, "diego") == []
    opened.fill([Named(32.7, -117.2, "San Diego, US")])
    assert found(opened.store, "diego") == found(opened.store, "san") == ["a.jpg"]
    assert found(opened.store, "us") == []


@every_kind
def test_words_go_with_a_photo_that_is_moved_copied_or_gone(opened: Opened) -> None:
    one = replace(photo("cat.jpg", VECTORS[0]), words=(Word("title", "Whiskers"),))
    opened.fill([one, photo("dog.jpg", VECTORS[1])])
    opened.fill([Copied(1, state("copy.jpg")), Moved(1, state("lion.jpg")), Gone(2)])
    assert found(opened.store, "cat", "dog") == []
    assert found(opened.store, "lion") == ["lion.jpg"]
    assert found(opened.store, "whisker") == ["lion.jpg", "copy.jpg"]


@every_kind
def test_where_names_begin_to_count_follows_the_folders(opened: Opened) -> None:
    opened.fill(named("trip/a.jpg"), [KeepFolder(PHOTOS / "trip", "folder")])
    assert found(opened.store, "trip") == ["trip/a.jpg"]  # below the outer of the two
    opened.fill([ForgetFolder(PHOTOS)])
    assert found(opened.store, "trip") == []
    opened.fill([KeepFolder(PHOTOS, "folder")])
    assert found(opened.store, "trip") == ["trip/a.jpg"]


@every_kind
def test_a_word_that_none_has_counts_less_for_those_that_begin_so(opened: Opened) -> None:
    opened.fill(named("didgeridoo.jpg", "star.jpg", "starfish.jpg"))
    whole, part = (opened.store.find_words([word]) for word in ("didgeridoo", "didger"))
    assert part.photo_ids.tolist() == whole.photo_ids.tolist() == [1]
    assert 0 < part.weights[0] < whole.weights[0]
    assert found(opened.store, "star") == ["star.jpg"]
    assert found(opened.store, "star*") == ["star.jpg", "starfish.jpg"]
    assert found(opened.store, "sta") == []  # too short to mean a beginning


@every_kind
def test_rare_words_say_more_and_those_of_very_many_nothing(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "COMMON", 20)
    monkeypatch.setattr(finding, "COMMON_SHARE", 0.6)
    opened.fill(
        [photo(f"{'all ' * (n < 25)}{'half ' * (n % 2)}{n}.jpg", VECTORS[n]) for n in range(40)]
    )
    opened.fill([Moved(1, state("all rare 0.jpg"))])
    store = opened.store
    rare, half, every, none = store.find_words(["rare", "half", "all", "none"]).weights
    assert 1 == none > rare > half > every == 0
    assert found(store, "all") == []
    assert found(store, "all", "rare") == ["all rare 0.jpg"]
    monkeypatch.setattr(finding, "COMMON", 25)
    opened.fill([Gone(40)])  # nothing is kept of another state
    assert len(found(store, "all")) == 25


@every_kind
def test_only_photos_that_are_selected_are_found(opened: Opened) -> None:
    opened.fill([photo(f"{'cat' if n % 3 else 'dog'} {n}.jpg", VECTORS[n]) for n in range(40)])
    random = np.random.default_rng(0)
    store, words = opened.store, ["cat", "dog"]
    everything = store.find_words(words)
    for count in (0, 1, 20, 40):
        chosen = random.choice(np.arange(1, 41), count, replace=False)
        for selection in (Selection.only_these(chosen), Selection.all_but_these(chosen)):
            some = store.find_words(words, selection)
            kept = selection.holds(everything.photo_ids)
            assert some.photo_ids.tolist() == everything.photo_ids[kept].tolist()
            assert (some.has == everything.has[kept]).all()
            assert (some.weights == everything.weights).all()  # of the whole library


@every_kind
def test_readers_see_the_words_of_the_state_they_see(opened: Opened) -> None:
    opened.fill(named("cat.jpg"))
    reader = opened.reader()
    with reader.reading():
        assert found(reader, "cat") == ["cat.jpg"]
        opened.fill([Moved(1, state("dog.jpg"))])
        assert found(reader, "cat") == ["cat.jpg"]
    assert found(reader, "cat") == []
    assert found(reader, "dog") == ["dog.jpg"]
    reader.close()


@every_kind
def test_nothing_is_found_of_no_words_and_in_an_empty_store(opened: Opened) -> None:
    assert found(opened.store) == found(opened.store, "cat") == []
    opened.fill(named("cat.jpg"))
    assert opened.store.find_words([]).has.shape == (0, 0)


NAMES = st.builds(
    "{}{}.jpg".format,
    st.sampled_from(
        ["cat", "Cats", "dog/cat", "cat dog", "Fête", "fete/IMG_1", "catalog", "a/b/dog"]
    ),
    st.integers(0, 2),
)
WORDS = st.lists(st.sampled_from(["cat", "dog", "fete", "cata", "dogg", "x", "cat*"]), max_size=4)
TEXTS = st.lists(st.sampled_from(["cat", "a fête", "Dogs & cats"]), max_size=2)
FOLDERS = st.sampled_from(["", "dog", "a/b"])
KINDS_OF_CHANGE = st.sampled_from(["add", "add", "move", "gone", "copy", "sidecar", "in", "out"])
STEPS = st.lists(st.tuples(KINDS_OF_CHANGE, NAMES, NAMES, TEXTS, FOLDERS), max_size=12)


def change(store: SearchableStore, step: tuple[str, str, str, list[str], str]) -> Change:
    """Return a change of some photo; each store numbers its photos as it likes."""
    kind, one, other, texts, folder = step
    id_ = names(store).get(one, 999)  # it may be there or not
    words = tuple(Word("title", text) for text in texts)
    match kind:
        case "add":
            return replace(photo(one, VECTORS[len(one)]), words=words)
        case "move":
            return Moved(id_, state(other))
        case "gone":
            return Gone(id_)
        case "copy":
            return Copied(id_, state(other))
        case "sidecar":
            return SidecarsRead(id_, (), words)
        case "in":
            return KeepFolder(PHOTOS / folder, "folder")
    return ForgetFolder(PHOTOS / folder)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS, st.lists(WORDS, min_size=1, max_size=4))
def test_after_any_changes_the_library_finds_what_a_plain_search_does(
    steps: list[tuple[str, str, str, list[str], str]], questions: list[list[str]]
) -> None:
    answers: list[list[dict[str, list[float]]]] = []
    for kind in (KINDS[0], KINDS[-1]):
        with tempfile.TemporaryDirectory() as place, kind.opened(Path(place) / "l") as opened:
            for step in steps:
                opened.fill([change(opened.store, step)])
            answers.append([says(opened.store, words) for words in questions])
    assert answers[0] == answers[1]


def says(store: SearchableStore, words: list[str]) -> dict[str, list[float]]:
    """Return for each photo found what each of its words says."""
    found = store.find_words(words)
    name_of = {id_: name for name, id_ in names(store).items()}
    weights = (found.has * found.weights).tolist()
    return {name_of[id_]: some for id_, some in zip(found.photo_ids.tolist(), weights, strict=True)}
