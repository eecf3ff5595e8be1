"""Text and names -> words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.index.word_search.splitting import (
    LONGEST,
    asked_words,
    plain_form,
    words_of,
    words_of_name,
)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("machu-picchu_2019", ["machu", "picchu", "2019"]),
        ("EiffelTower", ["eiffel", "tower"]),
        ("IMGTower", ["tower"]),
        ("ZürichÖlberg", ["zurich", "olberg"]),
        ("HTMLPage from the web", ["html", "page", "from", "the", "web"]),
        ("horses on hills", ["horse", "on", "hill"]),
        ("Anna's 5th birthday", ["anna", "th", "birthday"]),
        ("beach (2)", ["beach"]),
        ("holidays/2019/Rome 12", ["holiday", "2019", "rome"]),
        ("IMG_20210714_beach", ["beach"]),
        ("东京tower2019天安门广场", ["东", "京", "tower", "2019", "天", "安", "门", "广", "场"]),
        ("Screenshot_2021-07-14-12-33-01", ["screenshot", "2021"]),
    ],
)
def test_a_name_is_split_at_separators_digits_and_case(name: str, words: list[str]) -> None:
    assert words_of_name(name) == words


@pytest.mark.parametrize(
    "name",
    [
        *("IMG_1234", "IMG_20210714_123456", "IMG-20210714-WA0001", "DSC00012", "DSCN0123"),
        *("PXL_20210714_123456789", "MVIMG_20180401_101010", "GOPR0042", "P1010001", "100"),
        *("f81d4fae7dec41d0a76500a0c91e6bf6", "", "...", "__", "🎂"),
    ],
)
def test_what_programs_call_their_files_says_nothing(name: str) -> None:
    assert words_of_name(name) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("Fêtes", "fete"), ("STRASSE", "Straße"), ("Łódź", "lodz"), ("smørrebrød", "smorrebrod")),
        *(("giraffes", "giraffe"), ("brushes", "brush"), ("boxes", "box"), ("women", "Woman")),
        *(("cities", "city"), ("leaves", "leaf"), ("people", "person"), ("horses", "horse")),
        ("cafe\u0301", "caf\u00e9"),
        ("\ufb01sh", "fish"),
    ],
)
def test_words_are_the_same_without_marks_and_in_the_plural(one: str, other: str) -> None:
    assert plain_form(one) == plain_form(other) != ""


@pytest.mark.parametrize("word", ["glass", "bus", "tennis", "grass", "us", "gas"])
def test_what_is_no_plural_stays(word: str) -> None:
    assert plain_form(word) == word


def test_letters_of_every_script_are_words() -> None:
    assert words_of("北京 и Москва, שלום עולם — ३ नमस्ते") == [
        *("北", "京", "и", "москва", "שלום", "עולם", "३", "नमसत"),
    ]


def test_a_question_gives_its_words_once_without_those_that_say_nothing() -> None:
    assert asked_words("a dog, and another dog in the snow") == ["dog", "another", "snow"]
    assert asked_words("photos of my children") == ["child"]
    assert asked_words("The Who") == ["the", "who"]  # nothing else is asked for
    assert asked_words("route 66") == ["route", "66"]
    assert asked_words("machu pic* 20*") == ["machu", "pic*", "20*"]
    assert asked_words("?!") == []
    assert (
        len(asked_words(" ".join(f"word{chr(97 + n % 26) * (n // 26)}" for n in range(999)))) < 99
    )


@given(st.text())
def test_words_are_plain_short_and_stay_as_they_are(text: str) -> None:
    for word in (*words_of(text), *words_of_name(text)):
        assert 0 < len(word) <= LONGEST
        assert word == word.casefold()
        assert word.isalnum()  # what FTS5 takes for one word, too
