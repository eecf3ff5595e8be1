"""`clipsearch query --batch`: each line is answered as if it were asked alone."""

import json
import os
from pathlib import Path

import pytest
from cli_process import clipsearch

from clipsearch import Library
from clipsearch.cli import batch
from clipsearch.cli.batch import run_batch
from clipsearch.cli.search_flags import Search
from clipsearch.errors import InvalidInput
from clipsearch.options import SearchOptions

MINE = {"CLIPSEARCH_LIBRARY": "library"}


@pytest.fixture
def here(small_library, monkeypatch) -> Path:
    monkeypatch.chdir(small_library)
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(small_library / "library"))
    return small_library


@pytest.fixture
def answers(here, capsysbinary):
    """Answer lines in this process."""

    def ask(lines: bytes, **flags: object) -> list[dict[str, object]]:
        (here / "questions.txt").write_bytes(lines)
        run_batch(Search("query", "", SearchOptions(k=2), **flags), "questions.txt")  # type: ignore[arg-type]
        out = capsysbinary.readouterr().out.decode()
        return [json.loads(line) for line in out.splitlines()]

    return ask


def some_photo(here: Path) -> Path:
    return next(path for path in sorted((here / "photos").rglob("*.jpg")) if path.is_file())


def test_a_line_finds_what_it_finds_alone_whatever_stands_beside_it(here):
    photo = some_photo(here).relative_to(here)
    lines = ["a dog", "", str(photo), "no/such.jpg", " ", "two people", photo.as_posix() + "x.png"]
    (here / "questions.txt").write_text("\n".join(lines))
    ended = clipsearch("query", "--batch", "questions.txt", "--top", "3", environment=MINE)
    assert (ended.code, ended.err) == (
        0,
        "2 of 5 questions could not be asked: their lines say why\n",
    )
    found = [json.loads(line) for line in ended.lines]
    assert [(one["number"], one["query"]) for one in found] == [
        (number, line) for number, line in enumerate(lines, 1) if line.strip()
    ]
    with Library(here / "library", read_only=True) as library:
        for one, alone in zip(found[:2], ("a dog", photo), strict=True):
            assert one["hits"] == [hit.to_dict() for hit in library.query(alone, k=3)]
    assert ["error" in one for one in found] == [False, False, True, False, True]
    assert found[2]["error"] == "there is no file no/such.jpg; --text searches for it as words"


def test_standard_input_and_fields(here):
    ended = clipsearch(
        *("query", "--batch", "-", "--fields", "path"),
        stdin=b"a dog\r\n\xffcat",
        environment=MINE,
    )
    assert ended.code == 0
    first, second = [json.loads(line) for line in ended.lines]
    assert {tuple(hit) for hit in first["hits"]} == {("path",)}
    assert "is no text" in second["error"]


def test_a_picture_that_can_not_be_read_stops_no_other(here, answers):
    (here / "broken.jpg").write_text("words")
    photo = some_photo(here)
    found = answers(os.fsencode(f"{photo}\nbroken.jpg\n-\na dog\n"))
    assert [one.get("error") for one in found] == [
        None,
        "not a picture (looks like text)",
        "a picture on standard input can't be asked for among others",
        None,
    ]
    assert found[0]["hits"][0]["path"] == str(photo)  # type: ignore[index]


def test_words_or_pictures_alone_when_it_is_said(here, answers):
    photo = os.fsencode(some_photo(here))
    assert "hits" in answers(photo + b"x.jpg", text=True)[0]
    words, picture = answers(b"a dog\n" + photo, image=True)
    assert "there is no file a dog" in str(words["error"])
    assert "hits" in picture


def test_lines_are_answered_a_block_at_a_time_and_none_is_endless(answers, monkeypatch):
    monkeypatch.setattr(batch, "LINES_AT_ONCE", 3)
    monkeypatch.setattr(batch, "_LONGEST_LINE", 50)
    sizes: list[int] = []
    ask = batch._answers
    monkeypatch.setattr(
        batch, "_answers", lambda *given: sizes.append(len(given[2])) or ask(*given)
    )
    lines = [b"a dog", b"x" * 51, b"y" * 500, b"z" * 49, b"", b"a cat", b"w" * 101]
    found = answers(b"\xef\xbb\xbf" + b"\n".join(lines))
    assert [one["number"] for one in found] == [1, 2, 3, 4, 6, 7]
    assert [one["query"] for one in found] == ["a dog", None, None, "z" * 49, "a cat", None]
    assert ["error" in one for one in found] == [False, True, True, False, False, True]
    assert sizes == [3, 3]


@pytest.mark.parametrize(
    ("lines", "options", "code"),
    [(b"\n\n", {}, 1), (b"a dog", {"min_score": 1.0}, 1), (b"no/such.jpg\n-", {}, 2)],
)
def test_exit_codes_where_nothing_is_found(here, lines, options, code, capsys):
    (here / "questions.txt").write_bytes(lines)
    with pytest.raises(SystemExit) as ended:
        run_batch(Search("query", "", SearchOptions(**options)), "questions.txt")
    assert ended.value.code == code
    assert capsys.readouterr().err.endswith("nothing found\n")


@pytest.mark.parametrize("source", ["nope.txt", "photos", "x" * 5000])
def test_questions_that_can_not_be_read(here, source):
    with pytest.raises(InvalidInput, match="can't"):
        run_batch(Search("query", ""), source)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a dog", "--batch", "-"), "--batch takes its questions from the file"),
        (("--batch", "-", "--paths"), "--batch can't be used together with --paths"),
        (("--text",), "query needs QUERY"),
    ],
)
def test_what_does_not_go_together(arguments, said):
    ended = clipsearch("query", *arguments, stdin=b"a dog")
    assert ended.code == 2
    assert said in ended.err
