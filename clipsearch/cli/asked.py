"""What a person means by QUERY: by the rule of `searching.asked`, and - for standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.cli.search_flags import Search
from clipsearch.errors import InvalidInput
from clipsearch.index.filters import EVERYTHING
from clipsearch.photos.file_reading import read_stream
from clipsearch.searching import asked as rule
from clipsearch.searching import combining
from clipsearch.searching.asked import is_a_file, looks_like_a_file
from clipsearch.searching.combining import QuerySum, Term
from clipsearch.searching.web_picture import is_address

if TYPE_CHECKING:
    from clipsearch.searching.query import Query

STANDARD_INPUT = "-"


def with_filters_of(search: Search) -> Search:
    """Return the search with what its question holds beside words taken out of it, and applied.

    Filters join those of the options, what has a dash before it joins --minus. A picture holds
    none. Raises InvalidInput for a filter that can't be meant, or where no words are left.
    """
    asked = search.asked
    if search.text or search.image or search.command == "similar" or not (set(asked) & set(":-")):
        return search
    if asked == STANDARD_INPUT or is_address(asked) or is_a_file(asked):
        return search
    from clipsearch.asking.grammar import joined, parse

    try:
        found = parse(joined(search.unquoted or [asked]))
    except InvalidInput as error:
        way_out = "; --text takes all for words" if search.command == "query" else ""
        raise InvalidInput(f"{error}{way_out}") from error
    if not found.understood:
        return search
    if not found.text.strip() and search.command == "query":
        raise InvalidInput(
            "the question says only what the photo should not show; --text takes all for words"
            if found.minus
            else "the question has no words beside its filters: `clipsearch list` shows the photos "
            "that pass filters"
        )
    options = search.options
    if found.filters != EVERYTHING:
        given = options.filters
        both = found.filters if given == EVERYTHING else given & found.filters
        options = replace(options, filters=both)
    words = [f'"{found.text}"'] if found.text else []
    return search._replace(
        asked=found.text,
        options=options,
        minus=search.minus + found.minus,
        said=(*search.said, f"understood: {', '.join([*words, *found.understood])}"),
        unquoted=tuple(found.text.split()) if search.unquoted else (),
    )


def understand(
    asked: str, *, text: bool = False, image: bool = False, unquoted: Sequence[str] = ()
) -> str | Path | bytes:
    """Return the words of a query, or its picture as a path or bytes.

    `unquoted` has the arguments that were joined, where they are several. Raises InvalidInput for
    what looks like a picture and is none, for a picture among words, and for a folder.
    """
    if not text and asked == STANDARD_INPUT:
        return _from_standard_input()
    if not (text or image or is_a_file(asked)):
        _refuse_pictures_among(unquoted)
    return rule.understand(asked, text=text, image=image, as_words="--text")


def _refuse_pictures_among(words: Sequence[str]) -> None:
    for word in words:
        if word == STANDARD_INPUT or is_address(word) or looks_like_a_file(word):
            raise InvalidInput(
                f"a query is words or one picture, not {word} among others; --text takes all for "
                "words"
            )


def pictures(asked: str, unquoted: Sequence[str]) -> Path | bytes | QuerySum:
    """Return the picture of `clipsearch similar`, or the sum of several; raises InvalidInput."""
    if not unquoted or is_a_file(asked):
        return given_picture(asked)
    try:
        return QuerySum(tuple(Term(1.0, given_picture(one)) for one in unquoted))
    except InvalidInput as error:
        raise InvalidInput(f"{error}; quote a path with blanks in it") from error


def with_terms(meant: Query, plus: Sequence[str], minus: Sequence[str], *, text: bool) -> Query:
    """Return what was meant, with the terms of --plus added and those of --minus taken away."""
    return combining.with_terms(meant, plus, minus, lambda one: understand(one, text=text))


def given_picture(asked: str) -> Path | bytes:
    """Return the picture that a path, an address or `-` stands for; raises InvalidInput."""
    return _from_standard_input() if asked == STANDARD_INPUT else rule.given_picture(asked)


def _from_standard_input() -> bytes:
    if sys.stdin is not None and sys.stdin.isatty():
        raise InvalidInput("- reads a picture from standard input: clipsearch query - < photo.jpg")
    from clipsearch.photos.opening import LARGEST_FILE

    try:
        data = b"" if sys.stdin is None else read_stream(sys.stdin.fileno(), LARGEST_FILE)
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
