"""`clipsearch query --batch`: a question a line, answered with a JSON object a line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from clipsearch.cli.asked import STANDARD_INPUT, understand
from clipsearch.cli.ending import BAD_INPUT, NOTHING_FOUND, say
from clipsearch.cli.hits import named
from clipsearch.cli.output import json_line, write_out
from clipsearch.cli.printable import shown_count
from clipsearch.cli.search_flags import Search
from clipsearch.cli.searching import say_what_was_left_out
from clipsearch.errors import InvalidInput
from clipsearch.library import Library
from clipsearch.searching.query import checked_text
from clipsearch.searching.web_picture import shown_address
from clipsearch.settings import given_path

if TYPE_CHECKING:
    from clipsearch.results import Hits

# What is read, asked and answered together: it bounds memory, however many lines there are.
LINES_AT_ONCE = 1024
_BYTES_AT_ONCE = 16 << 20
_LONGEST_LINE = 1 << 20  # bytes


class Line(NamedTuple):
    """A line of the batch."""

    number: int  # from 1
    asked: str | None  # None if it is too long


def run_batch(search: Search, source: str) -> None:
    """Answer the questions in a file, or on standard input, in their order; ends the process.

    It needs no server: the model is loaded once for all of them, and others who ask the server do
    not wait for a long list.
    """
    asked = failed = found = 0
    said: set[Path] = set()
    with (
        _opened(source) as file,
        Library(search.library, read_only=True, device=search.device) as library,
    ):
        for lines in _blocks(_lines(file)):
            answers = _answers(library, search, lines)
            write_out(
                b"".join(
                    json_line(_as_json(line, answer, search))
                    for line, answer in zip(lines, answers, strict=True)
                )
            )
            errors = sum(isinstance(answer, InvalidInput) for answer in answers)
            asked, failed = asked + len(lines), failed + errors
            found += sum(not isinstance(answer, InvalidInput) and len(answer) for answer in answers)
            for answer in answers:
                if not isinstance(answer, InvalidInput):
                    say_what_was_left_out(answer.left_out, said)
    if failed:
        say(f"{failed} of {shown_count(asked, 'question')} could not be asked: their lines say why")
    if not found:
        say("nothing found")
        sys.exit(BAD_INPUT if failed and failed == asked else NOTHING_FOUND)


@contextmanager
def _opened(source: str) -> Iterator[IO[bytes]]:
    if source == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    try:
        file = given_path(source).open("rb")
    except OSError as error:
        raise InvalidInput(f"can't read {source}: {error.strerror or error}") from error
    with file:
        yield file


def _lines(file: IO[bytes]) -> Iterator[Line]:
    """Yield the lines that are not blank."""
    number = 0
    while line := _read_line(file):
        number += 1
        if len(line) > _LONGEST_LINE:
            while not line.endswith(b"\n") and (line := _read_line(file)):
                pass
            yield Line(number, None)
            continue
        text = os.fsdecode(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
        if text.strip():
            yield Line(number, text.rstrip("\r\n"))


def _read_line(file: IO[bytes]) -> bytes:
    try:
        return file.readline(_LONGEST_LINE + 1)
    except OSError as error:
        raise InvalidInput(f"can't read the questions: {error.strerror or error}") from error


def _blocks(lines: Iterator[Line]) -> Iterator[list[Line]]:
    block: list[Line] = []
    size = 0
    for line in lines:
        block.append(line)
        size += len(line.asked or "")
        if len(block) == LINES_AT_ONCE or size >= _BYTES_AT_ONCE:
            yield block
            block, size = [], 0
    if block:
        yield block


def _answers(library: Library, search: Search, lines: Sequence[Line]) -> list[Hits | InvalidInput]:
    """Return what each line finds, or why it can't be asked."""
    meant: dict[int, str | Path] = {}
    answers: dict[int, Hits | InvalidInput] = {}
    for place, line in enumerate(lines):
        try:
            question = _meant(line, search)
            if isinstance(question, bytes):  # from an address: not kept for all to be together
                answers[place] = library.query(question, search.options)
            else:
                meant[place] = question
        except InvalidInput as error:
            answers[place] = error
    answers |= _together(library, search, meant)
    return [answers[place] for place in range(len(lines))]


def _meant(line: Line, search: Search) -> str | Path | bytes:
    if line.asked is None:
        raise InvalidInput(f"the line is longer than {_LONGEST_LINE >> 20} MB")
    if line.asked == STANDARD_INPUT and not search.text:
        raise InvalidInput("a picture on standard input can't be asked for among others")
    meant = understand(line.asked, text=search.text, image=search.image)
    return checked_text(meant) if isinstance(meant, str) else meant


def _together(
    library: Library, search: Search, meant: dict[int, str | Path]
) -> dict[int, Hits | InvalidInput]:
    """Return what some questions find; pictures are tried one by one if one can't be read."""
    words = {place: one for place, one in meant.items() if isinstance(one, str)}
    pictures = {place: one for place, one in meant.items() if not isinstance(one, str)}
    found: dict[int, Hits | InvalidInput] = {}
    hits = library.query_batch(words.values(), search.options, text=True)
    found.update(zip(words, hits, strict=True))
    try:
        hits = library.query_batch(pictures.values(), search.options)
        found.update(zip(pictures, hits, strict=True))
    except InvalidInput:
        for place, picture in pictures.items():
            try:
                found[place] = library.query(picture, search.options)
            except InvalidInput as error:
                found[place] = error
    return found


def _as_json(line: Line, answer: Hits | InvalidInput, search: Search) -> dict[str, object]:
    shown = {"number": line.number, "query": line.asked and shown_address(line.asked)}
    if isinstance(answer, InvalidInput):
        return {**shown, "error": str(answer)}
    return {**shown, "hits": [named(hit, search.fields) for hit in answer]}
