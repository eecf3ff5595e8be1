"""CLIP's byte-pair tokenizer.

Our own, because it starts in a tenth of the time that the `tokenizers` library needs for the same
49,408 words, and a query waits for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import ModelError
from clipsearch.models.files import read_file
from clipsearch.models.names import BUILTIN_FOLDER
from clipsearch.models.text.settings import TokenizerSettings, clean_text

MERGES_NAME = "merges.txt"
MERGES = 48_894  # CLIP's vocabulary: 256 bytes, 256 final bytes, the merges, start and end
START = 512 + MERGES
END = START + 1

_LONGEST_TOKEN = 32  # letters
_LARGEST_FILE = 4 << 20  # bytes; CLIP's merges are half a megabyte

_SPECIAL = {"<start_of_text>": START, "<end_of_text>": END}
_WORDS = r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|{letters}+|{digits}|{others}+"
_ASCII_WORDS = re.compile(
    _WORDS.format(letters="[a-zA-Z]", digits="[0-9]", others=r"[^\sa-zA-Z0-9]"), re.IGNORECASE
)


class ClipTokenizer:
    """Cuts texts into CLIP's ids; equal to open_clip's SimpleTokenizer."""

    def __init__(self, merges: Sequence[str], settings: TokenizerSettings) -> None:
        """Take CLIP's merges, "left right" each, the most frequent first."""
        if len(merges) != MERGES:
            raise ModelError(f"CLIP's tokenizer has {MERGES} merges, not {len(merges)}")
        self.settings = settings
        self._merges = merges
        self._ranks = dict(zip(merges, range(MERGES), strict=True))
        self._letters = _byte_letters()
        self._known: dict[str, list[int]] = {word: [id_] for word, id_ in _SPECIAL.items()}

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the ids of the texts, shape (n, context_length), padded with 0."""
        ids = np.zeros((len(texts), self.settings.context_length), dtype=np.int64)
        room = self.settings.context_length - 2
        # What lies behind can't be reached, and the time for a word grows as its length squared.
        letters = (room + 2) * (_LONGEST_TOKEN + 1)
        for row, text in zip(ids, texts, strict=True):
            cut = self._cut(clean_text(text, self.settings.cleaning)[:letters])[:room]
            row[: len(cut) + 2] = [START, *cut, END]
        return ids

    def save(self, folder: Path) -> None:
        """Write merges.txt into the folder."""
        (folder / MERGES_NAME).write_text("\n".join(self._merges), encoding="utf-8")

    def _cut(self, text: str) -> list[int]:
        ids: list[int] = []
        for word in _words(text):
            if word not in self._known:
                self._known[word] = self._cut_word(word)
            ids += self._known[word]
        return ids

    def _cut_word(self, word: str) -> list[int]:
        """Join a word's bytes pair by pair, the most frequent pair first."""
        letters = [self._letters[byte] for byte in word.encode("utf-8")]
        parts = [(letter, index) for letter, index in letters]  # (text, id)
        parts[-1] = (f"{letters[-1][0]}</w>", letters[-1][1] + 256)
        while len(parts) > 1:
            pairs = {f"{left} {right}" for (left, _), (right, _) in pairwise(parts)}
            best = min(pairs, key=lambda pair: self._ranks.get(pair, MERGES))
            if best not in self._ranks:
                break
            parts = _joined(parts, best, 512 + self._ranks[best])
        return [id_ for _, id_ in parts]


def _joined(parts: list[tuple[str, int]], pair: str, id_: int) -> list[tuple[str, int]]:
    """Return the parts with each occurrence of the pair made one part, from the left."""
    joined: list[tuple[str, int]] = []
    index = 0
    while index < len(parts):
        text = parts[index][0]
        if index + 1 < len(parts) and f"{text} {parts[index + 1][0]}" == pair:
            joined.append((text + parts[index + 1][0], id_))
            index += 2
        else:
            joined.append(parts[index])
            index += 1
    return joined


def _words(text: str) -> list[str]:
    return _ASCII_WORDS.findall(text) if text.isascii() else _any_words().findall(text)


@lru_cache
def _any_words() -> re.Pattern[str]:
    """Return the pattern that knows all scripts; its library is only loaded for such a text."""
    import regex  # type: ignore[import-untyped]

    pattern = _WORDS.format(letters=r"\p{L}", digits=r"\p{N}", others=r"[^\s\p{L}\p{N}]")
    compiled: re.Pattern[str] = regex.compile(pattern, regex.IGNORECASE)
    return compiled


def _byte_letters() -> dict[int, tuple[str, int]]:
    """Return for each byte the letter that stands for it in the merges, and its id.

    Bytes that print stand for themselves and come first; the others follow as U+0100 onwards.
    """
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printing]
    letters = [chr(byte) for byte in printing] + [chr(256 + i) for i in range(len(others))]
    pairs = zip([*printing, *others], letters, strict=True)
    return {byte: (letter, index) for index, (byte, letter) in enumerate(pairs)}


def shipped_merges() -> list[str]:
    """Return CLIP's merges, which the built-in model ships with."""
    return read_merges(BUILTIN_FOLDER)


def read_merges(folder: Path) -> list[str]:
    """Return the merges that `save` wrote."""
    path = folder / MERGES_NAME
    try:
        return read_file(path, _LARGEST_FILE).decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ModelError(f"the model's tokenizer can't be read: {path}: {error}") from error
