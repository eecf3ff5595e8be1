"""A line for a question that the model can't read: in another script, or in another language.

Imported only for words that are on no list of English (words/english.py). A name alone is no
reason: models know many, and what they don't know, relevance tells.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_LEAST_UNKNOWN = 3  # words that are no English
_LEAST_PART = 0.4  # of all words
# Of the unknown, that begin with a small letter: names don't.
_LEAST_SMALL = 2
_CALLED = {"CJK": "Chinese"}  # scripts whose name in Unicode few know


def note_on(words: Sequence[str], unknown: Sequence[str]) -> str | None:
    """Return what to say of a question with these words, of which some are no English; or None."""
    scripts = sorted({script for word in unknown for script in _scripts(word)} - {"LATIN"})
    if scripts:
        named = " and ".join(_CALLED.get(one, one.capitalize()) for one in scripts[:3])
        return f"this model reads English only: {named} letters mean nothing to it"
    small = sum(word[0].islower() for word in unknown)
    if len(unknown) < max(_LEAST_UNKNOWN, _LEAST_PART * len(words)) or small < _LEAST_SMALL:
        return None
    some = ", ".join(list(dict.fromkeys(unknown))[:3])
    return f"this model reads English only, and this looks like another language ({some})"


def _scripts(word: str) -> set[str]:
    """Return the scripts of a word's letters, as Unicode names them: LATIN, CYRILLIC, CJK."""
    plain = unicodedata.normalize("NFKC", word)  # ª is an a, and wide letters are letters
    names = (unicodedata.name(letter, "OTHER") for letter in plain if letter.isalpha())
    return {name.split(maxsplit=1)[0].split("-")[0] for name in names}
