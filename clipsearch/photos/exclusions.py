"""What a scan leaves out: paths, patterns in gitignore's form, and files of such patterns.

As in git, the last pattern that matches decides, and a folder that is left out is not looked into,
so that nothing in it can be taken in again by a pattern. Paths have the first say, then patterns
that were given for the whole library, then the ignore file of the nearest folder.
"""

from __future__ import annotations

import codecs
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from clipsearch.arguments import shown
from clipsearch.errors import InvalidInput, UnreadableImage
from clipsearch.index.records import Exclusion
from clipsearch.photos.file_reading import read_whole
from clipsearch.settings import absolute

# The last first: what it matches is left out, or taken in.
_Patterns: TypeAlias = tuple[tuple[bool, re.Pattern[str]], ...]

IGNORE_FILE = ".clipsearchignore"
_LARGEST = 1 << 20  # bytes of an ignore file
_FOLDER_ENDS = "ps_d"  # the group of pathspec's patterns that takes the slash behind a folder
_FROM_HERE = ("~", "./", "../")  # how patterns begin that mean a path, as people write one


class IgnoreFileUnreadable(Exception):
    """An ignore file can't be read, so that nobody knows what it leaves out; never leaves a run."""

    def __init__(self, folder: str, why: str) -> None:
        super().__init__(f"its {IGNORE_FILE} can't be read ({why}): passed over")
        self.folder = Path(folder)


class Rules:
    """What is left out in a folder and below it, as far as is known there."""

    def __init__(
        self, paths: frozenset[str], patterns: _Patterns | None = None, root: str = ""
    ) -> None:
        """Take what holds for the whole library; patterns are counted from the root."""
        self._paths = paths
        # The first that says something decides; with how many letters the folder takes from which
        # it counts.
        self._patterns: tuple[tuple[int, _Patterns], ...] = ()
        if patterns:
            self._patterns = ((_inside(root), patterns),)
        self._files: tuple[tuple[int, _Patterns], ...] = ()
        self.bad_lines: tuple[int, ...] = ()  # of the last ignore file, from 1

    def __bool__(self) -> bool:
        """Say whether anything can be left out."""
        return bool(self._paths or self._patterns or self._files)

    def leaves_out(self, path: str, *, is_folder: bool) -> bool:
        """Tell whether an entry of a folder for which these rules are is left out."""
        if path in self._paths:
            return True
        for start, patterns in (*self._patterns, *self._files):
            name = path[start:]
            for exclude, regex in patterns:
                if _matches(regex, name, is_folder=is_folder):
                    return exclude
        return False

    def with_ignore_file(self, folder: str) -> Rules:
        """Return the rules for a folder with an ignore file; raises IgnoreFileUnreadable."""
        patterns, bad_lines = _read(folder)
        rules = Rules(self._paths)
        rules._patterns = self._patterns
        rules._files = ((_inside(folder), patterns), *self._files)
        rules.bad_lines = bad_lines
        return rules


class Exclusions:
    """All that a library leaves out, for scans of its folders and of places below them.

    Each folder, and each single file, is looked at whatever lies above it says.
    """

    def __init__(self, made: Iterable[Exclusion], folders: Iterable[Path]) -> None:
        self._roots = frozenset(map(str, folders))
        made = list(made)
        self._paths = frozenset(one.what for one in made if one.kind == "path")
        self._patterns = [one.what for one in made if one.kind == "pattern"]
        self._known: dict[str, Rules | None] = {}  # what holds in a folder; None: it is left out

    def at(self, place: Path) -> Rules | None:
        """Return the rules with which to look at a place; None if it is left out.

        The ignore file of the place itself is not among them. Raises IgnoreFileUnreadable.
        """
        text = str(place)
        above = list(_above(text))
        root = next((n for n, folder in enumerate(above) if folder in self._roots), None)
        if text in self._roots or root is None:
            return self._rules_of(text)
        rules = self._inside(above[root::-1])
        is_folder = bool(rules) and os.path.isdir(text)  # noqa: PTH112
        return None if rules is None or rules.leaves_out(text, is_folder=is_folder) else rules

    def leaves_out(self, path: Path) -> bool:
        """Tell whether a path, which may not be there, is left out, as far as can be read."""
        try:
            return self.at(path) is None
        except IgnoreFileUnreadable:
            return False

    def _inside(self, folders: Sequence[str]) -> Rules | None:
        """Return the rules for what lies in the last of these, which begin with a root."""
        rules: Rules | None = None
        for number, folder in enumerate(folders):
            if folder not in self._known:
                self._known[folder] = self._next(folder, rules if number else None)
            rules = self._known[folder]
            if rules is None:
                break
        return rules

    def _next(self, folder: str, above: Rules | None) -> Rules | None:
        """Return the same for one folder; of a root, nothing that lies above counts."""
        rules = self._rules_of(folder) if above is None else above
        if above is not None and above.leaves_out(folder, is_folder=True):
            return None
        has_file = os.path.lexists(os.path.join(folder, IGNORE_FILE))  # noqa: PTH118
        return rules.with_ignore_file(folder) if has_file else rules

    def _rules_of(self, root: str) -> Rules:
        """Return the rules with which a folder of the library is looked at."""
        if not self._patterns:
            return Rules(self._paths)
        below = root.rstrip(os.sep)
        lines = [re.sub(f"^(!?){re.escape(below)}/", r"\1/", line) for line in self._patterns]
        return Rules(self._paths, _compiled(lines)[0], root)


def pattern_given(text: object) -> str:
    """Return a pattern as it is kept, one that means a path from here made absolute.

    Raises InvalidInput for what can match nothing.
    """
    if not isinstance(text, str) or "\n" in text or "\0" in text:
        raise InvalidInput(f"a pattern is a line of text, not {shown(text)}")
    negation, pattern = ("!", text[1:]) if text.startswith("!") else ("", text)
    if pattern.startswith(_FROM_HERE):
        end = "/" if pattern.endswith("/") else ""
        pattern = f"{absolute(pattern)}{end}"
    found, bad_lines = _compiled([pattern])
    if bad_lines or not found:
        raise InvalidInput(f"{shown(text)} is no pattern that could match anything")
    return negation + pattern


def _read(folder: str) -> tuple[_Patterns, tuple[int, ...]]:
    """Return the patterns of a folder's ignore file, and the numbers of the lines that are none."""
    try:
        data, _ = read_whole(Path(folder, IGNORE_FILE), _LARGEST)
    except UnreadableImage as error:
        raise IgnoreFileUnreadable(folder, str(error)) from error
    except OSError as error:
        raise IgnoreFileUnreadable(folder, (error.strerror or str(error)).lower()) from error
    lines = os.fsdecode(data.removeprefix(codecs.BOM_UTF8)).split("\n")
    return _compiled([line.removesuffix("\r") for line in lines])


def _compiled(lines: Sequence[str]) -> tuple[_Patterns, tuple[int, ...]]:
    """Return the patterns, and the numbers, from 1, of the lines that are none."""
    from pathspec import GitIgnoreSpec  # takes as long as a tenth of a search

    patterns: list[tuple[bool, re.Pattern[str]]] = []
    bad: list[int] = []
    for number, line in enumerate(lines, 1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # of re, for [[]
                found = GitIgnoreSpec.from_lines([line], backend="simple").patterns
        except (ValueError, re.error):
            bad.append(number)
            continue
        patterns += [
            (one.include, one.regex)
            for one in found
            if one.include is not None and one.regex is not None
        ]
    return tuple(reversed(patterns)), tuple(bad)


def _matches(regex: re.Pattern[str], name: str, *, is_folder: bool) -> bool:
    """Tell whether a pattern is of an entry itself, not only of a folder above it.

    pathspec's patterns match what lies below, too, and mark where the folder ends that they are of.
    That folder is not left out, or nobody would ask: some pattern with more say took it in.
    """
    found = regex.search(name)
    if found is not None and not found.groupdict().get(_FOLDER_ENDS):
        return True
    ends = len(name) + 1
    return is_folder and any(
        bool(found.groupdict().get(_FOLDER_ENDS)) and found.end(_FOLDER_ENDS) == ends
        for found in regex.finditer(f"{name}/")
    )


def _inside(folder: str) -> int:
    """Return where the names of what lies in a folder begin in their paths."""
    return len(folder.rstrip(os.sep)) + 1


def _above(path: str) -> Iterable[str]:
    while (above := os.path.dirname(path)) != path:  # noqa: PTH120
        yield above
        path = above
