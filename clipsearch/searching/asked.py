"""What a string means that is asked for: words, or a picture that lies somewhere. One rule for all.

`clipsearch query`, each line of `query --batch`, `Library.query` and `query_batch` share it:

- An address (http, https, file, data) and the name of a file that is there are a picture.
- What is written like a file and is none (`./sea`, `sea.jpg`), and a folder with a separator in its
  name, are refused: they are hardly what a photo shows.
- All else is words.

Where only a picture can be meant (`similar`, or said with --image or `image=True`), every string
names one; with --text or `text=True`, every string is words.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from clipsearch.errors import InvalidInput
from clipsearch.photos.file_reading import read_whole
from clipsearch.searching.web_picture import is_address, picture_at, shown_address
from clipsearch.settings import given_path

IN_PYTHON = "text=True"  # what says that a string is words


def understand(
    asked: str, *, text: bool = False, image: bool = False, as_words: str = IN_PYTHON
) -> str | Path | bytes:
    """Return the words of a query, or its picture as a path or bytes.

    Raises InvalidInput for what looks like a picture and is none, and for a folder; `as_words` is
    the way out that the message names.
    """
    if text:
        return asked
    if image or is_address(asked) or is_a_file(asked):
        return given_picture(asked)
    if _is_named_as_a_folder(asked):
        raise InvalidInput(
            f"{asked} is a folder, not a question: `clipsearch index` adds it, and {as_words} "
            "searches for it as words"
        )
    if looks_like_a_file(asked):
        near = _nearest(asked) or ";"
        raise InvalidInput(f"there is no file {asked}{near} {as_words} searches for it as words")
    return asked


def understand_a_call(asked: str, *, text: bool, image: bool) -> str | Path | bytes:
    """Return the same for a call from Python, which may hand on what strangers write.

    Nothing is fetched from elsewhere unless the call says that it is a picture.
    """
    if not (text or image) and is_address(asked):
        raise InvalidInput(
            f"{shown_address(asked)} is an address: image=True searches with the picture there, "
            f"{IN_PYTHON} for it as words"
        )
    return understand(asked, text=text, image=image)


def given_picture(asked: str) -> Path | bytes:
    """Return the picture that a path or an address stands for.

    What comes only once is read here: a pipe, as of `<(command)`. Raises InvalidInput, or
    UnreadableImage for what never ends or is too large.
    """
    from clipsearch.photos.opening import LARGEST_FILE

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
    return read_whole(path, LARGEST_FILE, pipes=True)[0] if _is(Path.is_fifo, asked) else path


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


def looks_like_a_file(asked: str) -> bool:
    """Tell whether what was asked for is written like a path, or like a picture's name."""
    if asked.startswith(("/", "./", "../", "~/")):
        return True
    if "." not in asked:
        return False
    from clipsearch.photos.formats import is_image_name

    return is_image_name(asked)
