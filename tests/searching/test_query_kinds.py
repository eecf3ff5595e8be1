"""Photos of the library and embeddings as questions, alone and in sums."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_photos import small_photos

from clipsearch import Hit, InvalidInput, Library, PhotoRecord, term

PHOTOS = 14


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Return a library of a few photos, of which the first has a copy in another folder."""
    place = tmp_path_factory.mktemp("kinds")
    (place / "photos" / "copies").mkdir(parents=True)
    for number, photo in enumerate(small_photos()[:PHOTOS]):
        (place / "photos" / f"{number:02}.jpg").write_bytes(photo)
    shutil.copyfile(place / "photos" / "00.jpg", place / "photos" / "copies" / "same.jpg")
    with Library(place / "library", device="cpu") as made:
        made.index([place / "photos"], model="builtin")
        yield made


def ids(hits: Any) -> list[int]:
    return [hit.id for hit in hits]


def the(library: Library, name: str) -> Hit:
    return next(hit for hit in library.list(k=50) if hit.path.name == name)


KINDS: list[Callable[[Library, Hit], Hit | PhotoRecord]] = [
    lambda library, hit: hit,
    lambda library, hit: library.photo(hit.id),
]


@pytest.mark.parametrize("kind", KINDS, ids=["hit", "record"])
def test_a_photo_of_the_library_asks_as_its_file_does(
    library: Library, kind: Callable[[Library, Hit], Hit | PhotoRecord]
) -> None:
    hit = the(library, "03.jpg")
    assert library.query(kind(library, hit), k=50) == library.query(hit.path, k=50)
    in_a_sum = library.query(term(kind(library, hit)) - "grass", k=50)
    assert in_a_sum == library.query(term(hit.path) - "grass", k=50)


@pytest.mark.parametrize("kind", KINDS, ids=["hit", "record"])
def test_similar_leaves_it_and_its_copies_out(
    library: Library, kind: Callable[[Library, Hit], Hit | PhotoRecord]
) -> None:
    hit, copy = the(library, "00.jpg"), the(library, "same.jpg")
    found = library.similar(kind(library, hit), k=50)
    assert set(ids(library.list(k=50))) - set(ids(found)) == {hit.id, copy.id}
    several = library.similar([kind(library, hit), the(library, "01.jpg")], k=50)
    assert len(several) == PHOTOS + 1 - 3


def test_a_photo_asks_though_its_file_is_away(library: Library, tmp_path: Path) -> None:
    hit = the(library, "05.jpg")
    expected = library.similar(hit.path, k=5)
    aside = shutil.move(hit.path, tmp_path / "aside.jpg")
    try:
        assert library.similar(hit, k=5) == expected
    finally:
        shutil.move(aside, hit.path)


def test_a_photo_that_is_another_by_now_is_refused(library: Library) -> None:
    hit = the(library, "03.jpg")
    with pytest.raises(InvalidInput, match=f"photo {hit.id} is not in this library, or is another"):
        library.query(replace(hit, content_hash="0" * 64))


def test_an_embedding_finds_what_it_was_made_of_does(library: Library) -> None:
    of_words = library.encode_text("a dog")[0]
    assert library.query(of_words, k=50) == library.query("a dog", k=50, only="visual")
    hit = the(library, "03.jpg")
    of_photo = library.vectors([hit.id])[0]
    found = library.query(of_photo, k=50)
    assert found == library.query(hit, k=50)
    assert [one.relevance for one in found] == [one.relevance for one in library.query(hit, k=50)]
    both = library.query(term(of_words) + 0.5 * term(of_photo), k=50)
    assert ids(both) == ids(library.query(term("a dog") + 0.5 * term(hit), k=50, only="visual"))
    assert ids(library.similar(of_photo, k=50)) == ids(found)  # which photo it is of is not known


def test_several_embeddings_are_several_questions(library: Library) -> None:
    vectors = library.encode_text(["a dog", "a house", "food"])
    expected = library.query_batch(["a dog", "a house", "food"], k=5)
    assert library.query_batch(vectors, k=5) == expected
    assert library.query_batch(list(vectors), k=5) == expected
    assert library.query_batch(vectors[0], k=5) == expected[:1]
    assert np.array_equal(library.encode_images(vectors), vectors)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.ones(256, np.float32), "unit length, not 16"),
        (np.zeros(256, np.float32), "unit length, not 0"),
        (np.full(256, np.nan, np.float32), "finite"),
        (np.full(256, np.inf, np.float32), "finite"),
        (np.array([1, 0, 0], np.float32), "256 wide, not 3"),
        (np.array([], np.float32), "finite"),
        (np.ones((2, 256), np.float32), "height x width x 3"),
        (np.zeros(256, np.uint8), "height x width x 3"),
        (np.array(["a"]), "height x width x 3"),
    ],
    ids=str,
)
def test_what_can_be_no_embedding_is_refused(library: Library, wrong: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        library.query(wrong)
    with pytest.raises(InvalidInput, match=said):
        library.query(term(wrong) + "a dog")


def test_an_embedding_is_taken_as_it_is(library: Library) -> None:
    """As those stored, in float16, it may be a little off unit length; more exact types do, too."""
    vector = library.vectors([the(library, "03.jpg").id])[0]
    assert 0 < abs(np.linalg.norm(vector.astype(np.float64)) - 1) < 1e-3
    same = library.query(vector.astype(np.float64), k=5)
    assert same == library.query(vector, k=5)
