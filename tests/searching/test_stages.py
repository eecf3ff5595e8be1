"""From a ranking to what is shown: the cut, the folding, the order, the page."""

import random
from dataclasses import replace

import pytest

from clipsearch import Hit, SearchOptions
from clipsearch.searching.stages import as_ranked, shown


def hit(number: int, **values: object) -> Hit:
    made = Hit(
        **{
            "rank": number,
            "score": 1 - number / 1e5,
            "source": f"/photos/{number * 7919 % 1000:04}.jpg",
            "id": number,
            "width": 4,
            "height": 3,
            "format": "JPEG",
            "size": 1,
            "taken_text": None,
            "camera": None,
            "lens": None,
            "latitude": None,
            "longitude": None,
            "content_hash": str(number),
        }
    )
    return replace(made, **values)


def ranking_of(hits):
    def ranking(n):
        return hits[:n]

    return ranking


def ids(found):
    return [one.id for one in found[0]]


def test_pages_have_neither_gaps_nor_repeats():
    chance = random.Random(5)
    hits = [
        hit(
            number,
            relevance=0.9 if chance.random() < 0.4 else 0.1,
            content_hash=str(chance.randrange(150)),
        )
        for number in range(1, 400)
    ]
    for usual in (SearchOptions(), SearchOptions(relevant=True, fold=True)):
        at_once = ids(shown(ranking_of(hits), replace(usual, k=10_000)))
        pages = []
        while page := ids(shown(ranking_of(hits), replace(usual, k=7, offset=len(pages)))):
            pages += page
        assert pages == at_once
    assert len(at_once) < 110


def test_k_counts_what_is_shown():
    hits = [hit(number, relevance=0.9 if number % 10 == 0 else 0.1) for number in range(1, 500)]
    found, weak = shown(ranking_of(hits), SearchOptions(k=20, relevant=True))
    assert [(one.rank, one.id) for one in found] == [(n, 10 * n) for n in range(1, 21)]
    assert weak >= 180
    found, weak = shown(ranking_of(hits), SearchOptions(k=20))
    assert ([one.id for one in found], weak) == (list(range(1, 21)), 18)


def test_nothing_is_looked_for_where_all_is_weak():
    asked = []

    def ranking(n):
        asked.append(n)
        return [hit(number, relevance=0.1) for number in range(1, n + 1)]

    found, weak = shown(ranking, SearchOptions(relevant=True))
    assert (found, weak) == ([], 100)
    assert asked == [20, 100]


def test_what_was_found_by_words_or_has_no_relevance_is_never_cut():
    hits = [hit(1, relevance=0.1, why=("visual", "words")), hit(2), hit(3, relevance=0.2)]
    assert ids(shown(ranking_of(hits), SearchOptions(relevant=True))) == [1, 2]


def test_copies_are_folded_or_only_marked():
    hits = [hit(number, content_hash=str(number % 3)) for number in range(1, 8)]
    folded, _ = shown(ranking_of(hits), SearchOptions(fold=True))
    assert [(one.id, one.alike) for one in folded] == [(1, (4, 7)), (2, (5,)), (3, (6,))]
    marked, _ = shown(ranking_of(hits), SearchOptions())
    assert [one.behind for one in marked] == [None, None, None, 1, 2, 3, 1]


def test_by_date_the_newest_comes_first_and_those_without_last():
    days = {1: None, 2: "2021-07-14", 3: "2023-01-02T03:04:05+09:00", 4: "2023-01-02T05:00:00"}
    hits = [hit(number, taken_text=day, relevance=0.9) for number, day in days.items()]
    found = shown(ranking_of(hits), SearchOptions(sort="date", relevant=True))
    assert ids(found) == [4, 3, 2, 1]
    assert [one.rank for one in found[0]] == [1, 2, 3, 4]


def test_all_relevant_are_put_in_order_but_of_the_others_the_page_alone():
    known = [hit(number, relevance=0.9) for number in range(1, 300)]
    by_path = sorted(known, key=lambda one: one.source)
    options = SearchOptions(k=5, offset=5, sort="path", relevant=True)
    assert ids(shown(ranking_of(known), options)) == [one.id for one in by_path[5:10]]
    unknown = [replace(one, relevance=None) for one in known]
    for hits, usual in ((known, replace(options, relevant=False)), (unknown, options)):
        page = ids(shown(ranking_of(hits), usual))
        assert sorted(page) == [6, 7, 8, 9, 10]
        assert page != sorted(page)


@pytest.mark.parametrize(
    ("options", "plain"),
    [({}, True), ({"k": 3}, True), ({"offset": 1}, False), ({"fold": True}, False)],
)
def test_what_needs_no_stage(options, plain):
    assert as_ranked(SearchOptions(**options)) is plain
