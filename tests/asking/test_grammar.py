"""A question that holds its own filters."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.asking import gazetteer
from clipsearch.asking.grammar import KEYS, Asked, joined, parse
from clipsearch.errors import InvalidInput, MissingPackages
from clipsearch.index.filters import (
    EVERYTHING,
    And,
    Below,
    Compare,
    Filter,
    Missing,
    Not,
    OneOf,
    Within,
)
from clipsearch.settings import absolute

NOW = datetime(2026, 11, 28, 9, 30)


@pytest.fixture(autouse=True, scope="module")
def no_gazetteer():
    """To look for places that there are not takes a second each."""

    def refuse(least: int) -> None:
        raise MissingPackages("no gazetteer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gazetteer, "_data", refuse)
        gazetteer._countries.cache_clear()
        yield


def filters(text: str) -> Filter:
    return parse(text, NOW).filters


def test_a_question_is_taken_apart():
    asked = parse("dog in:holidays after:2021 camera:Pixel -people on a beach", NOW)
    assert asked.text == "dog on a beach"
    assert asked.minus == ("people",)
    assert asked.filters == And(
        (
            Compare("folder", "=", "holidays"),
            Compare("moment", ">=", "2021-01-01"),
            Compare("camera", "has", "Pixel"),
        )
    )
    assert asked.understood == (
        "in any folder holidays",
        "from 2021-01-01",
        "camera Pixel",
        "minus people",
    )


@pytest.mark.parametrize(
    "text",
    [
        "Star Wars: a new hope",
        "12:30",
        "a t-shirt",
        "http://example.org/in:x",
        "well-known rock-and-roll",
        "a - b",
        "-5 degrees",
        "--all",
        "in: the garden",
        "(in:x)",
        "main:road",
        '"in:x" dog',
        '"-people"',
        'a 5" pipe',
        "  two   blanks ",
        "",
        "caf\udce9",
    ],
)
def test_what_is_no_filter_stays_words(text):
    assert parse(text, NOW) == Asked(text)


def test_quotes_hold_blanks():
    assert filters('in:"summer 2021" dog') == Compare("folder", "=", "summer 2021")
    assert filters("in:“summer 2021” dog") == Compare("folder", "=", "summer 2021")
    assert filters('after:"last summer"') == Compare("moment", ">=", "2026-06-01")
    assert parse('dog -"two words" cat', NOW).minus == ("two words",)
    assert parse('a "red car" in:x', NOW).text == 'a "red car"'


def test_a_key_is_read_in_any_case_and_a_path_is_one():
    assert filters("IN:/photos/trips/ dog") == Below("/photos/trips")
    assert filters("Type:RAW") == OneOf("format", ("RAW",))


def test_a_dash_before_a_key_is_not_and_before_a_word_minus():
    asked = parse("-tag:beach -in:x -camera:Pixel -people", NOW)
    assert asked.filters == And(
        (
            Not(Compare("tag", "=", "beach")),
            Not(Compare("folder", "=", "x")),
            Not(Compare("camera", "has", "Pixel")),
        )
    )
    assert asked.minus == ("people",)
    assert asked.understood[0] == "not tag beach"
    assert parse("a dog missing:camera").understood == ("naming no camera",)
    assert parse("a dog -missing:camera").understood == ("naming a camera",)
    for folder in ("..", "~"):
        assert parse(f"a dog in:{folder}").filters == Below(str(absolute(folder)))


def test_what_is_missing_can_be_asked_for():
    assert filters("missing:camera") == Missing("camera")
    assert filters("-missing:date") == Not(Missing("moment"))


def test_the_rest_of_the_keys():
    assert filters("near:48.85,2.35,5") == Within(48.85, 2.35, 5)
    assert filters("min-width:3000") == Compare("width", ">=", 3000)
    assert filters("orientation:portrait") == Compare("aspect", "<", 1)
    assert filters("lens:50mm") == Compare("lens", "has", "50mm")
    between = Compare("moment", ">=", "2021-01-01"), Compare("moment", "<", "2023-01-01")
    assert filters("after:2021..2022") == And(between)
    assert filters("before:2021") == Compare("moment", "<", "2021-01-01")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("after:foo", "no date"),
        ("dog type:jpge", "did you mean jpg"),
        ("orientation:tall", "landscape, portrait, square"),
        ("missing:everything", "missing must be one of"),
        ('in:"summer 2021', "quotes"),
        ('in:"a"b', "quotes"),
        ("near:91,2", "latitude"),
        ("min-width:wide", "a width must be a whole number"),
    ],
)
def test_a_filter_that_can_not_be_meant_is_refused(text, said):
    with pytest.raises(InvalidInput, match=said):
        parse(text, NOW)


def test_quotes_that_a_shell_took_off_are_put_back():
    arguments = ["a", "dog", "in:summer 2021", "-tag:red car", "x y"]
    assert joined(arguments) == 'a dog in:"summer 2021" -tag:"red car" x y'
    assert parse(joined(arguments), NOW).text == "a dog x y"
    assert joined(["in:summer 2021"]) == "in:summer 2021"  # quoted as a whole: as it is written


@given(st.lists(st.from_regex(r"[a-zA-Z0-9.,'!?]+(-[a-z]+)?:?", fullmatch=True)))
def test_words_alone_come_back_as_they_are(words):
    text = "  ".join(words)
    assert parse(text, NOW) == Asked(text)


@given(
    st.lists(
        st.one_of(
            st.sampled_from([f"{dash}{key}:" for key in KEYS for dash in ("", "-")]),
            st.sampled_from(['"', "“", " ", "-", ":", "\n", "2021", "..", "dog", "1,2", "jpg"]),
            st.text(max_size=5),
        )
    ).map("".join)
)
def test_any_text_is_taken_apart_or_refused(text):
    try:
        asked = parse(text, NOW)
    except (InvalidInput, MissingPackages):
        return
    assert len(asked.understood) >= len(asked.minus)
    if not asked.understood:
        assert asked == Asked(text)
    elif asked.filters == EVERYTHING:
        assert asked.minus
    # What is left is not read again as a filter.
    assert parse(asked.text, NOW).filters == EVERYTHING


def test_no_other_text_is_no_question():
    with pytest.raises(InvalidInput, match="str"):
        parse(5)  # type: ignore[arg-type]


def test_of_whoever_is_elsewhere_the_path_of_a_folder_is_whole() -> None:
    assert parse("dog in:/a/b", from_here=False) == parse("dog in:/a/b")
    assert parse("dog in:trip", from_here=False) == parse("dog in:trip")
    for path in ("./x", "../x", "..", "a/b", "~/x", "~root/x"):
        parse(f"dog in:{path}")
        with pytest.raises(InvalidInput, match="or its whole path"):
            parse(f"dog in:{path}", from_here=False)
