"""Tables of pictures and captions: CSV, TSV and JSON lines.

A picture's path is relative to the table. Rows that name one picture are captions of one photo.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from clipsearch.errors import InvalidInput, UnreadableImage
from clipsearch.file_reading import read_whole
from clipsearch.image_opening import LARGEST_FILE
from clipsearch.training.samples import BadSample, Sample, make_sample, texts_in

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
        try:
            rows = _rows(path, (image_column, caption_column))
            self._photos = _photos(path, rows, image_column, caption_column)
        except FileNotFoundError as error:
            raise InvalidInput(f"there is no {path}") from error
        except OSError as error:
            raise InvalidInput(f"can't read {path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{path} is not text in UTF-8") from error
        except csv.Error as error:
            raise InvalidInput(f"{path} can't be read as a table: {error}") from error
        if _ADDRESS.match(self._photos[0].path):
            raise InvalidInput(f"{path} holds addresses, not files: download the pictures first")

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


def _photos(
    path: Path, rows: Iterator[dict[str, Any]], image: str | None, caption: str | None
) -> list[_Photo]:
    """Gather the rows by picture."""
    head = list(islice(rows, _HEAD))
    if not head:
        raise InvalidInput(f"{path} has no rows")
    there = dict.fromkeys(name for row in head for name in row if isinstance(name, str))
    columns = _columns(path, list(there), image, caption)
    captions: dict[str, list[str]] = {}
    labels: dict[str, str] = {}
    for row in chain(head, rows):
        name, texts, label = (texts_in(row.get(c) if c else None) for c in columns)
        if name:
            captions.setdefault(name[0], []).extend(texts)
        if name and label:
            labels[name[0]] = label[0]
    if not captions:
        raise InvalidInput(f"no row of {path} names a picture")
    return [_Photo(name, texts_in(texts), labels.get(name)) for name, texts in captions.items()]


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


def _rows(path: Path, named: tuple[str | None, str | None]) -> Iterator[dict[str, Any]]:
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return _json_rows(path)
    return _csv_rows(path, named)


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise InvalidInput(f"{path}, line {number}: not a JSON object")
            yield row


def _csv_rows(path: Path, named: tuple[str | None, str | None]) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        yield from csv.DictReader(file, delimiter=_delimiter(header, named))


def _delimiter(header: str, named: tuple[str | None, str | None]) -> str:
    """Return what splits the header into the columns wanted, whatever the file is called."""

    def found(mark: str) -> int:
        there = next(csv.reader([header], delimiter=mark), [])
        usual = (_IMAGE_COLUMNS, _CAPTION_COLUMNS)
        return sum(_find(there, n, u) is not None for n, u in zip(named, usual, strict=True))

    return max(",\t;|", key=lambda mark: (found(mark), header.count(mark)))
