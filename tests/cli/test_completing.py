"""The tab key: commands, options and values, in a real bash."""

import os
import pty
import re
import select
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from cli_process import clean_environment

SOURCE = {shell: {"_CLIPSEARCH_COMPLETE": f"source_{shell}"} for shell in ("bash", "zsh", "fish")}


@pytest.fixture
def around(tmp_path: Path, small_library: Path) -> dict[str, str]:
    """Return an environment with a `clipsearch` on the path, and a library of one folder."""
    program = tmp_path / "bin" / "clipsearch"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m clipsearch "$@"\n')
    program.chmod(0o755)
    return clean_environment(
        HOME=str(tmp_path),
        PATH=f"{program.parent}:{os.environ['PATH']}",
        CLIPSEARCH_LIBRARY=str(small_library / "library"),
        TERM="dumb",
    )


def script(shell: str, around: dict[str, str]) -> str:
    done = subprocess.run(
        ["clipsearch"], env={**around, **SOURCE[shell]}, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_bash_is_offered_commands_options_and_values(around, tmp_path, small_library):
    photos = str(small_library / "photos")
    with closing(sqlite3.connect(small_library / "library" / "catalog.sqlite")) as catalog, catalog:
        catalog.execute("INSERT INTO tags (name, kind) VALUES ('Rex', 'taught'), ('dog', 'word')")
    offered = {
        "clipsearch que": "query",
        "clipsearch query dog --mo": "--model",
        "clipsearch query dog --device c": "cpu cuda",
        "clipsearch query dog --fields path,sc": "path,score",
        "clipsearch query dog --tag ''": "Rex",
        "clipsearch teach R": "Rex",
        "clipsearch duplicates --only b": "burst",
        "clipsearch index --model b": "builtin base best",
        f"clipsearch index {photos[:-3]}": photos,
        f"clipsearch --library /nowhere index {photos[:-3]}": "",
        "clipsearch train small": "small-resnet small-vit",
        "clipsearch eval compare --task z": "zeroshot",
        "clipsearch eval few": "few-shot",
        "clipsearch help eval co": "compare",
    }
    words = [f'words {line}; printf "%s\\n" "${{COMPREPLY[*]}}"' for line in offered]
    asked = "\n".join(
        (
            script("bash", around),
            'words() { COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); COMPREPLY=()',
            "_clipsearch_completion clipsearch; }",
            *words,
        )
    )
    done = subprocess.run(["bash", "-c", asked], env=around, capture_output=True, text=True)
    assert dict(zip(offered, done.stdout.splitlines(), strict=True)) == offered
    assert done.stderr == ""


def test_the_tab_key_completes_what_is_typed(around, tmp_path):
    (tmp_path / "completion").write_text(script("bash", around))
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        **dict.fromkeys(("stdin", "stdout", "stderr"), theirs),
        env=around,
        cwd=tmp_path,
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, b"source completion\nclipsearch models pul\t")
    seen, give_up = "", time.monotonic() + 60
    while "models pull " not in seen and time.monotonic() < give_up:
        if select.select([ours], [], [], 1)[0]:
            seen += os.read(ours, 4096).decode()
    shell.kill()
    shell.wait()
    os.close(ours)
    assert "clipsearch models pull " in re.sub("[\x07\r]", "", seen)


def test_each_shell_has_a_script(around):
    assert "complete -o default -F _clipsearch_completion clipsearch" in script("bash", around)
    assert script("zsh", around).strip().startswith("#compdef clipsearch")
    assert script("fish", around).startswith("complete --command clipsearch")


def test_completion_is_installed_for_the_shell_that_runs(around, tmp_path):
    # In a group: bash becomes the last command of a line, and then no shell would run it.
    line = "{ clipsearch --install-completion && clipsearch --show-completion; } && true"
    done = subprocess.run(["bash", "-c", line], env=around, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "complete_bash" in done.stdout
    assert ".bash_completions/clipsearch.sh" in (tmp_path / ".bashrc").read_text()
    assert (tmp_path / ".bash_completions" / "clipsearch.sh").is_file()


def test_completing_loads_nothing_heavy(around):
    code = (
        "import sys; sys.argv = ['clipsearch']\n"
        "from clipsearch.cli import main\n"
        "try: main()\n"
        "except SystemExit: print([name for name in ('torch', 'rich', 'onnxruntime', 'open_clip')"
        " if name in sys.modules])"
    )
    asked = {"_CLIPSEARCH_COMPLETE": "complete_bash", "COMP_WORDS": "clipsearch index /"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**around, **asked, "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stdout.startswith("/")
