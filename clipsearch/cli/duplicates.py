"""The groups of `clipsearch duplicates`: a table for people, JSON, or a script that moves."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.cli.ending import NOTHING_FOUND, say
from clipsearch.cli.output import json_line, write_names, write_out, write_rows, write_text
from clipsearch.cli.printable import printable, short_path, shown_count, size_in_words
from clipsearch.errors import InvalidInput
from clipsearch.settings import absolute

if TYPE_CHECKING:
    from clipsearch.copies import AlikeGroup, CopiedPhoto, Duplicates, Kind

_TITLES = {
    "same": "the same photo",
    "burst": "taken within seconds",
    "look-alike": "much alike",
}


def show_duplicates(
    library: Path | None,
    *,
    filters: dict[str, Any],
    only: Kind | None,
    script: Path | None,
    include_away: bool,
    json: bool,
) -> None:
    """Find the groups and write them; raises SystemExit where there are none."""
    from clipsearch.cli.filter_flags import taken_out
    from clipsearch.library import Library

    which = taken_out(filters)
    for line in which.said:
        say(line)
    with Library(library, create=False, read_only=True) as lib:
        if script is not None:
            _check_script(script, [folder.path for folder in lib.folders()], json=json)
        found = lib.duplicates(filters=which.tree, include_away=include_away)
    groups = tuple(group for group in found.groups if only in (None, group.kind))
    if script is not None:
        groups = found.of_kind(only or "same")
        lines = script_of(groups, absolute(script)).removesuffix(b"\n").split(b"\n")
        write_names(lines, b"\n")
    elif json:
        write_out(b"".join(json_line(group.to_dict()) for group in groups))
    elif sys.stdout.isatty():
        write_text("\n".join(_lines(groups)))
    else:
        write_rows(_rows(groups))
    _say_the_rest(found, groups)
    if not groups:
        raise SystemExit(NOTHING_FOUND)


def _say_the_rest(found: Duplicates, groups: Sequence[AlikeGroup]) -> None:
    """Write to standard error how much there is, and what is not known."""
    others = [photo for group in groups if group.kind == "same" for photo in group.others]
    lines = []
    if others:
        space = size_in_words(sum(photo.size for photo in others))
        take = "takes" if len(others) == 1 else "take"
        lines.append(f"{shown_count(len(others), 'photo')} could go, which {take} {space}")
    elif not groups:
        lines.append(f"nothing found among {shown_count(found.photos, 'photo')}")
    if found.incomplete:
        lines.append(
            f"of {shown_count(found.incomplete, 'photo')} only copies of the same bytes are known "
            "yet: `clipsearch index` opens them again"
        )
    for line in lines:
        say(line)


# For people


def _lines(groups: Sequence[AlikeGroup]) -> Iterator[str]:
    kind = None
    for group in groups:
        if group.kind != kind:
            kind = group.kind
            yield f"{_TITLES[kind]}: {sum(one.kind == kind for one in groups):,}"
        photos = (group.keep, *group.others)
        sizes = [_size(photo) for photo in photos]
        width = max(map(len, sizes))
        for photo, size in zip(photos, sizes, strict=True):
            keep = "keep" if photo is group.keep and kind == "same" else ""
            yield f"  {keep:4}  {size:{width}}  {printable(short_path(photo.path))}"
        yield ""


def _size(photo: CopiedPhoto) -> str:
    return f"{photo.width}x{photo.height} {photo.format}, {size_in_words(photo.size)}"


def _rows(groups: Sequence[AlikeGroup]) -> Iterator[tuple[object, ...]]:
    for number, group in enumerate(groups, 1):
        for photo in (group.keep, *group.others):
            what = "keep" if photo is group.keep else "other"
            size = f"{photo.width}x{photo.height}"
            yield number, group.kind, what, photo.path, size, photo.format, photo.size


# The script

_HEAD = b"""#!/bin/sh
# Made by `clipsearch duplicates --script`: moves photos that are there twice, and deletes nothing.
# Below the folder they keep the paths that they had. What is not as it was found stays where it is.
set -eu
into=INTO
moved=0
left=0

move() { # the photo to keep, the other one
    to="$into$2"
    if [ -f "$1" ] && [ -f "$2" ] && [ ! -e "$to" ] && [ ! -L "$to" ]; then
        mkdir -p -- "${to%/*}"
        mv -- "$2" "$to"
        moved=$((moved + 1))
    else
        left=$((left + 1))
    fi
}

"""
_TAIL = b"""
printf '%d moved, %d left where they are\\n' "$moved" "$left"
"""


def _check_script(script: Path, folders: Sequence[Path], *, json: bool) -> None:
    """Raise InvalidInput for what can't be meant by --script."""
    if json:
        raise InvalidInput("--json can't be used together with --script")
    if sys.stdout.isatty():
        raise InvalidInput("a script belongs into a file: --script FOLDER > move.sh")
    into = absolute(script)
    inside = next((one for one in folders if into.is_relative_to(one)), None)
    if into.exists() and not into.is_dir():
        raise InvalidInput(f"--script {script}: it is no folder")
    if inside is not None:
        raise InvalidInput(
            f"--script {script}: it lies below {inside}, which is indexed: what is moved there "
            "would be found again; name a folder elsewhere"
        )


def script_of(groups: Iterable[AlikeGroup], into: Path) -> bytes:
    """Return a script for sh that moves the others of each group into a folder.

    Each keeps its whole path below it. Names may hold any bytes: it is no text.
    """
    lines = [
        b"move %s %s\n" % (_quoted(group.keep.path), _quoted(photo.path))
        for group in groups
        for photo in group.others
    ]
    return _HEAD.replace(b"INTO", _quoted(into)) + b"".join(lines) + _TAIL


def _quoted(path: Path) -> bytes:
    """Return a path for sh, whatever its bytes are."""
    return b"'" + os.fsencode(path).replace(b"'", b"'\\''") + b"'"
