"""`clipsearch classify`, `tag` and `teach`: what they say, and what they refuse."""

import shutil
import sys
from pathlib import Path

import pytest
from places import EXAMPLES

from clipsearch import Library
from clipsearch.cli import main
from clipsearch.cli.teach_command import _each_refused

ANIMALS = EXAMPLES / "animals"
PHOTOS = ("cow-on-meadow", "giraffes", "sheep", "tabby-cat-face")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("tags")
    with Library(place / "library") as library:
        library.index([ANIMALS / f"{name}.jpg" for name in PHOTOS], model="builtin")
    return place / "library"


@pytest.fixture
def tell(made: Path, tmp_path: Path, monkeypatch, capfd):
    """Run a command line in this process; return how it ended, what it wrote and what it said."""
    shutil.copytree(made, tmp_path / "library")
    monkeypatch.chdir(ANIMALS)
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(tmp_path / "library"))
    monkeypatch.setenv("CLIPSEARCH_NO_SERVER", "1")

    def run_it(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["clipsearch", *arguments])
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        out, err = capfd.readouterr()
        return int(str(code)), out, err

    return run_it


def names(out: str) -> list[str]:
    return [Path(line).stem for line in out.splitlines()]


def test_every_photo_behind_not_is_refused(tell) -> None:
    code, out, _ = tell("teach", "Rex", "sheep.jpg", "--not", "giraffes.jpg", "cow-on-meadow.jpg")
    assert (code, out.partition(";")[2]) == (
        0,
        " learned from 1 example and 2 that show something else\n",
    )
    _, out, _ = tell("list", "--tag", "rex", "--paths")
    assert "sheep" in names(out)
    assert tell("teach", "rex")[0] in (0, 1)
    assert tell("teach", "Rexx")[2] == "clipsearch: there is no tag 'Rexx'; did you mean Rex?\n"
    assert not {"giraffes", "cow-on-meadow"} & {*names(out)}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("a.jpg --not b.jpg c.jpg", "a.jpg --not b.jpg --not c.jpg"),
        ("--not b.jpg c.jpg --json d.jpg", "--not b.jpg --not c.jpg --json d.jpg"),
        ("--not=b.jpg c.jpg", "--not=b.jpg --not c.jpg"),
        ("--not b.jpg --not c.jpg", "--not b.jpg --not c.jpg"),
        ("--not - --library x", "--not - --library x"),
        ("--not --list", "--not --list"),
        ("a.jpg --not", "a.jpg --not"),
        ("--not b.jpg -- c.jpg", "--not b.jpg -- c.jpg"),
    ],
)
def test_not_holds_up_to_the_next_option(given: str, read: str) -> None:
    assert [*_each_refused(given.split())] == read.split()


def test_what_is_no_picture_is_named(tell, tmp_path: Path) -> None:
    text = tmp_path / "notes\x1b[31m.jpg"
    text.write_text("no picture")
    code, out, err = tell("classify", "sheep.jpg", str(text), "gone.jpg", "--labels", "a,b")
    assert code == 2
    assert out.count("sheep.jpg") == 2
    shown = str(text).replace("\x1b", "\\x1b")
    assert err.splitlines() == [
        f"{shown}: not a picture (looks like text)",
        "there is no file gone.jpg",
    ]
    code, _, err = tell("teach", "Rex", "sheep.jpg", str(text))
    assert (code, err) == (2, f"clipsearch: {shown}: not a picture (looks like text)\n")


def test_a_tag_that_no_photo_has_is_named(tell) -> None:
    code, _, err = tell("tag", "--list")
    assert (code, err) == (
        0,
        "no photo has a tag yet: `clipsearch tag` tags all with plain words\n",
    )
    assert tell("teach", "--list")[2].startswith("nothing was taught yet")
    code, _, err = tell("list", "--tag", "sheep")
    assert (code, "photos have no tags yet" in err) == (1, True)
    tell("teach", "Dolly", "sheep.jpg")
    for asked in (["list", "--tag", "Dollly"], ["query", "a photo tag:Dollly"]):
        code, _, err = tell(*asked)
        assert code == 1
        assert err.endswith("nothing found: no photo has the tag Dollly; did you mean Dolly?\n")
    assert tell("list", "--tag", "dolly", "--type", "png")[2].endswith("passes the filters\n")


def test_a_word_that_is_a_kind_of_itself_is_refused(tell, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("cow < animal\nanimal < beast\nbeast < cow\n")
    code, _, err = tell("tag", "--words", str(tmp_path / "words.txt"))
    assert (code, err.endswith("cow is a kind of itself: cow < animal < beast < cow\n")) == (
        2,
        True,
    )
