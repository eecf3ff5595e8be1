from clipsearch.results import Hit
from clipsearch.searching.folding import folded, marked


def hit(number: int, content: str | None = None) -> Hit:
    facts = (1, 1, "JPEG", 1, None, None, None, None, None)
    return Hit(number, 0.5, f"/{number}.jpg", number, *facts, content or str(number))


def test_a_hit_stands_behind_the_first_that_it_is_linked_with() -> None:
    hits = [hit(10), hit(11), hit(12), hit(13, "10"), hit(14)]
    found = marked(hits, {2: [1], 4: [2]})  # 14 is like 12, which is like 11
    assert [one.behind for one in found] == [None, None, 11, 10, 11]
    shown = folded(found)
    assert [(one.id, one.alike) for one in shown] == [(10, (13,)), (11, (12, 14))]


def test_what_comes_later_changes_nothing_of_what_came_before() -> None:
    hits = [hit(10), hit(11), hit(12), hit(13)]
    links = {1: [0], 3: [2, 0]}
    for count in range(5):
        found = marked(hits[:count], {place: links[place] for place in links if place < count})
        assert found == marked(hits, links)[:count]
