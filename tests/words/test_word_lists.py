"""Lists of words, and the one that ships."""

from pathlib import Path

import pytest

from clipsearch.errors import InvalidInput
from clipsearch.words.lists import MOST_WORDS, plain_words, read_words, shipped_list

# None says what somebody looks like, believes, is worth or comes from; nor is anybody insulted.
JUDGING = """
beautiful, ugly, pretty, handsome, attractive, fat, thin, skinny, old, young, elderly, poor, rich,
criminal, thief, terrorist, prisoner, beggar, homeless, drunk, stupid, lazy, crazy, idiot, loser,
slut, bitch, gay, lesbian, christian, muslim, jew, jewish, hindu, buddhist, african, asian,
european, american, chinese, indian, arab, immigrant, refugee, disabled, nude, naked
"""


def test_the_shipped_words_are_plain_lower_case_and_each_there_once() -> None:
    words = plain_words()
    assert 1500 <= len(words) <= 2000
    assert len({word.casefold() for word in words}) == len(words)
    for word in words:
        assert word == word.lower() and len(word.split()) <= 4
        assert all(letter.isalpha() or letter in " -'" for letter in word), word
    assert {"dog", "beach", "snow", "pizza", "running", "red", "bridge", "birthday"} <= set(words)


def test_no_shipped_word_judges_people() -> None:
    words = set(plain_words())
    assert words.isdisjoint(word.strip() for word in JUDGING.split(","))
    people = ("person", "man", "woman", "child", "people", "boy", "girl")
    described = [word for word in words if len(word.split()) == 2 and word.endswith(people)]
    assert described == []


def test_the_list_says_where_it_comes_from_and_how_it_may_be_used() -> None:
    import clipsearch.words

    head = (Path(clipsearch.words.__path__[0]) / "plain_words.txt").read_text()[:600]
    assert "# Source:" in head and "# Licence:" in head


def test_a_list_of_ones_own_is_read_in_its_order(tmp_path: Path) -> None:
    own = tmp_path / "words.txt"
    own.write_bytes("\ufeff# mine\nRex\r\n  the   old mill # by the river\n\nRex\nÉcole\n".encode())
    assert read_words(own).words == ("Rex", "the old mill", "École")


def test_a_word_may_say_what_it_is_a_kind_of(tmp_path: Path) -> None:
    own = tmp_path / "words.txt"
    own.write_text("Rex < terrier < dog\nterrier\nMia\n")
    read = read_words(own)
    assert read.words == ("Rex", "terrier", "dog", "Mia")
    assert read.broader_than("Rex") == ("terrier", "dog")
    assert read.broader_than("Mia") == ()
    own.write_text("a < b\nb < a\n")
    with pytest.raises(InvalidInput, match="a is a kind of itself: a < b < a"):
        read_words(own)


def test_kinds_in_the_shipped_list_are_of_its_words_and_end() -> None:
    shipped = shipped_list()
    assert shipped.broader_than("border collie") == ("dog", "animal")
    assert shipped.broader_than("toddler") == ("child", "person")
    for word in shipped.words:
        assert set(shipped.broader_than(word)) <= set(shipped.words) - {word}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no word"),
        (b"# only this\n\n", "no word"),
        (b"\xff\xfe\x00d", "no text in UTF-8"),
        (b"bell\x07\n", "is no word"),
        (b"dog <\n", "is no word"),
        (b"x" * 200, "is no word"),
        (b"\n".join(b"%d" % n for n in range(MOST_WORDS + 1)), "more than 20,000"),
    ],
)
def test_what_is_no_list_is_refused_in_a_line(tmp_path: Path, content: bytes, why: str) -> None:
    own = tmp_path / "words.txt"
    own.write_bytes(content)
    with pytest.raises(InvalidInput, match=why) as refused:
        read_words(own)
    assert "\n" not in str(refused.value) and refused.value.args[0].isprintable()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.txt: can't be read"):
        read_words(tmp_path / "none.txt")
