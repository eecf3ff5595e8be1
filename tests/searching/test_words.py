"""What is written beside what is seen: names and texts in one ranking with the pictures."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from math import log
from pathlib import Path

import numpy as np
import pytest
from places import DATA, EXAMPLES, ROOT

from clipsearch import Hits, InvalidInput, Library
from clipsearch.cli.quick import quick_search
from clipsearch.index.filters import Below
from clipsearch.searching import words
from clipsearch.searching.words import LIFT, matching_text

QUESTIONS = DATA / "asking" / "questions.tsv"
MORE_QUESTIONS = DATA / "asking" / "more_questions.tsv"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(EXAMPLES, tmp_path_factory.mktemp("examples") / "photos")


@pytest.fixture(scope="module")
def library(photos: Path) -> Iterator[Library]:
    with Library(photos.parent / "library", device="cpu") as library:
        library.index(photos, model="builtin")
        yield library


def names(hits: Hits) -> list[str]:
    return [hit.path.stem for hit in hits]


@pytest.mark.parametrize(("file", "most_wrong"), [(QUESTIONS, 2), (MORE_QUESTIONS, 5)])
def test_plain_questions_put_a_right_photo_first(
    library: Library, file: Path, most_wrong: int
) -> None:
    lines = [line.split("\t") for line in file.read_text().splitlines()]
    first = [names(library.query(question, k=1))[0] for question, _ in lines]
    wrong = [
        (question, name)
        for name, (question, right) in zip(first, lines, strict=True)
        if name not in right.split("|")
    ]
    assert len(lines) >= 30
    assert len(wrong) <= most_wrong, wrong


def test_each_hit_says_why_and_by_which_text(library: Library) -> None:
    first, second, *_ = library.query("an astronaut")
    assert first.path.stem == "astronaut-in-orange-suit"
    assert first.why == ("words",)  # by sight it is none of the ten
    assert first.matched == "astronaut-in-orange-suit.jpg"
    assert (second.why, second.matched) == (("visual",), None)
    kitten = library.query("kitten")[0]
    assert kitten.why == ("visual", "words")
    night = next(hit for hit in library.query("rocket at night") if "rocket" in hit.path.stem)
    assert night.matched == "rocket-on-launch-pad.jpg; night/"


def test_the_ranking_is_that_of_cosines_and_lifts(library: Library) -> None:
    question = "drums and a guitar at night"
    (cosines,), (ids,) = library.search_vectors(library.encode_text(question), k=58)
    cosine_of = dict(zip(ids.tolist(), cosines.tolist(), strict=True))
    having = {"drum": 4, "guitar": 1, "night": 5}  # in so many names, of files or folders
    says = {word: log(59 / (count + 0.5)) / log(59) for word, count in having.items()}

    def ranked(hit_id: int) -> float:
        path = library.photo(hit_id).file.path
        plain = f"{path.parent.name}-{path.stem}".replace("drums", "drum").split("-")
        held = sum(says[word] for word in says if word in plain)
        lift = held / sum(says.values()) * min(1, held)
        return cosine_of[hit_id] + LIFT / 24.18 * lift

    hits = library.query(question, k=58)
    assert {hit.id: hit.score for hit in hits} == pytest.approx(cosine_of)
    assert [hit.id for hit in hits] == sorted(cosine_of, key=ranked, reverse=True)


@pytest.mark.parametrize("question", ["a castle at night", "the Eiffel Tower", "dogs"])
def test_of_every_k_the_results_are_the_first_of_those_of_a_greater(
    library: Library, question: str
) -> None:
    every = [hit.id for hit in library.query(question, k=100)]
    assert len(every) == len(set(every)) == 58
    for k in (1, 2, 3, 7, 20, 57):
        assert [hit.id for hit in library.query(question, k=k)] == every[:k]
    page = library.query(question, k=7, offset=5)
    assert [hit.id for hit in page] == every[5:12]


def test_words_keep_within_the_filters(library: Library, photos: Path) -> None:
    within = Below(str(photos / "animals"))
    hits = library.query("an astronaut or a parrot", k=40, filters=within)
    assert len(hits) == 20
    assert all(hit.path.parent.name == "animals" for hit in hits)
    assert hits[0].path.stem == "red-parrot"


def test_by_sight_alone_names_say_nothing(library: Library) -> None:
    question = "the Eiffel Tower"
    assert library.query(question, only="visual") == library.query_batch([question])[0]
    assert "eiffel-tower" not in names(library.query(question, k=5, only="visual"))


def test_by_words_alone_only_photos_that_have_some_are_found(library: Library) -> None:
    hits = library.query("a drum and a guitar", k=20, only="words")
    assert names(hits)[0] == "drum-kit-and-guitar"
    assert sorted(names(hits)[1:]) == [
        *("drum-and-wine-in-living-room", "drum-festival-with-lanterns", "wooden-drums-on-grass"),
    ]
    scores = [hit.score for hit in hits[1:]]
    assert scores == sorted(scores, reverse=True)  # of the same words, by sight
    assert len(library.query("xyzzy", only="words")) == 0


def test_a_least_score_holds_for_what_is_written_too(library: Library) -> None:
    assert "machu-picchu" in names(library.query("Machu Picchu", k=3))
    assert "machu-picchu" not in names(library.query("Machu Picchu", k=58, min_score=0.1))


def test_the_words_of_a_sum_are_those_of_which_more_is_wanted(library: Library) -> None:
    from clipsearch import term

    hits = library.query(term("astronaut") - term("castle"), k=58)
    assert names(hits)[0] == "astronaut-in-orange-suit"
    assert names(hits).index("castle-above-forest") > 20


def test_only_one_question_in_words_is_found_by_words(library: Library, photos: Path) -> None:
    picture = photos / "city" / "taj-mahal.jpg"
    for ask in (
        lambda: library.query(picture, only="words"),
        lambda: library.similar(picture, only="words"),
        lambda: library.query_batch(["a dog"], only="words"),
        lambda: library.search_vectors(library.encode_text("a dog"), only="words"),
    ):
        with pytest.raises(InvalidInput, match="by words alone"):
            ask()


def test_of_very_many_with_the_same_words_the_nearest_are_lifted(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    animals = library.query("animals", k=58, only="words")
    assert len(animals) == 20
    monkeypatch.setattr(words, "MOST", 5)
    lifted = [hit for hit in library.query("animals", k=58) if hit.matched]
    assert names(lifted) == names(animals)[:5]
    lifted = [hit for hit in library.query("animals and a bison", k=58) if hit.matched]
    assert len(lifted) == 5
    assert names(lifted)[0] == "bison-on-prairie"
    assert len(library.query("animals", k=58, only="words")) == 20


def test_names_that_say_nothing_change_nothing(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "DCIM"
    folder.mkdir()
    for number, photo in enumerate(sorted(photos.rglob("*.jpg"))[:5]):
        shutil.copyfile(photo, folder / f"IMG_{number:04}.jpg")
    with Library(tmp_path / "library", device="cpu") as library:
        library.index(folder, model="builtin")
        for question in ("a photo of a cow", "img 0004", "animals", "jpg"):
            assert library.query(question, k=5) == library.query_batch([question], k=5)[0]


def test_the_matching_text_is_short_and_whole_words_come_first() -> None:
    source = "/photos/starfish/star trip.jpg"
    said = [("title", "A long day " * 20), ("person", "Zoë  Ångström\n"), ("keyword", "trip")]
    text = lambda *asked: matching_text(asked, source, said, ["/photos/"])  # noqa: E731
    assert text("star") == "star trip.jpg"
    assert text("starf*") == "starfish/"
    assert text("trip", "star", "angstrom") == "star trip.jpg; person: Zoë Ångström"
    assert text("nothing") is None
    long = text("day")
    assert long is not None
    assert long.startswith("title: A long day A long day")
    assert len(long) == 80


def test_what_is_not_covered_is_said_once(library: Library) -> None:
    assert library.query("a dog").notes == ()
    assert words.not_covered(3, 0) == [
        "names and texts of 3 photos are not searched yet: `clipsearch index` reads them"
    ]
    assert np.isfinite(LIFT)


def test_what_the_page_of_filters_asks_the_examples_finds_something(library: Library) -> None:
    page = (ROOT / "docs" / "filters.md").read_text(encoding="utf-8")
    asked = re.findall(r"^\| `--[a-z-]+ .*\| `(query [^`]+)` \|$", page, re.M)
    assert len(asked) == 11
    for line in asked:
        search = quick_search(shlex.split(line))
        assert search is not None
        if "--tag" not in line and "--in" not in line:  # of photos that have tags, and lie there
            assert library.query(search.asked, search.options), line
