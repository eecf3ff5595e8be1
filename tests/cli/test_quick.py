"""A search read without Typer is the one that Typer reads."""

from pathlib import Path

import pytest
import typer

from clipsearch.cli import library_info, searching
from clipsearch.cli.app import app
from clipsearch.cli.quick import INDEX_FLAGS, quick_index, quick_info, quick_search
from clipsearch.cli.search_flags import Search

READ = [
    "query dog",
    "query dog --top 5",
    "query --top=5 dog",
    "query -k 5 dog",
    "query -k5 dog --json",
    "query dog -0",
    "query dog --print0 --paths",
    "query - --image",
    "query dog.jpg --text",
    "query dog --min-score 0.25",
    "query dog --min-score=-1",
    "query dog --library somewhere --include-away",
    "--library before query dog",
    "--library before query dog --library after",
    "query dog --model builtin --device cpu",
    "query dog --exact",
    "similar a.jpg --exact --json",
    "query dog -k 5 -k 6",
    "similar a.jpg",
    "similar a.jpg -k3 --paths",
    "similar - --min-score 1",
    "query a dog on a beach",
    "query dog --fields path,score",
    "query dog --json --fields=path",
    "query a dog --top 5 on a beach",
    "similar my holiday.jpg",
    "query dog --after 2023 --camera Pixel",
    "query dog --in=/photos --before 2023-07 --near 48.85,2.35,5 --lens 50mm",
    "query dog --type jpg,heic --min-width 1000 --orientation portrait",
    "similar a.jpg --tag beach --tag dog --missing date",
    "query dog in:holidays",
    "list",
    "list --sort path -k5 --offset 5 --json",
    "list in:holidays --camera Pixel --include-away",
]
LEFT_TO_TYPER = [
    "",
    "query",
    "query dog --help",
    "query dog -h",
    "query dog --json --paths",
    "query dog --text --image",
    "query dog -k 0",
    "query dog -k=5",
    "query dog -k",
    "query dog --top x",
    "query dog --top",
    "query dog --top -5",
    "query dog --min-score nan",
    "query dog --min-score 40",
    "query dog --fields path,nonsense",
    "query dog --fields path --paths",
    "query a dog -- on a beach",
    "query dog --device gpu",
    "query dog --verbose",
    "query dog --jso",
    "query dog --json=1",
    "query -- -dog",
    "query -0k5 dog",
    "--json query dog",
    "--version query dog",
    "similar a.jpg --text",
    "similar a.jpg --image",
    "info",
    "index query dog",
    "query dog --after",
    "query dog --min-width 0",
    "query dog --orientation tall",
    "list --sort relevance",
    "list --all",
    "list --min-score 0.2",
    "list --help",
]


@pytest.mark.parametrize("line", READ)
def test_what_is_read_quickly_is_read_by_typer_in_the_same_way(line, monkeypatch):
    read: list[Search] = []
    monkeypatch.setattr(searching, "run", read.append)
    with pytest.raises(SystemExit) as ended:
        app(line.split(), prog_name="clipsearch")
    assert ended.value.code == 0
    assert read == [quick_search(line.split())]


@pytest.mark.parametrize("line", LEFT_TO_TYPER)
def test_what_is_not_plain_is_left_to_typer(line):
    assert quick_search(line.split()) is None


def test_what_is_asked_may_be_empty_or_hold_anything():
    def said(words: str) -> Search:
        return Search.of("query", [words], {})

    assert quick_search(["query", ""]) == said("")
    assert quick_search(["query", "a", "", "dog"]) is None  # of a variable that is not set
    assert quick_search(["query", "a=b -k c"]) == said("a=b -k c")
    assert quick_search(["query", "caf\udce9.jpg"]) == said("caf\udce9.jpg")


@pytest.mark.parametrize(
    "line", ["info", "info --json", "info --library a --failures", "--library a info --json"]
)
def test_info_is_read_quickly_as_typer_reads_it(line, monkeypatch):
    shown: list[dict] = []

    def show(library, *, failures=False, json=False, verbose=False):
        shown.append({"library": library, "failures": failures, "json": json, "verbose": verbose})

    monkeypatch.setattr(library_info, "show_info", show)
    with pytest.raises(SystemExit):
        app(line.split(), prog_name="clipsearch")
    show(**quick_info(line.split()))
    assert shown[0] == shown[1]


@pytest.mark.parametrize(
    "line", ["", "info --help", "info x", "info --jso", "info -k5", "info --verbose", "query info"]
)
def test_info_that_is_not_plain_is_left_to_typer(line):
    assert quick_info(line.split()) is None


def test_index_of_what_is_known_is_read_quickly_as_typer_reads_it():
    command = typer.main.get_command(app).commands["index"]
    options = {option: given for given in command.params for option in given.opts}
    assert all(options[flag].name == name for flag, name in INDEX_FLAGS.items())
    assert all(options[flag].is_flag for flag in INDEX_FLAGS)
    line = ["--library", "before", "index", "--model=builtin", *INDEX_FLAGS]
    flags = dict.fromkeys(INDEX_FLAGS.values(), True)
    assert quick_index(line) == {"library": Path("before"), "model": "builtin", **flags}
    assert quick_index(["index"]) == {}


@pytest.mark.parametrize(
    "line", ["", "index photos", "index --help", "index --device cpu", "index -k5", "--json index"]
)
def test_index_that_is_not_plain_is_left_to_typer(line):
    assert quick_index(line.split()) is None
