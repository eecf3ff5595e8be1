"""The program without a library: help, usage errors, what QUERY means."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import clipsearch
from forked_program import forked_program
from places import PHOTO

from clipsearch.cli.asked import given_picture, understand
from clipsearch.errors import InvalidInput

COMMANDS = (
    "index",
    "watch",
    "query",
    "similar",
    "list",
    "duplicates",
    "classify",
    "tag",
    "teach",
    "serve",
    "mcp",
    "info",
    "models",
    "train",
    "eval",
    "remove",
    "check",
    "backup",
    "restore",
)


def test_no_command_shows_help():
    ended = clipsearch()
    assert ended.code == 0
    assert all(f"\n  {command}" in ended.text for command in COMMANDS)
    assert "Exit codes: 0 found or done, 1 nothing found" in ended.text


def test_the_version_is_that_of_the_package():
    import clipsearch as package

    assert clipsearch("--version").text == f"clipsearch {package.__version__}\n"


def test_the_installed_command_is_the_program():
    command = shutil.which("clipsearch", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("clipsearch is not installed in this environment")
    done = subprocess.run([command, "--version"], capture_output=True, check=True)
    assert done.stdout == clipsearch("--version").out


def test_help_loads_nothing_that_takes_time():
    heavy = ("torch", "open_clip", "faiss", "onnxruntime", "numpy", "PIL", "rich", "sqlite3")
    code = (
        "import sys; sys.argv = ['clipsearch', '--help']\n"
        "from clipsearch.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["query"],
        ["query", "a dog", "--nonsense"],
        ["query", "a dog", "--top", "0"],
        ["query", "a dog", "--device", "abacus"],
        ["query", "a dog", "--min-score", "high"],
        ["query", "a dog", "--min-score", "40"],
        ["query", "a dog", "--json=1"],
        ["query", "a dog", "--top"],
        ["info", "extra"],
        ["backup", "a.tar", "b.tar"],
        ["eval", "nonsense"],
        ["eval", "retrieval"],
        ["eval", "compare", "a", "b", "--task", "both"],
        ["train", "--epochs", "few"],
        ["--json", "info"],
        ["serve", "--idle", "nan"],
        ["watch", "--rescan", "0"],
        ["query", "a dog", "--json", "--paths"],
        ["query", "a dog", "--text", "--image"],
        ["remove"],
        ["models", "pull"],
        ["index", ".", "--max-megapixels", "-1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_says_so_on_standard_error(arguments, tmp_path):
    ended = forked_program().run(*arguments, cwd=tmp_path)
    assert (ended.code, ended.out) == (2, b"")
    (line,) = ended.err.splitlines()
    assert line.startswith("clipsearch: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["query", "a dog"], ["similar", str(PHOTO)], ["info"]])
def test_a_missing_library_ends_with_3_and_one_line_that_says_how_to_make_one(command, tmp_path):
    ended = clipsearch(*command, "--library", tmp_path / "none")
    assert (ended.code, ended.out) == (3, b"")
    (line,) = ended.err.splitlines()
    assert line.startswith("clipsearch: ")
    assert "clipsearch index" in line
    assert not (tmp_path / "none").exists()


def test_the_library_may_be_named_before_or_after_the_command_or_by_the_environment(tmp_path):
    named = [
        clipsearch("--library", tmp_path / "a", "info"),
        clipsearch("--library", tmp_path / "b", "info", "--library", tmp_path / "a"),
        clipsearch("info", environment={"CLIPSEARCH_LIBRARY": str(tmp_path / "a")}),
        clipsearch(
            "--library", tmp_path / "a", "info", environment={"CLIPSEARCH_LIBRARY": str(tmp_path)}
        ),
    ]
    assert all(str(tmp_path / "a") in ended.err for ended in named)


def test_a_path_that_is_not_there_ends_with_2_and_makes_no_library(tmp_path):
    ended = clipsearch("index", tmp_path / "nowhere", "--library", tmp_path / "library")
    assert (ended.code, ended.out) == (2, b"")
    assert ended.err == f"clipsearch: {tmp_path / 'nowhere'} does not exist\n"
    assert not (tmp_path / "library").exists()


@pytest.mark.parametrize("name", ["x" * 5000, "~no-such-user/photos"])
def test_a_name_that_no_file_can_have_ends_with_2_and_one_line(name, tmp_path):
    ended = [
        clipsearch("index", name, "--library", tmp_path / "library"),
        clipsearch("query", "--image", name, "--library", tmp_path / "library"),
    ]
    assert [len(e.err.splitlines()) for e in ended] == [1, 1]
    assert [e.code for e in ended] == [2, 3]


def test_an_unknown_model_ends_with_2_and_the_choices(tmp_path):
    (tmp_path / "photos").mkdir()
    ended = clipsearch(
        "index", tmp_path / "photos", "--model", "no-such", "--library", tmp_path / "library"
    )
    assert (ended.code, ended.out) == (2, b"")
    (line,) = ended.err.splitlines()
    assert "builtin" in line
    assert "multilingual" in line


def test_a_file_that_is_no_library_ends_with_3_and_stays_as_it_was(tmp_path):
    (tmp_path / "catalog.sqlite").write_text("my notes")
    ended = clipsearch("query", "a dog", "--library", tmp_path)
    assert (ended.code, ended.out) == (3, b"")
    assert len(ended.err.splitlines()) == 1
    assert (tmp_path / "catalog.sqlite").read_text() == "my notes"


def test_a_traceback_is_shown_only_with_verbose(tmp_path):
    quiet = clipsearch("info", "--library", tmp_path / "none")
    loud = clipsearch("info", "--library", tmp_path / "none", "--verbose")
    assert "Traceback" not in quiet.err
    assert "Traceback" in loud.err
    assert loud.err.splitlines()[-1] == quiet.err.strip()
    assert loud.code == quiet.code == 3


def test_models_lists_what_the_option_takes():
    ended = clipsearch("models")
    names = [line.split("\t")[0] for line in ended.lines]
    assert names == ["builtin", "base", "quality", "best", "multilingual"]
    in_json = [json.loads(line) for line in clipsearch("models", "--json").lines]
    assert [model["name"] for model in in_json] == names
    assert in_json[1]["width"] == 512


def test_pulling_an_unknown_model_ends_with_2():
    ended = clipsearch("models", "pull", "no-such")
    assert (ended.code, ended.out) == (2, b"")
    assert ended.err.startswith("clipsearch: no model is called 'no-such'")


# what QUERY means


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beach.jpg").write_bytes(b"...")
    (tmp_path / "scan").write_bytes(b"...")
    (tmp_path / "cats").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "words", ["a dog on a beach", "black/white", "cats", "x" * 5000, "~nobody/x"]
)
def test_words_are_words(here, words):
    assert understand(words) == words


@pytest.mark.parametrize("name", ["beach.jpg", "./beach.jpg", "scan"])
def test_an_existing_file_is_a_picture(here, name):
    assert understand(name) == Path(name)
    assert understand(name, text=True) == name


@pytest.mark.parametrize("name", ["sea.jpg", "my holiday.PNG", "./sea", "/nowhere/sea", "~/sea"])
def test_what_looks_like_a_file_and_is_none_is_an_error_that_names_the_way_out(here, name):
    with pytest.raises(InvalidInput, match="--text"):
        understand(name)
    assert understand(name, text=True) == name


def test_image_forces_words_to_be_a_path(here):
    assert understand("a dog", image=True) == Path("a dog")
    with pytest.raises(InvalidInput, match="is a folder"):
        understand("cats", image=True)


def test_other_addresses_than_http_are_refused(here):
    with pytest.raises(InvalidInput, match="only http and https"):
        understand("ftp://example.org/a.jpg")
    assert understand("ftp://example.org/a.jpg", text=True) == "ftp://example.org/a.jpg"


def test_a_file_may_be_named_by_its_address(here):
    address = (here / "beach.jpg").as_uri()
    assert understand(address) == given_picture(address) == here / "beach.jpg"
    with pytest.raises(InvalidInput, match="is a folder"):
        understand((here / "cats").as_uri())


def test_a_picture_may_stand_in_the_address_itself(here):
    address = "data:image/jpeg;base64,YmVhY2g="
    assert understand(address) == given_picture(address) == b"beach"
    assert understand(address, text=True) == address


def test_a_file_name_that_is_not_utf8_is_a_path(here):
    name = os.fsdecode(b"caf\xe9.jpg")
    Path(name).write_bytes(b"...")
    assert understand(name) == Path(name)
