"""What a person means by QUERY: words, or a picture that lies somewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from clipsearch.errors import InvalidInput
from clipsearch.photos.file_reading import read_stream, read_whole
from clipsearch.searching.web_picture import is_address, picture_at
from clipsearch.settings import given_path

STANDARD_INPUT = "-"


def understand(
    asked: str, *, text: bool = False, image: bool = False, unquoted: Sequence[str] = ()
) -> str | Path | bytes:
    """Return the words of a query, or its picture as a path or bytes.

    `unquoted` has the arguments that were joined, where they are several. Raises InvalidInput for
    what looks like a picture and is none, for a picture among words, and for a folder.
    """
    if text:
        return asked
    if not image and not is_a_file(asked):
        _refuse_pictures_among(unquoted)
    if image or asked == STANDARD_INPUT or is_address(asked) or is_a_file(asked):
        return given_picture(asked)
    if _is_named_as_a_folder(asked):
        raise InvalidInput(
            f"{asked} is a folder, not a question: `clipsearch index` adds it, and --text searches "
            "for it as words"
        )
    if _looks_like_a_file(asked):
        near = _nearest(asked)
        raise InvalidInput(f"there is no file {asked}{near}; --text searches for it as words")
    return asked


def _refuse_pictures_among(words: Sequence[str]) -> None:
    for word in words:
        if word == STANDARD_INPUT or is_address(word) or _looks_like_a_file(word):
            raise InvalidInput(
                f"a query is words or one picture, not {word} among others; --text takes all for "
                "words"
            )


def one_picture(asked: str, unquoted: Sequence[str]) -> Path | bytes:
    """Return the picture of `clipsearch similar`; InvalidInput where several arguments are none."""
    if unquoted and not is_a_file(asked):
        raise InvalidInput(
            f"similar takes one picture, not {len(unquoted)}: quote a path with blanks in it"
        )
    return given_picture(asked)


def given_picture(asked: str) -> Path | bytes:
    """Return the picture that a path, an address or `-` stands for.

    What comes only once is read here: a pipe, as of `<(command)`. Raises InvalidInput, or
    UnreadableImage for what never ends or is too large.
    """
    if asked == STANDARD_INPUT:
        return _from_standard_input()
    if is_address(asked):
        found = picture_at(asked)
        if isinstance(found, bytes):
            return found
        asked = str(found)
    if _is(Path.is_dir, asked):
        raise InvalidInput(f"{asked} is a folder, not a picture")
    path = given_path(asked)
    if not _is(Path.exists, asked) and (near := _nearest(asked)):
        raise InvalidInput(f"there is no file {asked}{near}")
    return read_whole(path, _most(), pipes=True)[0] if _is(Path.is_fifo, asked) else path


def is_a_file(asked: str) -> bool:
    """Tell whether what was asked for is the name of something that holds bytes."""
    return _is(lambda path: path.exists() and not path.is_dir(), asked)


def _is(kind: Callable[[Path], bool], asked: str) -> bool:
    try:
        return bool(asked.strip()) and kind(given_path(asked))
    except (OSError, InvalidInput):  # too long for a name, or in a folder that is closed to us
        return False


def _is_named_as_a_folder(asked: str) -> bool:
    """Tell whether a folder is meant: `cats` may be one here and still be what is looked for."""
    separators = tuple(filter(None, (os.sep, os.altsep)))
    by_name = asked in (".", "..", "~") or any(one in asked for one in separators)
    return by_name and _is(Path.is_dir, asked)


def _nearest(asked: str) -> str:
    from clipsearch.near_names import did_you_mean, near_path

    try:
        near = near_path(given_path(asked))
    except (OSError, InvalidInput):  # too long for a name
        return ""
    if near is not None and not Path(asked).is_absolute() and not asked.startswith("~"):
        near = Path(os.path.relpath(near))
    return did_you_mean(near)


def _looks_like_a_file(asked: str) -> bool:
    if asked.startswith(("/", "./", "../", "~/")):
        return True
    if "." not in asked:
        return False
    from clipsearch.photos.formats import is_image_name

    return is_image_name(asked)


def _from_standard_input() -> bytes:
    if sys.stdin is not None and sys.stdin.isatty():
        raise InvalidInput("- reads a picture from standard input: clipsearch query - < photo.jpg")
    try:
        data = b"" if sys.stdin is None else read_stream(sys.stdin.fileno(), _most())
    except OSError as error:
        raise InvalidInput(f"can't read standard input: {error.strerror or error}") from error
    if not data:
        raise InvalidInput("nothing came on standard input")
    from clipsearch.photos.formats import TEXT, what_else

    if what_else(data) == TEXT:
        raise InvalidInput(
            "standard input holds words, not a picture; `clipsearch query --batch -` searches for "
            "each line"
        )
    return data


def _most() -> int:
    from clipsearch.photos.opening import LARGEST_FILE

    return LARGEST_FILE
