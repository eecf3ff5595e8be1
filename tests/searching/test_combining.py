"""Texts and pictures added to one question, and taken away from it."""

import json
from pathlib import Path

import numpy as np
import pytest

from clipsearch import InvalidInput, Library, QuerySum, term
from clipsearch.searching.combining import Term, added, weighted, without
from clipsearch.serving.client import _terms
from clipsearch.serving.server import checked_question


def direction(vector):
    return vector / np.linalg.norm(vector)


def test_a_sum_searches_with_the_sum_of_the_unit_vectors(small_library: Path) -> None:
    photos = sorted((small_library / "photos").rglob("*.jpg"))
    with Library(small_library / "library", read_only=True) as library:
        words = library.encode_text(["a dog", "people"])
        pictures = library.encode_images(photos[:1])
        sums = {
            term("a dog") + 0.5 * term(photos[0]) - "people": words[0] + pictures[0] / 2 - words[1],
            "people" - term("a dog", 3): words[1] - 3 * words[0],
            -(term(photos[0]) * 2): -pictures[0],
        }
        for asked, vector in sums.items():
            found = library.query(asked, k=5)
            scores, ids = library.search_vectors(direction(vector)[np.newaxis], k=5)
            assert [hit.id for hit in found] == ids[0].tolist()
            np.testing.assert_allclose([hit.score for hit in found], scores[0], atol=1e-5)
        together = library.query_batch([*sums, "a dog"], k=5)
        assert together == [
            *(library.query(asked, k=5) for asked in sums),
            library.query("a dog", k=5),
        ]


def test_a_sum_of_one_part_is_that_part(small_library: Path) -> None:
    with Library(small_library / "library", read_only=True) as library:
        assert library.query(term("a dog"), k=3) == library.query("a dog", k=3)


def test_several_pictures_are_left_out_of_what_is_like_them(small_library: Path) -> None:
    photos = sorted((small_library / "photos").rglob("*.jpg"))
    with Library(small_library / "library", read_only=True) as library:
        both = library.similar(photos[:2])
        assert {hit.path for hit in both} == set(photos[2:])
        assert [hit.id for hit in library.similar(term(photos[0]) + photos[1])] == [
            hit.id for hit in both
        ]
        assert library.similar([photos[0]]) == library.similar(photos[0])
        with pytest.raises(InvalidInput, match="no picture"):
            library.similar([])


def test_what_can_not_be_meant_is_refused(small_library: Path) -> None:
    with Library(small_library / "library", read_only=True) as library:
        with pytest.raises(InvalidInput, match="cancel each other out"):
            library.query(term("a dog") - "a dog")
        with pytest.raises(InvalidInput, match="empty"):
            library.query(term("a dog") + " ")
    for weight in (float("nan"), "2", None, True):
        with pytest.raises(InvalidInput, match="a weight"):
            term("a dog", weight)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="1 to 100 parts"):
        QuerySum(())


def test_a_sum_reaches_the_server_as_it_was(small_library: Path) -> None:
    photo = min((small_library / "photos").rglob("*.jpg"))
    asked = term("a dog") + 0.5 * term(photo) - "people"
    terms, data = _terms(asked)
    message = {"command": "query", "options": {}, "terms": json.loads(json.dumps(terms))}
    arrived = checked_question(message, data)
    assert arrived.asked.terms == (
        Term(1.0, "a dog"),
        Term(0.5, photo.read_bytes()),
        Term(-1.0, "people"),
    )
    assert arrived.has_new_pictures
    for wrong in ([], None, [[1, 3]], [["1", "a dog"]], [[1, None]], [1], [[1, -1]]):
        with pytest.raises(InvalidInput):
            checked_question({**message, "terms": wrong}, b"")
    with pytest.raises(InvalidInput, match="no picture"):
        checked_question({**message, "terms": [[1, "a dog"]]}, b"left over")


@pytest.mark.parametrize("factor", [1e-300, 1e-20, 1e20, 1e300])
def test_weights_count_beside_each_other_whatever_their_size(factor: float) -> None:
    vectors = np.eye(3, dtype=np.float32)
    plain = term("a") + 0.5 * term("b") - 0.25 * term("c")
    (expected,), (found,) = added([plain], vectors), added([factor * plain], vectors)
    assert np.allclose(found, expected, atol=1e-6)


def test_weights_that_are_no_numbers_any_more_are_refused() -> None:
    with pytest.raises(InvalidInput, match="a weight must be a finite number"):
        1e200 * term("a", 1e200)
    with pytest.raises(InvalidInput, match="cancel each other out"):
        added([term("a", 0.0)], np.eye(1, dtype=np.float32))


def test_a_weight_stands_before_a_term() -> None:
    assert weighted("2:golden retriever") == (2.0, "golden retriever")
    assert weighted("0.5:a.jpg") == (0.5, "a.jpg")
    for words in ("12:30", "a new hope", "Star Wars: a new hope", "2:", ":a"):
        assert weighted(words) == (1.0, words)


def test_what_should_be_missing_is_understood() -> None:
    assert without("a beach without people") == ("a beach", "people")
    assert without("a street with no cars.") == ("a street", "cars")
    assert without("dogs but not a poodle") == ("dogs", "poodle")
    for plain in ("a beach", "without people", "a knot", "nothing but sand", "no entry"):
        assert without(plain) is None
