"""Text to token ids as open_clip's tokenizers make them, with neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import ModelError, one_line
from clipsearch.models.files import TOKENIZER_NAME, read_file, read_json
from clipsearch.models.text.clip_tokenizer import ClipTokenizer, read_merges, shipped_merges
from clipsearch.models.text.settings import (
    TextTokenizer,
    TokenizerSettings,
    checked_cleaning,
    clean_text,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LONGEST_TOKEN = 64  # letters, in any vocabulary we know of, with room
LARGEST_TOKENIZER = 256 << 20  # bytes; that of Gemma, the largest, has 34 MB


class JsonTokenizer:
    """A Hugging Face tokenizer with padding and truncation set in it."""

    def __init__(self, tokenizer: Tokenizer, settings: TokenizerSettings) -> None:
        """Take a tokenizer that pads and truncates to the context length."""
        self.settings = settings
        self._tokenizer = tokenizer

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the ids of the texts, shape (n, context_length)."""
        length = self.settings.context_length
        # What lies behind can't be reached, and some patterns take long over long texts.
        cleaned = [clean_text(t, self.settings.cleaning)[: length * LONGEST_TOKEN] for t in texts]
        with _tokenizer_errors_translated("the model's tokenizer can't cut this text"):
            encoded = self._tokenizer.encode_batch_fast(cleaned)
        if any(len(encoding.ids) != length for encoding in encoded):
            raise ModelError(f"the model's tokenizer does not give {length} tokens a text")
        ids = np.array([encoding.ids for encoding in encoded], dtype=np.int64)
        ids = ids.reshape(len(texts), length)
        if self.settings.dropped_id is not None:
            ids[ids == self.settings.dropped_id] = 0
        return ids

    def save(self, folder: Path) -> None:
        """Write tokenizer.json into the folder."""
        self._tokenizer.save(str(folder / TOKENIZER_NAME), pretty=False)


def open_tokenizer(folder: Path, settings: TokenizerSettings) -> TextTokenizer:
    """Open a tokenizer that was saved into the folder."""
    if settings.kind == "clip":
        return ClipTokenizer(read_merges(folder), settings)
    tokenizer = _read_tokenizer(folder / TOKENIZER_NAME)
    padding, truncation = tokenizer.padding or {}, tokenizer.truncation or {}
    if (padding.get("length"), truncation.get("max_length")) != (settings.context_length,) * 2:
        raise ModelError(f"the tokenizer in {folder} is not the one that was saved with it")
    return JsonTokenizer(tokenizer, settings)


def clip_tokenizer(context_length: int, options: dict[str, Any]) -> TextTokenizer:
    """Make the tokenizer of CLIP; `options` are the model's `tokenizer_kwargs`."""
    _refuse_unknown(options, {"clean"})
    cleaning = checked_cleaning(options.get("clean", "lower"))
    return ClipTokenizer(shipped_merges(), TokenizerSettings("clip", cleaning, context_length))


def folder_tokenizer(folder: Path, context_length: int, options: dict[str, Any]) -> TextTokenizer:
    """Make the tokenizer of a folder with a tokenizer.json; pad and truncate as open_clip does."""
    _refuse_unknown(options, {"clean", "strip_sep_token"})
    tokenizer = _read_tokenizer(folder / TOKENIZER_NAME)
    config = _tokenizer_config(folder)
    padding = _token(config.get("pad_token"))
    pad_id = tokenizer.token_to_id(padding) if padding else None
    if pad_id is None:
        raise ModelError(f"the tokenizer in {folder} names no padding token")
    with _tokenizer_errors_translated(f"the tokenizer in {folder} is refused"):
        side = config.get("truncation_side", "right")
        tokenizer.enable_truncation(context_length, direction=side)
        tokenizer.enable_padding(
            direction=config.get("padding_side", "right"),
            pad_id=pad_id,
            pad_token=padding,
            length=context_length,
        )
    separator = _token(config.get("sep_token")) if options.get("strip_sep_token") else ""
    dropped = tokenizer.token_to_id(separator) if separator else None
    cleaning = checked_cleaning(options.get("clean", "whitespace"))
    return JsonTokenizer(tokenizer, TokenizerSettings("json", cleaning, context_length, dropped))


def _refuse_unknown(options: dict[str, Any], known: set[str]) -> None:
    """Raise ModelError for an option we don't know: wrong ids find wrong photos without a word."""
    unknown = sorted(set(options) - known)
    if unknown:
        raise ModelError(f"the model's tokenizer option {unknown[0]!r} is not supported")


def _read_tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    if not path.exists():
        raise ModelError(f"the model's tokenizer is missing: {path}")
    content = read_file(path, LARGEST_TOKENIZER)
    with _tokenizer_errors_translated(f"can't read the tokenizer {path}"):
        return Tokenizer.from_buffer(content)


@contextmanager
def _tokenizer_errors_translated(what: str) -> Iterator[None]:
    """Turn what the tokenizers library raises into ModelError.

    Most of that is a bare Exception. What it did not foresee (a pattern that gives up, say) is a
    panic, which is not even an Exception, and can't be imported.
    """
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        raise ModelError(f"{what}: {one_line(error)}") from error
    except BaseException as error:
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        raise ModelError(f"{what}: {one_line(error)}") from error


def _tokenizer_config(folder: Path) -> dict[str, Any]:
    """Return tokenizer_config.json, with the special tokens that older files keep apart."""
    merged: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            merged |= {key: value for key, value in read_json(folder / name).items() if value}
    return merged


def _token(value: object) -> str:
    """Return a special token's text; it is written as a string or as an object."""
    return str(value.get("content", "")) if isinstance(value, dict) else str(value or "")
