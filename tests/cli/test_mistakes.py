"""What the program says of a mistake: one line, with what was meant."""

from pathlib import Path

import pytest
from cli_process import clipsearch
from places import EXAMPLES, PHOTO

from clipsearch import Library, near_names
from clipsearch.cli import main
from clipsearch.cli.asked import pictures, understand
from clipsearch.errors import InvalidInput

MEANT = [
    ("a dog on a beach", "did you mean `clipsearch query a dog on a beach`?"),
    ("search dogs", "did you mean `clipsearch query dogs`?"),
    ("searc dogs", "did you mean `clipsearch query dogs`?"),
    ("find dogs", "did you mean `clipsearch query dogs`?"),
    ("quer dogs", "did you mean `clipsearch query dogs`?"),
    ("ls", "`clipsearch list`"),
    ("status", "did you mean `clipsearch info`?"),
    ("add photos", "did you mean `clipsearch index photos`?"),
    ("rm old.jpg", "did you mean `clipsearch remove old.jpg`?"),
    ("delete old.jpg", "did you mean `clipsearch remove old.jpg`?"),
    ("version", "did you mean `clipsearch --version`?"),
    ("pull base", "did you mean `clipsearch models pull base`?"),
    ("models base", "did you mean `clipsearch models pull base`?"),
    ("models list", "did you mean `clipsearch models`?"),
    ("models nonsense", "choose pull"),
    ("eval retreival", "did you mean `clipsearch eval retrieval`?"),
    ("volcano", "did you mean `clipsearch query volcano`?"),
    ("query dogs --limit 3", "did you mean --top?"),
    ("query dogs -n 3", "did you mean --top?"),
    ("query dogs --threshold 0.2", "did you mean --min-score?"),
    ("query dogs --jso", "did you mean --json?"),
    ("query dogs --device gpu", "did you mean cuda?"),
    ("query dogs --top 0", "--top must be a whole number of 1 or more, not 0"),
    ("query dogs --top x", "--top must be a whole number of 1 or more, not x"),
    ("query dogs --min-score 40", "--min-score must be a number from -1 to 1, not 40"),
    ("query dogs --min-score inf", "--min-score must be a number from -1 to 1, not inf"),
    ("query dogs --top", "--top needs a value: -k, --top N"),
    ("query dogs --exact=yes", "--exact takes no value"),
    ("query dogs --fields path,date", "--fields has no date; did you mean taken_at?"),
    ("query dogs --fields path --paths", "--fields can't be used together with --paths"),
    ("query -dogs", '`clipsearch query "a beach -dogs"`'),
    ("query", 'query needs QUERY: for example `clipsearch query "a dog on a beach"`'),
    ("eval retrieval", "eval retrieval needs --data DATA: for example `clipsearch eval retrieval"),
    ("--json query dogs", "`clipsearch query … --json`"),
    ("info dogs", "info takes no argument: what is dogs for?"),
    ("stop", "did you mean `clipsearch serve --stop`?"),
    ("serve stop", "serve takes no argument; did you mean `clipsearch serve --stop`?"),
    ("query dogs --since 2020", "has no option --since (`clipsearch query --help` lists all)"),
    ("train --dry-run", "no data is named: give photos with captions by"),
    ("index --hidden", "did you mean --include-hidden?"),
    ("train --lr 1", "did you mean --learning-rate?"),
    ("train tine-fune", "there is no file tine-fune; did you mean fine-tune?"),
    ("eval retrieval --data nowhere", "there is no file or folder nowhere"),
    ("eval zeroshot --seed -1", "--seed must be a whole number from 0 to 4,294,967,295, not -1"),
]


@pytest.mark.parametrize("line, said", MEANT, ids=[line for line, _ in MEANT])
def test_a_mistake_ends_with_2_and_one_line_that_says_what_was_meant(
    line, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["clipsearch", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    (shown,) = err.splitlines()
    assert shown.startswith("clipsearch: ")
    assert said.replace("query a dog on a beach", 'query "a dog on a beach"') in shown


def test_words_without_a_command_are_a_question_and_a_file_is_a_picture(tmp_path):
    ended = clipsearch("a dog on a beach")
    assert 'did you mean `clipsearch query "a dog on a beach"`?' in ended.err
    ended = clipsearch(EXAMPLES / "animals")
    assert f"did you mean `clipsearch index {EXAMPLES / 'animals'}`?" in ended.err
    (tmp_path / "a.jpg").touch()
    assert "did you mean `clipsearch similar a.jpg`?" in clipsearch("a.jpg", cwd=tmp_path).err


# pictures and folders among words


def test_words_that_nobody_quoted_are_one_question():
    assert understand("a dog", unquoted=("a", "dog")) == "a dog"
    assert understand("a dog.jpg", text=True, unquoted=("a", "dog.jpg")) == "a dog.jpg"


def test_a_picture_among_words_is_refused_and_a_path_with_blanks_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (("a.jpg", "b.jpg"), ("dogs", "-"), ("http://x.org/a.jpg", "b")):
        with pytest.raises(InvalidInput, match="words or one picture, not"):
            understand(" ".join(words), unquoted=words)
    (tmp_path / "my holiday.jpg").touch()
    words = ("my", "holiday.jpg")
    assert understand("my holiday.jpg", unquoted=words) == pictures("my holiday.jpg", words)
    with pytest.raises(InvalidInput, match=r"no file holiday\.jpg.*quote a path with blanks"):
        pictures("your holiday.jpg", ("your", "holiday.jpg"))


def test_a_folder_is_no_question_but_a_word_is_that_is_also_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ex" / "cats").mkdir(parents=True)
    for asked in ("ex/cats", "ex/", ".", str(tmp_path)):
        with pytest.raises(InvalidInput, match="is a folder, not a question"):
            understand(asked)
        assert understand(asked, text=True) == asked
    assert understand("ex") == "ex"


def test_words_on_standard_input_are_told_from_a_damaged_picture(small_library):
    library = small_library / "library"
    for command in ("query", "similar"):
        ended = clipsearch(command, "-", "--library", library, stdin=b"dog\ncat\n")
        assert (ended.code, ended.out) == (2, b"")
        assert "holds words, not a picture; `clipsearch query --batch -`" in ended.err
        ended = clipsearch(command, "-", "--library", library, stdin=PHOTO.read_bytes()[:50])
        assert "--batch" not in ended.err


# near names


@pytest.mark.parametrize(
    ("typed", "near"),
    [("beech.jpg", "beach.jpg"), ("Beach.JPG", "beach.jpg"), ("haven.jpg", None)],
)
def test_the_file_with_the_nearest_name_is_named(tmp_path, typed, near):
    (tmp_path / "beach.jpg").touch()
    (tmp_path / "mountain.jpg").touch()
    found = near_names.near_path(tmp_path / typed)
    assert found == (tmp_path / near if near else None)


def test_a_folder_on_the_way_may_be_mistyped_too(tmp_path):
    (tmp_path / "animals").mkdir()
    (tmp_path / "animals" / "cat.jpg").touch()
    assert near_names.near_path(tmp_path / "animls" / "cat.jpg") == tmp_path / "animals/cat.jpg"
    assert near_names.near_path(tmp_path / "animls" / "catt.jpg") == tmp_path / "animals/cat.jpg"
    assert near_names.near_path(tmp_path / "plants" / "cat.jpg") is None


def test_what_is_to_be_indexed_or_like_is_named_by_its_nearest_name(tmp_path, small_library):
    library = ("--library", small_library / "library")
    ended = clipsearch("index", "fotos", *library, cwd=small_library)
    assert (ended.code, ended.out) == (2, b"")
    assert ended.err.endswith(f"does not exist; did you mean {small_library / 'photos'}?\n")
    typed = Path("photos/photo-9.jpg")
    ended = clipsearch("similar", typed, *library, cwd=small_library)
    assert ended.err.startswith(f"clipsearch: there is no file {typed}; did you mean photos/photo-")
    ended = clipsearch("query", typed, *library, cwd=small_library)
    assert ended.err.endswith(".jpg? --text searches for it as words\n")
    from_python = pytest.raises(InvalidInput, match=r"there is no file .*; did you mean .*photo-")
    with Library(small_library / "library", read_only=True) as opened, from_python:
        opened.similar(small_library / typed)
