from clipsearch.searching.folding import fronts


def test_a_photo_stands_behind_the_first_that_it_is_linked_with() -> None:
    contents = ["10", "11", "12", "10", "14"]
    links = {2: [1], 4: [2]}  # the last is like the third, which is like the second
    assert fronts(contents, links) == [0, 1, 1, 0, 1]


def test_what_comes_later_changes_nothing_of_what_came_before() -> None:
    contents = ["10", "11", "12", "13"]
    links = {1: [0], 3: [2, 0]}
    for count in range(5):
        known = {place: links[place] for place in links if place < count}
        assert fronts(contents[:count], known) == fronts(contents, links)[:count]
