"""Whether a word is English, by a list of 40,000: looked up on the disk, for a query waits for it.

The list is sorted, so that a word is found in some sixteen looks at it; reading it whole would take
longer than the search.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path

WORDS = Path(__file__).with_name("english_words.txt")
_LEAST_PART = 3  # letters of each part of a compound
_LETTERS = re.compile(r"[^\W\d_]+")
_APOSTROPHE = re.compile(r"['’](?:s|t|d|m|ll|re|ve)\b", re.IGNORECASE)


def words_in(text: str) -> list[str]:
    """Return the words of a text: what is written in letters, without "'s" and the like."""
    return _LETTERS.findall(_APOSTROPHE.sub(" ", text))


def not_english(words: Iterable[str]) -> list[str]:
    """Return those of some words that are no English: nor their singulars, nor two words in one."""
    return [word for word in words if not _is_english(word.lower())]


@lru_cache(4096)  # a server hears the same words again and again
def _is_english(word: str) -> bool:
    return _is_listed(_list(), word)


@cache
def _list() -> mmap.mmap:
    with WORDS.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _is_listed(listed: mmap.mmap, word: str) -> bool:
    if not word.isascii():
        return False
    forms = [word, word[:-1]] if word.endswith("s") else [word]
    return any(_holds(listed, form.encode()) or _is_compound(listed, form) for form in forms)


def _is_compound(listed: mmap.mmap, word: str) -> bool:
    """Tell whether a word is two that are listed: snow and boarder."""
    splits = ((word[:at], word[at:]) for at in range(_LEAST_PART, len(word) - _LEAST_PART + 1))
    return any(all(_holds(listed, part.encode()) for part in parts) for parts in splits)


def _holds(listed: mmap.mmap, word: bytes) -> bool:
    """Look for a line among sorted ones, by halves; those of the head begin with #, before all."""
    low, high = 0, len(listed)  # the line, if it is there, begins in between
    while low < high:
        middle = listed.rfind(b"\n", low, (low + high) // 2) + 1 or low
        end = listed.find(b"\n", middle)
        line = listed[middle:end]
        if line == word:
            return True
        if line < word:
            low = end + 1
        else:
            high = middle
    return False
