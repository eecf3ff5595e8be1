"""Tables of pictures and captions: CSV, TSV and JSON lines.

A picture's path is relative to the table. Rows that name one picture are captions of one photo. A
line that can't be read as it should costs what is in it, and is noted.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from clipsearch.errors import InvalidInput, UnreadableImage
from clipsearch.photos.file_reading import read_whole
from clipsearch.photos.opening import LARGEST_FILE
from clipsearch.photos.plain_texts import decoded, read_json, texts_in
from clipsearch.training.data.samples import BadSample, Sample, make_sample

# Names that others use for what is asked for, tried in this order where the column is not named.
_IMAGE_COLUMNS = (
    *("image", "filepath", "image_path", "path", "file_name", "filename", "file", "image_file"),
    *("img", "img_path", "image_name", "picture", "photo"),
)
_CAPTION_COLUMNS = (
    *("caption", "captions", "text", "title", "description", "sentence", "sentences", "raw"),
    *("comment", "prompt", "alt_text"),
)
_LABEL_COLUMNS = ("label", "class_name", "class", "category")
_ADDRESS = re.compile(r"[a-z][a-z0-9+]+://", re.IGNORECASE)
_HEAD = 50  # rows that say which columns there are
_BLOCK = 1024  # rows that are shuffled as one, where there are very many
_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that are no UTF-8, as Python reads them

# What can be wrong with a line, and what comes of it.
_NO_OBJECT = "not a JSON object; it is left out"
_NO_PICTURE = "no picture is named; it is left out"
_TOO_LONG = "a field too long for a caption; it is left out"
_OPEN_QUOTE = "a quotation mark that is not closed; it is taken to end with the line"
_NO_UTF8 = "not text in UTF-8, so it may be misread"


class _Photo(NamedTuple):
    path: str
    captions: tuple[str, ...]
    label: str | None


class TableSource:
    """The photos of one table, in the order of their first rows."""

    def __init__(
        self, path: Path, image_column: str | None = None, caption_column: str | None = None
    ) -> None:
        """Read the table; raises InvalidInput where it can't serve.

        A column that is not named is found by its usual names.
        """
        self._folder = path.parent
        flaws = _Flaws(path)
        try:
            rows = _rows(path, (image_column, caption_column), flaws)
            self._photos = _photos(path, rows, (image_column, caption_column), flaws)
        except FileNotFoundError as error:
            raise InvalidInput(f"there is no {path}") from error
        except OSError as error:
            raise InvalidInput(f"can't read {path}: {error.strerror or error}") from error
        except csv.Error as error:
            raise InvalidInput(f"{path} can't be read as a table: {error}") from error
        if _ADDRESS.match(self._photos[0].path):
            raise InvalidInput(f"{path} holds addresses, not files: download the pictures first")
        self.notes = flaws.notes()

    def __len__(self) -> int:
        return len(self._photos)

    def neighbourhoods(self) -> Sequence[range]:
        """Return blocks of rows."""
        return blocks(len(self))

    def key(self, number: int) -> str:
        """Return the picture's path as the table has it."""
        return self._photos[number].path

    def __getitem__(self, number: int) -> Sample:
        path, captions, label = self._photos[number]
        return make_sample(path, read_picture(path, self._folder / path), captions, label)


def blocks(count: int) -> list[range]:
    """Cut numbers into ranges that are shuffled as one."""
    return [range(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]


def read_picture(key: str, path: Path) -> bytes:
    """Return a file's bytes; raises BadSample with the same words for the same trouble."""
    try:
        return read_whole(path, LARGEST_FILE)[0]
    except UnreadableImage as error:
        raise BadSample(key, f"the picture can't be read: {error}") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "a path that can't be"
        raise BadSample(key, f"the picture can't be read: {why}") from error


class _Flaws:
    """What is wrong with the lines of a table: of each kind the first line, and how many."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, tuple[int, int]] = {}

    def add(self, line: int, what: str) -> None:
        first, count = self._found.get(what, (line, 0))
        self._found[what] = first, count + 1

    def has(self, line: int, what: str) -> bool:
        return self._found.get(what, (0, 0))[0] == line

    def notes(self) -> list[str]:
        """Return a line for people for each kind."""
        return [
            f"{self._path}, line {first}: {what}" + (f" ({count:,} such lines)" * (count > 1))
            for what, (first, count) in self._found.items()
        ]


def _photos(
    path: Path,
    rows: Iterator[tuple[int, dict[str, Any]]],
    named: tuple[str | None, str | None],
    flaws: _Flaws,
) -> list[_Photo]:
    """Gather the rows, which come with the numbers of their lines, by picture."""
    head = list(islice(rows, _HEAD))
    if not head:
        raise InvalidInput("; ".join(flaws.notes()) or f"{path} has no rows")
    there = dict.fromkeys(name for _, row in head for name in row)
    image, caption, label = _columns(path, list(there), *named)
    captions: dict[str, list[str]] = {}
    labels: dict[str, str] = {}
    for line, row in chain(head, rows):
        name = _file_name(row.get(image))
        if not name:
            flaws.add(line, _NO_PICTURE)
            continue
        captions.setdefault(name, []).extend(texts_in(row.get(caption) if caption else None))
        if text := texts_in(row.get(label) if label else None):
            labels[name] = text[0]
    if not captions:
        raise InvalidInput(f"no row of {path} names a picture")
    return [_Photo(name, texts_in(texts), labels.get(name)) for name, texts in captions.items()]


def _file_name(value: Any) -> str:
    """Return the first name in a string or a list, as it is: a file may be called anything."""
    names = value if isinstance(value, list) else [value]
    return next((name.strip() for name in names if isinstance(name, str) and name.strip()), "")


def _columns(
    path: Path, there: list[str], image: str | None, caption: str | None
) -> tuple[str, str | None, str | None]:
    """Return the columns of picture, caption and label; InvalidInput if what is needed lacks."""
    label = _find(there, None, _LABEL_COLUMNS)
    pictures = _find(there, image, _IMAGE_COLUMNS)
    captions = _find(there, caption, _CAPTION_COLUMNS)
    listed = ", ".join(there[:12])
    if pictures is None:
        wanted = f"column {image!r}" if image else "column of pictures (such as 'image')"
        raise InvalidInput(f"{path} has no {wanted}; it has: {listed}")
    if captions is None and (caption or label is None):
        wanted = f"column {caption!r}" if caption else "column of captions (such as 'caption')"
        raise InvalidInput(f"{path} has no {wanted}; it has: {listed}")
    return pictures, captions, label


def _find(there: list[str], named: str | None, usual: Sequence[str]) -> str | None:
    if named:
        return named if named in there else None
    lower = {name.strip().lower(): name for name in reversed(there)}
    return next((lower[name] for name in usual if name in lower), None)


def _rows(
    path: Path, named: tuple[str | None, str | None], flaws: _Flaws
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows with the numbers of their first lines."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = _Lines(file, flaws)
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            yield from _json_rows(lines, flaws)
        else:
            yield from _csv_rows(path, lines, named, flaws)


class _Lines(Iterator[str]):
    """The lines of a table; those of a row can be given back."""

    def __init__(self, file: Iterator[str], flaws: _Flaws) -> None:
        self.number = 0  # of the line that came last, from 1
        self._file, self._flaws = file, flaws
        self._waiting: deque[str] = deque()
        self._row: list[str] = []

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else self._read()
        self._row.append(line)
        self.number += 1
        return line

    def _read(self) -> str:
        line = next(self._file).replace("\0", "")  # which csv refused before Python 3.11
        if _ESCAPED.search(line):
            self._flaws.add(self.number + 1, _NO_UTF8)
            line = decoded(line.encode("utf-8", "surrogateescape"))
        return line

    def begin_row(self) -> int:
        """Return the number of the line that comes next."""
        self._row.clear()
        return self.number + 1

    def give_back(self, *, but: int) -> list[str]:
        """Let the row's lines come again, but for the first ones, which are returned."""
        kept, others = self._row[:but], self._row[but:]
        self._waiting.extendleft(reversed(others))
        self.number -= len(others)
        return kept


def _json_rows(lines: _Lines, flaws: _Flaws) -> Iterator[tuple[int, dict[str, Any]]]:
    for line in lines:
        lines.begin_row()
        if not line.strip():
            continue
        try:
            row = read_json(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            yield lines.number, row
        else:
            flaws.add(lines.number, _NO_OBJECT)


def _csv_rows(
    path: Path, lines: _Lines, named: tuple[str | None, str | None], flaws: _Flaws
) -> Iterator[tuple[int, dict[str, Any]]]:
    lines.begin_row()
    delimiter = _delimiter(next(lines, ""), named)
    if flaws.has(1, _NO_UTF8):
        raise InvalidInput(f"{path} is not text in UTF-8")
    lines.give_back(but=0)
    records = ((number, row) for number, row in _records(lines, delimiter, flaws) if row)
    _, header = next(records, (0, []))
    for number, row in records:
        yield number, dict(zip(header, row, strict=False))


def _records(lines: _Lines, delimiter: str, flaws: _Flaws) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each row. Where its quotation marks are wrong, a row is one line.

    Otherwise a mark that is not closed would swallow the rows after it.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    columns = 0
    while True:
        number = lines.begin_row()
        try:
            fields = next(reader, None)
        except csv.Error:
            (line,) = lines.give_back(but=1)
            fields, flaw = _fields(line, delimiter, columns)
            if flaw:
                flaws.add(number, flaw)
        if fields is None:
            return
        columns = columns or len(fields)
        yield number, fields


def _fields(line: str, delimiter: str, columns: int) -> tuple[list[str], str]:
    """Return the fields of a line by itself, and what is wrong with it."""
    line = line.rstrip("\r\n") + "\n"
    try:
        fields = next(csv.reader([line], delimiter=delimiter))
        if not fields[-1].endswith("\n"):
            return fields, ""
        if len(fields) < max(columns, 2):  # the mark stands before the last column
            fields = next(csv.reader([line], delimiter=delimiter, quoting=csv.QUOTE_NONE))
    except csv.Error:
        return [], _TOO_LONG
    return fields, _OPEN_QUOTE


def _delimiter(header: str, named: tuple[str | None, str | None]) -> str:
    """Return what splits the header into the columns wanted, whatever the file is called."""

    def found(mark: str) -> int:
        there = next(csv.reader([header], delimiter=mark), [])
        usual = (_IMAGE_COLUMNS, _CAPTION_COLUMNS)
        return sum(_find(there, n, u) is not None for n, u in zip(named, usual, strict=True))

    return max(",\t;|", key=lambda mark: (found(mark), header.count(mark)))
