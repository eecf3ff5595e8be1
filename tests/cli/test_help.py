"""What `--help` shows: for people, as wide as the terminal, with examples that work."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import clean_environment, clipsearch
from places import EXAMPLES as PHOTOS
from test_usage import COMMANDS

from clipsearch.cli.app import app
from clipsearch.cli.eval_app import eval_app
from clipsearch.cli.examples import EXAMPLES

EVALUATIONS = [f"eval {command.name}" for command in eval_app.registered_commands]
PAGES = ["", *COMMANDS, "models exported", "models pull", *EVALUATIONS]
ALL_EXAMPLES = [example for examples in EXAMPLES.values() for example in examples]
# What can run in a moment, in this order: the others train, stay, or fetch.
RUN = (
    "index",
    "query",
    "similar",
    "list",
    "duplicates",
    "classify",
    "tag",
    "teach",
    "info",
    "models",
    "check",
    "backup",
    "restore",
    "remove",
)
NOT_RUN = ("models pull base",)


@pytest.fixture
def page(capsys, monkeypatch):
    def show(command: str, columns: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as ended:
            app([*command.split(), "--help"], prog_name="clipsearch")
        assert ended.value.code == 0
        return capsys.readouterr().out

    return show


@pytest.mark.parametrize("command", PAGES)
@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_a_page_is_for_people_and_as_wide_as_the_terminal(command, columns, page):
    lines = page(command, columns).splitlines()
    assert max(map(len, lines)) <= columns
    for line in lines[1:]:
        assert not re.search(r"\.\.\.$|\[default: (off|no)\]|<\w+|list\[|x>=|=x|\{", line), line


def test_a_wide_terminal_is_used(page):
    assert max(map(len, page("query", 120).splitlines())) > 100


@pytest.mark.parametrize("command", PAGES)
def test_every_argument_and_option_has_help(command, page):
    text = page(command, 200)
    for heading in ("Arguments:\n", "Options:\n", "Commands:\n"):
        for line in text.partition(heading)[2].partition("\n\n")[0].splitlines():
            assert line.startswith("     ") or re.match(r"  \S.*? {2,}\S", line), line


def test_the_commands_are_those_of_the_program_in_groups(page):
    named = re.findall("^  ([a-z]+)  ", page("", 200), re.MULTILINE)
    assert sorted(named) == sorted(COMMANDS)
    headings = re.findall("^([A-Z].*):$", page(""), re.MULTILINE)
    assert headings == ["Find", "Keep the library", "Models", "Care", "Options"]


def test_help_is_a_command_too(page):
    assert clipsearch("help").text == page("")
    assert clipsearch("help", "models", "pull").text == page("models pull")
    assert clipsearch("help", "eval", "compare").text == page("eval compare")
    ended = clipsearch("help", "quer")
    assert (ended.code, ended.out) == (2, b"")
    assert "`clipsearch query`" in ended.err


def test_every_command_has_three_examples(page):
    assert EXAMPLES.keys() == {*PAGES} - {""}
    for command in EXAMPLES:
        shown = page(command).partition("\nExamples:\n")[2].splitlines()[::2]
        assert shown == [f"  clipsearch {example.line}" for example in EXAMPLES[command]]
        assert len(EXAMPLES[command]) == 3


@pytest.mark.parametrize("example", ALL_EXAMPLES, ids=lambda example: example.line)
def test_an_example_names_what_there_is(example):
    for part in re.split(r"\| xargs -0 clipsearch|\||<", example.line)[:1]:
        with pytest.raises(SystemExit) as ended:
            app([*shlex.split(part), "--help"], prog_name="clipsearch")
        assert ended.value.code == 0


def test_examples_do_what_they_say(tmp_path):
    pictures = tmp_path / "Pictures"
    shutil.copytree(PHOTOS / "landscape", pictures / "landscape")
    beach = PHOTOS / "landscape" / "mont-saint-michel.jpg"
    for copy in ("Pictures/blurred.jpg", "Pictures/old/one.jpg", "beach.jpg"):
        (tmp_path / copy).parent.mkdir(exist_ok=True)
        shutil.copy(beach, tmp_path / copy)
    shutil.copy(PHOTOS / "animals" / "german-shepherd.jpg", tmp_path / "rex.jpg")
    # What matches weakly is cut, unless its name says what is asked for.
    shutil.copy(PHOTOS / "animals" / "two-dogs-at-window.jpg", pictures / "dog-on-a-beach.jpg")
    for words in ("labels.txt", "words.txt"):
        (tmp_path / words).write_text("a beach\na church\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "clipsearch"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m clipsearch "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    around = clean_environment(HOME=str(tmp_path), PATH=path, HF_HUB_OFFLINE="1")
    around = {name: value for name, value in around.items() if not name.startswith("XDG_")}
    for command in RUN:
        for example in EXAMPLES[command]:
            if example.line in NOT_RUN:
                continue
            _do(example.line, tmp_path, around)
    assert list((tmp_path / "out").iterdir())
    assert (tmp_path / "again" / "catalog.sqlite").is_file()


def _do(line: str, folder: Path, environment: dict[str, str]) -> None:
    """Run an example; two of them need another library, which is then that of this user."""
    if line.endswith("--library ~/albums") or line == "restore library.tar --json":
        line = line.replace(" --library ~/albums", " --force").replace("--json", "--library r")
    if line == "restore library.tar":
        shutil.move(folder / ".local", folder / "before")
    done = subprocess.run(
        ["bash", "-c", f"clipsearch {line}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    nothing_found = done.returncode == 1 and "nothing found" in done.stderr
    assert done.returncode == 0 or nothing_found, (line, done.stderr)
