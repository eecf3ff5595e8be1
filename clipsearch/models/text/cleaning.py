"""What open_clip's tokenizers do to a text before they cut it."""

from __future__ import annotations

import string
from typing import Literal

from clipsearch.errors import ModelError

Cleaning = Literal["lower", "whitespace", "canonicalize"]
CLEANINGS: tuple[Cleaning, ...] = ("lower", "whitespace", "canonicalize")

_PUNCTUATION = str.maketrans("", "", string.punctuation)


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
