"""Where the program is run from, by whom and on what: no tracebacks, no blame for the innocent."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cli_process import PROGRAM, Ended, clean_environment, clipsearch
from forked_program import forked_program
from places import PHOTO

from clipsearch import Library, UnfitMachine
from clipsearch.settings import absolute
from clipsearch.training.run_config import RunConfig
from clipsearch.training.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("tiny_model_used")

FAULT = "this is a fault of clipsearch"


@pytest.fixture(scope="module")
def library(tmp_path_factory, tiny_model_folder) -> Path:
    """Return a library of one photo; don't change it."""
    place = tmp_path_factory.mktemp("unforeseen")
    (place / "photos").mkdir()
    shutil.copy(PHOTO, place / "photos" / "cup.jpg")
    with Library(place / "library") as lib:
        lib.index([place / "photos"], model=str(tiny_model_folder))
    return place / "library"


def run(command: list[str], **more: str) -> Ended:
    done = subprocess.run(command, capture_output=True, env=clean_environment(**more), timeout=120)
    return Ended(done.returncode, done.stdout, done.stderr.decode())


def one_line(ended: Ended) -> str:
    (line,) = ended.err.splitlines()
    return line


def with_a_fault(where: str, *words: str | Path) -> Ended:
    """Run the program with an error in it that nobody foresaw, in place of a function of ours."""
    module, _, name = where.partition(":")
    fault = f"import {module}\ndef fault(*_, **__): return [][1]\n{module}.{name} = fault"
    return forked_program().run(*words, prepare=fault)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("clipsearch.library:Library.query", ["query", "a cat"]),
        ("clipsearch.library:Library.info", ["info"]),
        ("clipsearch.library:Library.index", ["index"]),
        ("clipsearch.library:Library.query", ["serve"]),
        ("clipsearch.watching.watcher:Watcher.run", ["watch"]),
        ("clipsearch.library:Library.remove", ["remove", "x"]),
    ],
)
def test_an_error_that_nobody_foresaw_has_a_line_and_a_code_of_its_own(where, words, library):
    ended = with_a_fault(where, *words, "--library", library)
    assert (ended.code, ended.out) == (70, b"")
    assert FAULT in one_line(ended)
    assert "IndexError: list index out of range" in ended.err


def test_where_the_fault_is_stands_below_verbose(library):
    words = ("query", "a cat", "--library", library, "--verbose")
    ended = with_a_fault("clipsearch.library:Library.query", *words)
    assert ended.code == 70
    assert "Traceback" in ended.err
    assert FAULT in ended.err.splitlines()[-1]


def in_a_deleted_folder(tmp_path: Path, *words: str | Path) -> Ended:
    (tmp_path / "here").mkdir(exist_ok=True)
    script = 'cd "$0" && rmdir "$0" && exec "$@"'
    return run(["sh", "-c", script, str(tmp_path / "here"), *map(str, [*PROGRAM, *words])])


def test_the_program_works_from_a_folder_that_was_deleted(library, tmp_path, tiny_model_folder):
    photos = library.parent / "photos"
    for words in (["query", "a cat"], ["info"], ["check"]):
        ended = in_a_deleted_folder(tmp_path, *words, "--library", library)
        assert (ended.code, ended.err) == (0, ""), words
    words = ["index", photos, "--model", tiny_model_folder, "--library", tmp_path / "new"]
    assert in_a_deleted_folder(tmp_path, *words).text.startswith("1 added")


@pytest.mark.parametrize(
    "words",
    [
        ["index", "photos"],
        ["query", "a cat", "--library", "library"],
        ["remove", "cup.jpg"],
        ["backup", "backup.tar"],
        ["restore", "backup.tar"],
        ["train", "--data", "captions.csv"],
    ],
)
def test_a_relative_path_means_nothing_in_a_folder_that_was_deleted(words, library, tmp_path):
    given = [] if "--library" in words or "train" in words else ["--library", str(library)]
    ended = in_a_deleted_folder(tmp_path, *words, *given)
    assert (ended.code, ended.out) == (2, b"")
    assert "the current folder was deleted" in one_line(ended)


def without_a_home(*words: str | Path) -> Ended:
    """Run the program as a user without a home or a name, as in a container."""
    nobody = ["unshare", "--user", "--map-user=12345", "env"]
    for name in ("HOME", "CLIPSEARCH_LIBRARY", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        nobody += ["-u", name]
    try:
        usable = run([*nobody, "true"]).code == 0
    except OSError:
        usable = False
    if not usable:
        pytest.skip("did not run: it takes unshare, with the right to be another user")
    return run([*nobody, *PROGRAM, *map(str, words)])


def test_a_user_without_a_home(library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert without_a_home("query", "a cat", "--library", library).code == 0
    for words in (["query", "a cat"], ["index", PHOTO], ["serve"]):
        refused = without_a_home(*words)
        assert refused.code == 2
        assert "no home" in one_line(refused)
    assert one_line(without_a_home("similar", "~/x.jpg", "--library", library))
    assert list(tmp_path.iterdir()) == []  # and no folder called ~


@pytest.mark.parametrize("command", ["similar", "index", "remove", "query"])
def test_the_home_of_nobody_is_one_line(command, library):
    ended = clipsearch(command, "~no-such-user/x.jpg", "--library", library)
    assert ended.code == 2
    assert "~no-such-user/x.jpg" in one_line(ended)


def test_a_path_keeps_the_name_of_a_user_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("~no-such-user/x.jpg") == tmp_path / "~no-such-user" / "x.jpg"


@pytest.mark.parametrize("content", [b"notes\n", b"", b"\xff\xd8 is no picture"])
def test_words_that_are_also_a_file_come_with_the_way_out(content, library, tmp_path):
    (tmp_path / "sunset").write_bytes(content)
    words = ("query", "sunset", "--library", library)
    ended = clipsearch(*words, cwd=tmp_path)
    assert ended.code == 2
    assert "--text searches for it as words" in one_line(ended)
    assert clipsearch(*words, "--text", cwd=tmp_path).code == 0
    assert "--text" not in one_line(clipsearch(*words, "--image", cwd=tmp_path))


@pytest.mark.parametrize(
    "words",
    [
        ["index", ".", "--library", ".", "--model", "builtin"],
        ["index", ".", "--library", "new/library", "--model", "nonsense"],
        ["index", ".", "none", "--library", "library"],
        ["watch", ".", "--library", "."],
        ["restore", "photo.jpg", "--library", "library"],
        ["backup", "backup.tar", "--library", "library"],
        ["serve", "--library", "library"],
        ["train", "nonsense"],
    ],
)
def test_a_refused_command_leaves_nothing(words, tmp_path):
    shutil.copy(PHOTO, tmp_path / "photo.jpg")
    ended = clipsearch(*words, cwd=tmp_path)
    assert ended.code in (2, 3)
    assert one_line(ended)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize("there", [False, True])
def test_a_run_that_can_not_begin_takes_the_folders_away_that_it_made(there, tmp_path):
    out = tmp_path / "runs" / "first"
    if there:
        out.mkdir(parents=True)
    RunFolder.create(out, RunConfig()).discard_if_unbegun()
    assert list(tmp_path.rglob("*")) == ([out.parent, out] if there else [])


def test_a_model_that_is_refused_leaves_no_library(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "open_clip_config.json").write_text("{}")
    (tmp_path / "model" / "open_clip_model.safetensors").write_text("no weights")
    words = ["index", PHOTO, "--library", "library", "--model", "model"]
    assert clipsearch(*words, cwd=tmp_path).code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_machine_without_proc_is_not_blamed_on_the_model(library):
    hidden = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
    try:
        usable = run([*hidden, "true"]).code == 0
    except OSError:
        usable = False
    if not usable:
        pytest.skip("did not run: it takes unshare, with the right to mount")
    for words in (
        ["query", "a cat", "--library", library],
        ["check", "--library", library],
    ):
        ended = run([*hidden, *PROGRAM, *map(str, words)])
        assert ended.code == UnfitMachine.exit_code, words
        last = ended.err.splitlines()[-1]  # cpuinfo has its own words before it
        assert "/proc" in last
        assert "weights" not in last
        assert "Traceback" not in ended.err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_change_no_exit_code(closed, library):
    words = ["query", "a cat", "--library", str(library)]
    assert run(["sh", "-c", f'exec "$@" {closed}', "sh", *PROGRAM, *words]).code == 0
