"""What is left out of a scan: as git leaves it out, and never what a folder above says."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from clipsearch.errors import InvalidInput
from clipsearch.index.records import Exclusion, FileState
from clipsearch.photos import exclusions
from clipsearch.photos.exclusions import IGNORE_FILE, Exclusions, pattern_given
from clipsearch.photos.scanning import IgnoreFile, ScanProblem, find_photos, scan_photos

TREE = [
    *("a.jpg", "b.png", "keep.png", "a b.jpg", "[x].jpg", "éé.jpg", "#1.jpg", "!a.jpg"),
    *("raw/a.jpg", "raw/b.png", "raw/keep.png", "raw/deep/a.jpg", "raw/deep/keep.png"),
    *("trip/a.jpg", "trip/raw/a.jpg", "trip/raw/b.png", "trip/day 1/a.jpg", "trip/day 1/b.png"),
]
PIECES = [
    *("*.png", "*.jpg", "a.jpg", "raw", "raw/", "/raw", "/raw/", "raw/*", "raw/**", "**/raw"),
    *("trip/raw", "deep/", "/*", "*", "trip/**/b.png", "[ab].*", "?.jpg", "keep.png", "day 1"),
    *("day*/", "\\#1.jpg", "\\!a.jpg", "\\[x].jpg", "[[]x].jpg", "éé.jpg", "# a.jpg", "", "  "),
    *("a.jpg ", "a\\ b.jpg", "/trip/raw/a.jpg", "**/deep/**", "a.jpg\r", "trip/*/", "/**/a.jpg"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def found(root: Path, made: list[Exclusion] | None = None, *also: Path) -> set[str]:
    """Return the photos that a scan of a library's folder finds, from there."""
    known = Exclusions(made or [], [root, *also])
    entries = scan_photos(root, exclusions=known)
    paths = {Path(entry.path) for entry in entries if hasattr(entry, "mtime_ns")}
    assert not any(known.leaves_out(path) for path in paths)
    everything = {entry.path for entry in find_photos(root) if isinstance(entry, FileState)}
    assert all(known.leaves_out(path) for path in everything - paths)
    return {str(path.relative_to(root)) for path in paths}


def patterns(*texts: str) -> list[Exclusion]:
    return [Exclusion("pattern", text) for text in texts]


def ignore(folder: Path, *lines: str) -> Path:
    (folder / IGNORE_FILE).write_bytes(os.fsencode("\n".join(lines)))
    return folder / IGNORE_FILE


@pytest.mark.skipif(shutil.which("git") is None, reason="compares with git")
def test_it_leaves_out_what_git_leaves_out(tree: Path) -> None:
    git = ["git", "-c", "core.quotePath=false", "-C", str(tree)]
    subprocess.run([*git, "init", "-q"], check=True)
    chance = random.Random(0)

    def lines() -> list[str]:
        chosen = chance.choices(PIECES, k=chance.randint(1, 5))
        return [f"!{line}" if chance.random() < 0.3 else line for line in chosen]

    outcomes = set()
    for _ in range(60):
        for folder in (tree, tree / "raw", tree / "trip", tree / "trip" / "raw"):
            (folder / IGNORE_FILE).unlink(missing_ok=True)
            if chance.random() < 0.5:
                ignore(folder, *lines())
        given = [line for line in lines() if line == line.rstrip()][: chance.randint(0, 2)]
        told = [part for line in given for part in ("--exclude", line)]
        listed = [*git, "ls-files", "-zo", f"--exclude-per-directory={IGNORE_FILE}", *told]
        said = subprocess.run(listed, capture_output=True, check=True, text=True).stdout
        expected = {name for name in said.split("\0") if name in TREE}
        assert found(tree, patterns(*given)) == expected, (given, sorted(tree.rglob(IGNORE_FILE)))
        outcomes.add(len(expected))
    assert len(outcomes) > 8


def test_a_folder_that_is_left_out_is_not_looked_into(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignore(tree, "raw/", "!raw/keep.png")
    looked: list[str] = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(path) or real(path))
    entries = [*scan_photos(tree, exclusions=Exclusions(patterns("day 1"), [tree]))]
    assert not any("raw" in str(entry) for entry in entries)
    assert set(looked) == {str(tree), str(tree / "trip")}


def test_paths_have_the_first_say_then_patterns_then_the_nearest_ignore_file(tree: Path) -> None:
    ignore(tree, "*.png", "!keep.png")
    ignore(tree / "raw", "keep.png", "!b.png")
    out = {"b.png", "trip/raw/b.png", "trip/day 1/b.png", "raw/keep.png", "raw/deep/keep.png"}
    assert found(tree) == {*TREE} - out
    made = [*patterns("!keep.png"), Exclusion("path", str(tree / "keep.png"))]
    out = {"b.png", "trip/raw/b.png", "trip/day 1/b.png", "keep.png"}
    assert found(tree, made) == {*TREE} - out


def test_a_pattern_may_be_a_path(tree: Path) -> None:
    everything = found(tree)
    deep = {name for name in everything if name.startswith("raw/deep")}
    assert found(tree, patterns(f"{tree}/raw/deep/")) == everything - deep
    assert found(tree, patterns(f"{tree}/raw/deep", "!deep/a.jpg")) == everything - deep
    assert found(tree, patterns(f"!{tree}/a.jpg", "*")) == set()
    assert found(tree, patterns("*", f"!{tree}/a.jpg")) == {"a.jpg"}
    assert found(tree, patterns(f"{tree.parent}/raw")) == everything


def test_what_is_named_is_looked_at_whatever_is_said_above(tree: Path) -> None:
    ignore(tree, "raw", "*.png")
    raw = tree / "raw"
    known = Exclusions([*patterns("a.jpg"), Exclusion("path", str(raw))], [tree, raw])
    inside = {Path(e.path).name for e in scan_photos(raw, exclusions=known)}
    assert inside == {"b.png", "keep.png"}
    assert known.at(raw) is not None
    assert known.leaves_out(raw / "deep" / "a.jpg")
    # A place below a folder of the library is looked at by the rules of that folder.
    above = Exclusions([], [tree])
    assert [*scan_photos(raw, exclusions=above)] == []
    assert [*scan_photos(raw / "deep" / "a.jpg", exclusions=above)] == []
    day = {Path(e.path).name for e in scan_photos(tree / "trip" / "day 1", exclusions=above)}
    assert day == {"a.jpg"}


def test_a_link_to_what_is_left_out_leads_nowhere(tree: Path) -> None:
    (tree / "trip" / "link").symlink_to(tree / "raw")
    (tree / "trip" / "other").symlink_to(tree / "raw" / "deep")
    made = [Exclusion("path", str(tree / "raw"))]
    assert found(tree, made) == {name for name in TREE if not name.startswith("raw/")}


@pytest.mark.parametrize("kind", ["folder", "link to nothing", "pipe", "large"])
def test_below_an_ignore_file_that_can_not_be_read_nothing_is_known(tree: Path, kind: str) -> None:
    file = tree / "trip" / IGNORE_FILE
    if kind == "folder":
        file.mkdir()
    elif kind == "link to nothing":
        file.symlink_to("nowhere")
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        with file.open("wb") as large:
            large.truncate(1 << 40)
    entries = list(find_photos(tree))
    (problem,) = (entry for entry in entries if isinstance(entry, ScanProblem))
    assert problem.path == tree / "trip"
    assert problem.reason.startswith(f"its {IGNORE_FILE} can't be read (")
    assert not any("trip" in str(entry) for entry in entries if entry is not problem)
    below = scan_photos(tree / "trip" / "raw", exclusions=Exclusions([], [tree]))
    assert [(one.path, one.reason) for one in below] == [(problem.path, problem.reason)]


def test_lines_that_are_no_patterns_are_said_and_passed_over(tree: Path) -> None:
    file = ignore(tree, "\ufeff*.png", "[z-a]", "!", "raw\r", os.fsdecode(b"caf\xe9.jpg"))
    (tree / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    entries = list(find_photos(tree))
    problems = [(e.path, e.reason) for e in entries if isinstance(e, ScanProblem)]
    assert problems == [(file, f"line {n} is no pattern: passed over") for n in (2, 3)]
    (met,) = (entry for entry in entries if isinstance(entry, IgnoreFile))
    assert (met.file.path, met.file.size) == (file, file.stat().st_size)
    assert found(tree) == {
        name for name in TREE if not name.endswith(".png") and not name.startswith("raw/")
    } - {"trip/raw/a.jpg"}


def test_what_could_match_nothing_is_refused_as_a_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("", " ", "# a", "/", "!", "[z-a]", "a\nb", "a\0b", "a\\", 5, None, b"a"):
        with pytest.raises(InvalidInput, match="pattern"):
            pattern_given(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert pattern_given("!*.png") == "!*.png"
    assert pattern_given("./a/../b/") == f"{tmp_path}/b/"
    assert pattern_given("!~/a*") == "!/home/someone/a*"


def test_pathspec_is_imported_only_for_patterns(tree: Path, monkeypatch) -> None:
    monkeypatch.setattr(exclusions, "_compiled", lambda lines: pytest.fail("compiled"))
    assert found(tree, [Exclusion("path", str(tree / "raw"))])
