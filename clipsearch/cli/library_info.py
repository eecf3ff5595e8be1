"""What `clipsearch info` shows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from clipsearch.cli.output import json_line, write_json, write_out, write_rows, write_text
from clipsearch.cli.printable import printable, shown_count, size_in_words

if TYPE_CHECKING:
    from pathlib import Path

    from clipsearch.index.records import IndexInfo, ModelRow
    from clipsearch.results import LibraryInfo


def show_info(library: Path | None, *, failures: bool = False, json: bool = False) -> None:
    """Show the library, or the files that could not be indexed."""
    from clipsearch.library import Library

    with Library(library, read_only=True) as lib:
        about = lib.info()
    if failures and json:
        write_out(b"".join(json_line(failure.to_dict()) for failure in about.failures))
    elif failures:
        write_rows((failure.file.path, failure.reason) for failure in about.failures)
    elif json:
        write_json(about.to_dict())
    else:
        _show(about)


def _show(about: LibraryInfo) -> None:
    if not sys.stdout.isatty():
        write_rows(_lines(about))
        return
    lines = (f"{name + ':' if name else '':<10} {value}" for name, value in _lines(about))
    write_text("\n".join(printable(line) for line in lines))


def _lines(about: LibraryInfo) -> Iterator[tuple[str, str]]:
    yield "library", str(about.folder)
    yield "photos", f"{about.photos:,}"
    for number, folder in enumerate(about.folders):
        scanned = f", scanned {folder.scanned_at}" if folder.scanned_at else ""
        yield "" if number else "folders", f"{folder.path}{scanned}"
    for number, away in enumerate(about.away):
        photos = shown_count(away.photos, "photo")
        yield "" if number else "away", f"{away.path} {away.reason}: {photos} kept"
    more = " (listed by --failures)" if about.failures else ""
    yield "failures", f"{shown_count(len(about.failures), 'file')}{more}"
    for model in sorted(about.models, key=lambda row: not row.is_current):
        yield "model" if model.is_current else "", _model_line(model)
        yield "", f"weights SHA-256 {model.identity.weights_sha256}"
    if about.index:
        yield "index", _index_line(about.index)
    disk = ", ".join(f"{part} {size_in_words(size)}" for part, size in about.disk_bytes.items())
    yield "disk", f"{size_in_words(sum(about.disk_bytes.values()))}: {disk}"


def _model_line(model: ModelRow) -> str:
    identity = model.identity
    # A model from a folder has its whole configuration in place of a name.
    named = "" if identity.architecture.startswith("{") else f", {identity.architecture}"
    state = "" if model.is_current else ", not the one that queries use"
    photos = shown_count(model.photos, "photo")
    return f"{identity.name}{named}, embedding width {identity.width}, {photos}{state}"


def _index_line(index: IndexInfo) -> str:
    found = ""
    if index.recall is not None:
        found = f", finds {index.recall:.1%} of the ten nearest (--exact finds all)"
    note = f" ({index.note})" if index.note else ""
    return (
        f"{index.kind}{found}, {shown_count(index.vectors, 'vector')} in "
        f"{shown_count(index.files, 'file')}, {index.delta:,} newer, "
        f"{size_in_words(index.bytes)}{note}"
    )
