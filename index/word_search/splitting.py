"""Text -> words, the same for what is looked for and for where it is looked.

A word is in its plain form: small letters without marks ("Fêtes" is "fete"), in the singular where
it is an English plural. That is for comparing; nobody is shown it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from unicodedata import category, normalize

STAR = "*"  # behind a word of a question: any that begins so
LONGEST = 40  # letters; what is longer was never written by hand
_MOST_ASKED = 64  # words of a question
_MOST_TURNS = 4  # letters and digits in turn more often than that are some program's number
_LONGEST_TEXT = 20_000  # letters of a caption

# Runs of letters with their marks, and of digits; `_` and all else stand between. Chinese and
# Japanese words stand together without anything between: each letter of theirs counts alone.
_TOGETHER = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
# `re` compiles them when they are first used: a query, which waits for it, uses one of them.
_ASKED = rf"[{_TOGETHER}]|[^\W\d_{_TOGETHER}]+\*?|\d+\*?"
_PIECES = rf"[{_TOGETHER}]|[^\W\d_{_TOGETHER}]+|\d+"
_TURNS = r"[^\W\d_]+|\d+"
_RUNS = r"[^\W_]+"
_YEAR = r"(?:19|20)\d\d"
# "EiffelTower", "IMGTower": before a capital that begins a word.
_CAPITALS = "A-Z\u00c0-\u00d6\u00d8-\u00de\u0410-\u042f\u0391-\u03a9"
_SMALL = "a-z\u00df-\u00f6\u00f8-\u00ff\u0430-\u044f\u03b1-\u03c9"
_CASES = f"(?<=[{_SMALL}])(?=[{_CAPITALS}])|(?<=[{_CAPITALS}])(?=[{_CAPITALS}][{_SMALL}])"
_ASIDE = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "ı": "i"})

# What cameras and programs put before their numbers.
_OF_CAMERAS = frozenset(
    (
        *("img", "dsc", "dscn", "dscf", "dcim", "imgp", "pxl", "mvimg", "gopr", "dji"),
        *("sam", "sany", "cimg", "pict", "mov", "vid", "wa", "hdr"),
    )
)
_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "mice": "mouse",
    "geese": "goose", "feet": "foot", "teeth": "tooth", "oxen": "ox", "leaves": "leaf",
    "wolves": "wolf", "knives": "knife", "wives": "wife", "lives": "life", "loaves": "loaf",
    "shelves": "shelf", "calves": "calf", "halves": "half", "scarves": "scarf",
    "potatoes": "potato", "tomatoes": "tomato", "buses": "bus", "movies": "movie",
    "cookies": "cookie", "pies": "pie", "ties": "tie", "shoes": "shoe", "canoes": "canoe",
}  # fmt: skip
_HISSING = ("shes", "ches", "sses", "xes", "zzes")

# Of questions: what says nothing of a photo.
STOP_WORDS = frozenset(
    (
        *("a", "an", "the", "and", "or", "but", "of", "in", "on", "at", "by", "to", "for"),
        *("from", "with", "without", "into", "onto", "over", "under", "near", "next", "is"),
        *("are", "was", "were", "be", "been", "being", "am", "do", "does", "did", "has"),
        *("have", "had", "it", "its", "this", "that", "these", "those", "there", "here"),
        *("some", "any", "no", "not", "my", "your", "his", "her", "our", "their", "me", "you"),
        *("he", "she", "we", "they", "i", "who", "which", "what", "where", "when", "while"),
        *("as", "than", "then", "so", "very", "photo", "photos", "picture", "pictures"),
        *("image", "images", "show", "find", "all", "one", "s", "t"),
    )
)


def words_of(text: str) -> list[str]:
    """Return the words of a text that somebody wrote, in order, in their plain form."""
    pieces = re.findall(_PIECES, _marked(text[:_LONGEST_TEXT]))
    return [plain for piece in pieces if (plain := plain_form(piece))]


def asked_words(question: str) -> list[str]:
    """Return the words of a question that are worth looking for, each once, in order.

    One with a star behind it keeps it.
    """
    pieces = re.findall(_ASKED, _marked(question))
    worth = [piece for piece in pieces if piece.casefold() not in STOP_WORDS] or pieces
    words = dict.fromkeys(plain for piece in worth if (plain := _asked_form(piece)))
    return list(words)[:_MOST_ASKED]


def _asked_form(piece: str) -> str:
    if piece.endswith(STAR):
        return _without_marks(piece[:-1])[:LONGEST] + STAR
    return plain_form(piece)


def words_of_name(name: str) -> list[str]:
    """Return the words of a folder's name, or of a file's without its suffix.

    Numbers say nothing but for years, and what cameras call their files says nothing at all.
    """
    return [plain for piece in _pieces_of_name(name) if (plain := plain_form(piece))]


def _pieces_of_name(name: str) -> Iterator[str]:
    for run in re.findall(_RUNS, _marked(name)):
        if len(re.findall(_TURNS, run)) > _MOST_TURNS:
            continue
        for piece in re.findall(_PIECES, run):
            if not piece.isdigit():
                yield from (w for w in re.split(_CASES, piece) if w.casefold() not in _OF_CAMERAS)
            elif re.fullmatch(_YEAR, piece):
                yield piece


def plain_form(piece: str) -> str:
    """Return the form of one word in which it is compared; empty for what says nothing.

    One letter of the Latin alphabet says nothing.
    """
    word = _singular(_without_marks(piece))[:LONGEST]
    return word if len(word) > 1 or not word.isascii() or word.isdigit() else ""


def _without_marks(piece: str) -> str:
    """Return a word in small letters, each in its simplest form."""
    if not piece.isascii():
        decomposed = normalize("NFKD", piece.casefold())
        kept = "".join(letter for letter in decomposed if letter.isalnum())
        piece = normalize("NFC", kept).translate(_ASIDE)
    return piece.casefold()


def _marked(text: str) -> str:
    """Return the text without marks that would part a word, as those of Hindi do."""
    if text.isascii():
        return text
    text = normalize("NFC", text)
    return "".join(letter for letter in text if category(letter)[0] != "M")


def _singular(word: str) -> str:
    """Return an English noun's singular, by the rules of Harman's S-stemmer (1991) and a few more.

    Any other word comes out as it is or shortened, but always in the same way.
    """
    if len(word) < 4 or not word.endswith("s"):
        return _IRREGULAR.get(word, word)
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith(_HISSING):
        return word[:-2]
    if word.endswith(("us", "ss", "is")):
        return word
    return word[:-1]
