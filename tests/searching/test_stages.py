"""From a ranking to what is shown: the cut, the folding, the order, the page."""

import random
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from clipsearch import SearchOptions
from clipsearch.index.records import FileState, PhotoMetadata, PhotoRecord
from clipsearch.searching import stages
from clipsearch.searching.ranking import Ranked
from clipsearch.searching.stages import PATIENCE, as_ranked, end_of

MOST_PAGES = 200  # more are asked for only by a page that does not end


@dataclass(frozen=True)
class Found:
    """A photo of a ranking that a test makes up."""

    id: int
    relevance: float = 0.9
    by_words: bool = False
    content: str = ""
    moment: str | None = None

    @property
    def record(self):
        file = FileState(Path(f"/photos/{self.id * 7919 % 1000:04}.jpg"), 1, 1)
        said = PhotoMetadata(4, 3, "JPEG", self.moment)
        return PhotoRecord(self.id, file, self.content or str(self.id), said, "", self.moment, None)


def shown(photos, options, *, judged=True, asked=None, linking=None):
    """Return what `stages.shown` makes of a ranking of these photos."""
    records = {photo.id: photo.record for photo in photos}

    def ranks(n):
        if asked is not None:
            asked.append(n)
        some = photos[:n]
        return Ranked(
            np.array([photo.id for photo in some], np.int64),
            np.array([1 - photo.id / 1e5 for photo in some], np.float32),
            np.array([photo.by_words for photo in some], np.bool_),
            np.array([photo.relevance for photo in some], np.float32) if judged else None,
        )

    def rows(ids):
        return [records[id_] for id_ in ids]

    given = () if linking is None else (linking,)
    return stages.shown(ranks, options, rows, *given)


def ids(found):
    return [one.id for one in found[0]]


@pytest.mark.parametrize("relevant_part", [0.4, 0.05])  # of which the ranking ends early
def test_pages_have_neither_gaps_nor_repeats(relevant_part):
    chance = random.Random(5)
    photos = [
        Found(
            number,
            relevance=0.9 if chance.random() < relevant_part else 0.1,
            content=str(chance.randrange(150)),
        )
        for number in range(1, 400)
    ]
    for usual in (SearchOptions(), SearchOptions(relevant=True, fold=True)):
        at_once = ids(shown(photos, replace(usual, k=10_000)))
        pages = []
        for _ in range(MOST_PAGES):
            page, _ = shown(photos, replace(usual, k=7, offset=len(pages)))
            if not page:
                break
            assert [one.rank for one in page] == [*range(len(pages) + 1, len(pages + page) + 1)]
            pages += [one.id for one in page]
        assert pages == at_once
    assert 0 < len(at_once) < 110


def test_k_counts_what_is_shown():
    photos = [Found(n, relevance=0.9 if n % 10 == 0 else 0.1) for n in range(1, 500)]
    found, weak = shown(photos, SearchOptions(k=20, relevant=True))
    assert [(one.rank, one.id) for one in found] == [(n, 10 * n) for n in range(1, 21)]
    assert weak >= 180
    found, weak = shown(photos, SearchOptions(k=20))
    assert ([one.id for one in found], weak) == (list(range(1, 21)), 18)


def test_copies_take_no_place_of_those_that_are_wanted():
    photos = [Found(number, content=str(number // 30)) for number in range(1, 3000)]
    found, _ = shown(photos, SearchOptions(k=50, fold=True))
    assert [one.id for one in found] == [1, *(30 * n for n in range(1, 50))]
    assert found[1].alike == tuple(range(31, 60))


def test_nothing_is_looked_for_where_all_is_weak():
    asked = []
    photos = [Found(number, relevance=0.1) for number in range(1, 1000)]
    found, weak = shown(photos, SearchOptions(relevant=True), asked=asked)
    assert (found, weak) == ([], 30)
    assert asked == [30]


@pytest.mark.parametrize("weak", [PATIENCE - 1, PATIENCE, PATIENCE + 1])
def test_the_ranking_ends_where_too_many_in_a_row_are_weak(weak):
    relevant = np.array([True, False, True, *[False] * weak, True])
    for length in range(len(relevant) + 1):  # however much is seen of it
        ends = weak >= PATIENCE and length >= 3 + PATIENCE
        assert end_of(relevant[:length]) == (3 if ends else length)
    assert end_of(np.zeros(weak, np.bool_)) == (0 if weak >= PATIENCE else weak)
    assert end_of(np.ones(weak, np.bool_)) == weak


def test_what_was_found_by_words_or_has_no_relevance_is_never_cut():
    photos = [Found(1, relevance=0.1, by_words=True), Found(2), Found(3, relevance=0.2)]
    cut = SearchOptions(relevant=True)
    assert ids(shown(photos, cut)) == [1, 2]
    assert ids(shown(photos, cut, judged=False)) == [1, 2, 3]


def test_copies_are_folded_or_only_marked():
    photos = [Found(number, content=str(number % 3)) for number in range(1, 8)]
    folded, _ = shown(photos, SearchOptions(fold=True))
    assert [(one.id, one.alike) for one in folded] == [(1, (4, 7)), (2, (5,)), (3, (6,))]
    marked, _ = shown(photos, SearchOptions())
    assert [one.behind for one in marked] == [None, None, None, 1, 2, 3, 1]


def test_what_shows_the_same_is_folded_too():
    def linking(records, vectors):
        assert vectors is None
        return {place: [place - 1] for place in range(1, len(records)) if records[place].id % 2}

    photos = [Found(number) for number in range(1, 7)]
    folded, _ = shown(photos, SearchOptions(fold=True), linking=linking)
    assert [(one.id, one.alike) for one in folded] == [(1, ()), (2, (3,)), (4, (5,)), (6, ())]
    marked, _ = shown(photos, SearchOptions(), linking=linking)
    assert [one.behind for one in marked] == [None] * 6


def test_by_date_the_newest_comes_first_and_those_without_last():
    days = {1: None, 2: "2021-07-14", 3: "2023-01-02T03:04:05", 4: "2023-01-02T05:00:00"}
    photos = [Found(number, moment=day) for number, day in days.items()]
    found = shown(photos, SearchOptions(sort="date", relevant=True))
    assert ids(found) == [4, 3, 2, 1]
    assert [one.rank for one in found[0]] == [1, 2, 3, 4]


def test_all_relevant_are_put_in_order_but_of_the_others_the_page_alone():
    photos = [Found(number) for number in range(1, 300)]
    by_path = sorted(photos, key=lambda one: one.record.file.path)
    options = SearchOptions(k=5, offset=5, sort="path", relevant=True)
    found = shown(photos, options)
    assert ids(found) == [one.id for one in by_path[5:10]]
    assert [one.rank for one in found[0]] == [6, 7, 8, 9, 10]
    for judged, usual in ((True, replace(options, relevant=False)), (False, options)):
        page = ids(shown(photos, usual, judged=judged))
        assert sorted(page) == [6, 7, 8, 9, 10]
        assert page != sorted(page)


@pytest.mark.parametrize(
    ("options", "plain"),
    [({}, True), ({"k": 3}, True), ({"offset": 1}, False), ({"fold": True}, False)],
)
def test_what_needs_no_stage(options, plain):
    assert as_ranked(SearchOptions(**options)) is plain
