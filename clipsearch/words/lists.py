"""Lists of words: one word or phrase a line, `#` before what is none."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from clipsearch.errors import InvalidInput

PLAIN_WORDS = Path(__file__).with_name("plain_words.txt")
LONGEST_WORD = 100  # characters
MOST_WORDS = 20_000


@cache
def plain_words() -> tuple[str, ...]:
    """Return the some 1,900 plain English words that ship: things, scenes, actions, colours."""
    return words_of(PLAIN_WORDS.read_text(encoding="utf-8"), PLAIN_WORDS.name)


def read_words(path: Path) -> tuple[str, ...]:
    """Return the words of a file in UTF-8; raises InvalidInput for what is no such list."""
    try:
        with path.open("rb") as file:
            data = file.read((LONGEST_WORD + 1) * MOST_WORDS * 4)
        return words_of(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: no list of words: it is no text in UTF-8") from error
    except OSError as error:
        raise InvalidInput(f"{path}: can't be read ({error.strerror})") from error


def words_of(text: str, name: str) -> tuple[str, ...]:
    """Return the words of a list, each once, in its order; raises InvalidInput, with its name."""
    lines = (line.split("#", 1)[0] for line in text.splitlines())
    words = tuple(dict.fromkeys(filter(None, (" ".join(line.split()) for line in lines))))
    if not words:
        raise InvalidInput(f"{name}: there is no word in it: one is to stand on each line")
    if len(words) > MOST_WORDS:
        raise InvalidInput(f"{name}: {len(words):,} words are more than {MOST_WORDS:,}")
    for word in words:
        if len(word) > LONGEST_WORD or not word.isprintable():
            raise InvalidInput(f"{name}: {word[:40]!r} is no word")
    return words
