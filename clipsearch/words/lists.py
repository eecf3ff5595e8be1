"""Lists of words: one word or phrase a line, `#` before what is none, `puppy < dog` for kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from clipsearch.errors import InvalidInput

PLAIN_WORDS = Path(__file__).with_name("plain_words.txt")
CLASS_NAMES = Path(__file__).with_name("class_names.txt")
LONGEST_WORD = 100  # characters
MOST_WORDS = 20_000


@dataclass(frozen=True)
class WordList:
    """Words in their order, each once, and which of them say less of the same."""

    words: tuple[str, ...]
    broader: Mapping[str, str]  # word -> the next broader one, which is among the words

    def broader_than(self, word: str) -> tuple[str, ...]:
        """Return the words that hold wherever this one does, from near to far."""
        found: list[str] = []
        while (word := self.broader.get(word, "")) and word not in found:
            found.append(word)
        return tuple(found)


def plain_words() -> tuple[str, ...]:
    """Return the some 1,800 plain English words that ship: things, scenes, actions, colours."""
    return shipped_list().words


@cache
def shipped_list() -> WordList:
    """Return the list of plain words that ships."""
    return words_of(PLAIN_WORDS.read_text(encoding="utf-8"), PLAIN_WORDS.name)


def class_names() -> tuple[str, ...]:
    """Return 998 names of things that a photo may show, with which a question's words compete."""
    return words_of(CLASS_NAMES.read_text(encoding="utf-8"), CLASS_NAMES.name).words


def read_words(path: Path) -> WordList:
    """Return the words of a file in UTF-8; raises InvalidInput for what is no such list."""
    try:
        with path.open("rb") as file:
            data = file.read((LONGEST_WORD + 1) * MOST_WORDS * 4)
        return words_of(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: no list of words: it is no text in UTF-8") from error
    except OSError as error:
        raise InvalidInput(f"{path}: can't be read ({error.strerror})") from error


def words_of(text: str, name: str) -> WordList:
    """Return the words of a list; raises InvalidInput, which names the list, for none."""
    lines = (line.split("#", 1)[0] for line in text.splitlines())
    parts = [[" ".join(part.split()) for part in line.split("<")] for line in lines]
    chains = [chain for chain in parts if any(chain)]
    words = tuple(dict.fromkeys(word for chain in chains for word in chain))
    if not words:
        raise InvalidInput(f"{name}: there is no word in it: one is to stand on each line")
    if len(words) > MOST_WORDS:
        raise InvalidInput(f"{name}: {len(words):,} words are more than {MOST_WORDS:,}")
    for word in words:
        if not word or len(word) > LONGEST_WORD or not word.isprintable():
            raise InvalidInput(f"{name}: {word[:40]!r} is no word")
    broader = {narrow: broad for chain in chains for narrow, broad in pairwise(chain)}
    found = WordList(words, broader)
    for word in words:
        if word in (wider := found.broader_than(word)):
            raise InvalidInput(f"{name}: {word} is a kind of itself: {' < '.join((word, *wider))}")
    return found
