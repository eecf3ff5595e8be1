"""A question in another language or script gets a line; English and names get none."""

import pytest

from clipsearch.searching.known_words import note_on
from clipsearch.searching.relevance import unread
from clipsearch.words.english import WORDS, not_english, words_in

NAMES = tuple(
    """
    Pikachu, IKEA, Nutella, Pokémon, Björk, Nestlé, Citroën, Lego, Volkswagen, Toyota, Coca-Cola,
    Adidas, Nike, Samsung, Xbox, Minecraft, Barbie, Gandalf, Hogwarts, Darth Vader, Yoda, Mona Lisa,
    Eiffel Tower, Taj Mahal, Machu Picchu, Kilimanjaro, Reykjavík, Rio de Janeiro, Neuschwanstein,
    Angkor Wat, Cristiano Ronaldo, Lionel Messi, Angela Merkel, Frida Kahlo, Beyoncé, Shakira,
    Rihanna, Ronaldinho, Schwarzenegger, Pinocchio, Asterix, Obelix, Totoro, Godzilla,
    Sagrada Familia, Leonardo da Vinci, Mercedes-Benz, Lamborghini, Ferrari, Häagen-Dazs
    """.replace("\n    ", " ")
    .strip()
    .split(", ")
)
ENGLISH = (
    "two dogs run through the snow",
    "a snowboarder in midair above a halfpipe",
    "Children's toys on the kitchen floor, and a cat that doesn't care",
    "a man wearing a kimono at a sushi counter in Osaka",
)
FOREIGN = (
    "Zwei Hunde laufen durch den Schnee",
    "Un chien brun court dans la neige",
    "Dva psi běží sněhem",
    "Due cani corrono nella neve",
    "dos perros corren por la nieve",
)
SCRIPTS = {
    "雪の中の犬": "Chinese",
    "Собака в снегу": "Cyrillic",
    "σκύλος": "Greek",
    "كلب": "Arabic",
}


def english_only() -> bool:
    return True


@pytest.mark.parametrize("text", FOREIGN)
def test_another_language_is_named_as_one(text: str) -> None:
    (line,) = unread(text, english_only)
    assert "English only" in line and "another language" in line


@pytest.mark.parametrize("text", SCRIPTS)
def test_letters_that_the_model_does_not_know_are_named(text: str) -> None:
    (line,) = unread(text, english_only)
    assert SCRIPTS[text] in line


def test_english_and_names_get_no_line() -> None:
    assert len(NAMES) == 50
    said = [text for text in (*NAMES, *ENGLISH) if unread(text, english_only)]
    assert said == []


def test_a_model_of_many_languages_gets_none_and_english_does_not_ask() -> None:
    assert unread(FOREIGN[0], lambda: False) == []
    unread(ENGLISH[0], pytest.fail)  # the model is asked only where a word is unknown


def test_every_word_of_the_list_is_found_and_no_other() -> None:
    listed = [line for line in WORDS.read_text().splitlines() if not line.startswith("#")]
    assert listed == sorted({*listed})
    assert not_english([*listed[:50], *listed[::97], *listed[-50:]]) == []
    strange = ["", "#", "zzzzz", "aaaaa", "qwrt", "Copyright2000", "Nutella", "über"]
    assert not_english(strange) == strange
    assert not_english(["Dogs", "DOG", "dogs"]) == []


def test_words_are_what_is_written_in_letters() -> None:
    assert words_in("Anna's 2 dogs, über-cool: don't!") == ["Anna", "dogs", "über", "cool", "don"]


@pytest.mark.parametrize(
    ("known", "unknown", "line"),
    [
        (0, "qwertz asdfg", None),  # two may be a name
        (6, "dva psi snih", None),  # three of nine are too few
        (4, "dva psi snih", "another language (dva, psi, snih)"),
        (4, "Dva Psi snih", None),  # names begin with capitals
        (0, "zwei hunde laufen durch zwei", "another language (zwei, hunde, laufen)"),
        (0, "собака 狗", "Chinese and Cyrillic letters"),
        (2, "ª ½ Ｓｕｓｈｉ", None),  # letters of English, written otherwise, and a number
    ],
)
def test_how_many_words_make_a_language(known: int, unknown: str, line: str | None) -> None:
    said = note_on(["dog"] * known + unknown.split(), unknown.split())
    assert (said is None) if line is None else (said is not None and line in said), said
