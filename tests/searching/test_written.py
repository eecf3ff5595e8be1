"""What words of a question add to the cosines of photos, worked out by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from made_hits import made_hit
from numpy.typing import NDArray

from clipsearch.searching import words
from clipsearch.searching.words import Written, matching_text

LIFTS = {1: 0.1, 2: 0.2, 3: 0.2}
COSINES = {1: 0.3, 2: 0.1, 3: 0.15}


def written(**other: object) -> Written:
    shares = {1: 0.49, 2: 0.5, 3: 1.0}
    given = {"words": ("star",), "cosines": COSINES, "lifts": LIFTS, "shares": shares, "missing": 0}
    return Written(**{**given, **other})  # type: ignore[arg-type]


def test_what_holds_half_of_what_the_question_says_is_found_by_its_words() -> None:
    assert [id_ for id_ in range(5) if written().finds(id_)] == [2, 3]


def test_a_lift_is_added_to_what_is_seen_and_alone_comes_before_it() -> None:
    assert written().ranked({4: 0.36, 5: 0.05}) == [1, 4, 3, 2, 5]  # 0.4, 0.36, 0.35, 0.3, 0.05
    assert written().ranked({}) == [3, 2, 1]  # the greatest lift; of two, the nearer
    assert written().but([1, 3]).ranked({}) == [2]
    assert written().but([1, 3]).cosines == {2: 0.1}


@dataclass
class Place:
    folders: tuple[()] = ()


@dataclass
class FakeStore:
    """Says which photos hold words, and how near photos are."""

    ids: tuple[int, ...] = ()
    has: tuple[tuple[bool, ...], ...] = ()
    weights: tuple[float, ...] = ()
    cosines: dict[int, float] = field(default_factory=dict)
    texts: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    missing: int = 0

    def find_words(self, _words: object, _selected: object) -> FakeStore:
        return self

    @property
    def photo_ids(self) -> NDArray[np.int64]:
        return np.array(self.ids, np.int64)

    def search(self, _model: int, _vector: object, k: int, *, selected: object, exact: bool):
        assert exact
        allowed = [id_ for id_ in self.ids if selected.holds(np.array([id_]))[0]]  # type: ignore[attr-defined]
        best = sorted(allowed, key=lambda id_: -self.cosines[id_])[:k]
        return np.array([[self.cosines[id_] for id_ in best]]), np.array([best])

    def words(self, _ids: object) -> dict[int, list[tuple[str, str]]]:
        return self.texts

    def places(self) -> Place:
        return Place()


def as_arrays(store: FakeStore) -> FakeStore:
    store.has = np.array(store.has, bool)  # type: ignore[assignment]
    store.weights = np.array(store.weights, np.float32)  # type: ignore[assignment]
    return store


def found_in(store: FakeStore, question: str, **how: object) -> Written:
    given = {"scale": 10.0, "selected": None, **how}
    return Written.of(as_arrays(store), 1, np.zeros(2, np.float32), question, **given)  # type: ignore[arg-type]


def test_a_word_that_says_nothing_is_none_of_the_questions(monkeypatch) -> None:
    monkeypatch.setattr(words, "LIFT", 2.0)
    store = FakeStore((7, 8), ((True, False), (True, True)), (0.0, 0.4), {7: 0.5, 8: 0.2})
    found = found_in(store, "dog star")
    assert found.words == ("star",)
    assert found.shares == {7: 0.0, 8: 1.0}
    assert found.lifts == pytest.approx({7: 0.0, 8: 2 / 10 * 1 * 0.4})
    assert found_in(store, "dog star", least=0.3).cosines == {7: 0.5}


def test_of_too_many_the_greatest_lifts_count_and_where_they_tie_the_nearest() -> None:
    has = tuple((True, number > 3) for number in range(1, 6))
    cosines = {1: 0.9, 2: 0.8, 3: 0.7, 4: 0.1, 5: 0.2}
    store = FakeStore((1, 2, 3, 4, 5), has, (0.3, 0.3), cosines)
    assert {*found_in(store, "dog star", most=3).lifts} == {1, 4, 5}
    assert {*found_in(store, "dog star", most=1).lifts} == {5}


def test_why_a_photo_was_found_tells_words_from_sight(tmp_path: Path) -> None:
    hits = [made_hit(tmp_path / "x.jpg", number, id=number) for number in range(1, 5)]
    hits[1] = made_hit(tmp_path / "star.jpg", 2, id=2)
    hits[2] = made_hit(tmp_path / "x.jpg", 3, id=3, place="Star, US")
    store = FakeStore(texts={1: [("title", "A star")]})
    said = written().explained(store, hits, by_sight={2, 4})  # type: ignore[arg-type]
    assert [(hit.why, hit.matched) for hit in said] == [
        (("visual",), "title: A star"),  # too little of the question to be found by it
        (("visual", "words"), "star.jpg"),
        (("words",), "place: Star, US"),
        (("visual",), None),
    ]


@pytest.mark.parametrize(
    ("asked", "source", "said", "matched"),
    [
        ("star trip", "star.jpg", [("title", "a star trip")], "title: a star trip"),
        ("star", "star trip/starfish.jpg", [], "star trip/"),
        ("star", "star/far star/x.jpg", [], "far star/"),
        ("jpg", "star.jpg", [], None),
        ("star", "star", [], "star"),
    ],
)
def test_the_fewest_texts_say_it_whole_words_before_beginnings_near_before_far(
    asked: str, source: str, said: list[tuple[str, str]], matched: str | None
) -> None:
    assert matching_text(asked.split(), f"/photos/{source}", said, ["/photos/"]) == matched


def test_folders_above_the_indexed_ones_are_none_of_a_photos_words() -> None:
    for roots in ([], ["/star/"]):
        assert matching_text(["star"], "/star/x.jpg", [], roots) is None
