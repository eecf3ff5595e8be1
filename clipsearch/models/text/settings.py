"""What a tokenizer is, and what open_clip's do to a text before they cut it."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from clipsearch.errors import ModelError
from clipsearch.models.config import LONGEST_CONTEXT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Cleaning = Literal["lower", "whitespace", "canonicalize"]
CLEANINGS: tuple[Cleaning, ...] = ("lower", "whitespace", "canonicalize")

_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class TokenizerSettings:
    """How texts become ids, beyond the tokenizer's own file."""

    kind: str  # clip, or json for a tokenizer.json of Hugging Face's tokenizers
    cleaning: Cleaning
    context_length: int  # ids per text
    dropped_id: int | None = None  # replaced by 0 where a model wants no separator

    def __post_init__(self) -> None:
        """Raise ModelError for values that no tokenizer has: they may come from a file."""
        length, dropped = self.context_length, self.dropped_id
        if type(length) is not int or not 2 <= length <= LONGEST_CONTEXT:
            raise ModelError(f"a text can't have a context of {length!r:.40} tokens")
        if dropped is not None and type(dropped) is not int:
            raise ModelError(f"{dropped!r:.40} is no token id")
        if self.kind not in ("clip", "json"):
            raise ModelError(f"{self.kind!r:.40} is no kind of tokenizer")


class TextTokenizer(Protocol):
    """Cuts texts into a model's token ids."""

    settings: TokenizerSettings

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the ids of the texts, shape (n, context_length)."""

    def save(self, folder: Path) -> None:
        """Write what `open_tokenizer` reads."""


def clean_text(text: str, cleaning: Cleaning) -> str:
    """Return the text with encodings repaired and whitespace, case or punctuation evened out."""
    text = _repaired(text)
    if cleaning == "canonicalize":
        text = text.replace("_", " ").translate(_PUNCTUATION)
    text = " ".join(text.split())
    return text if cleaning == "whitespace" else text.lower()


def _repaired(text: str) -> str:
    """Undo broken encodings and HTML entities."""
    if text.isascii() and text.isprintable() and "&" not in text:
        return text  # nothing to repair, and ftfy takes a tenth of a second to import
    import html

    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text)))


def checked_cleaning(name: object) -> Cleaning:
    """Return the cleaning of this name, or raise ModelError."""
    for cleaning in CLEANINGS:
        if name == cleaning:
            return cleaning
    raise ModelError(f"the text cleaning {name!r:.60} is not supported")
