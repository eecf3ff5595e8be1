"""`clipsearch duplicates`: what it writes, and that its script moves any file and loses none."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cli_process import clipsearch
from places import EXAMPLES

from clipsearch import InvalidInput, Library
from clipsearch.cli.duplicates import script_of
from clipsearch.copies import AlikeGroup, CopiedPhoto

NAMES = [
    b"plain.jpg",
    b"with 'quotes' and \"double\".jpg",
    b"-rf.jpg",
    b"new\nline.jpg",
    b"$(touch hacked) `touch hacked` ; touch hacked.jpg",
    b"no utf-8 \xff\xfe.jpg",
    b"\x1b[31mred\\n%s%d.jpg",
    "Ä ö 日本.jpg".encode(),
    b"INTO.jpg\n",
    b"carriage\rreturn.jpg",
]


def copied(path: Path, number: int) -> CopiedPhoto:
    from clipsearch.index.paths import to_text

    return CopiedPhoto(number, to_text(path), 1, 1, "JPEG", 1, None, None, "")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "of 'me'").mkdir(parents=True)
    return folder


def run(script: bytes, folder: Path) -> str:
    (folder / "move.sh").write_bytes(script)
    done = subprocess.run(["sh", "move.sh"], cwd=folder, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def groups_of(place: Path) -> list[AlikeGroup]:
    groups = []
    for number, name in enumerate(NAMES):
        keep, other = place / f"{number}.jpg", place / "of 'me'" / Path(os.fsdecode(name))
        keep.write_bytes(b"kept")
        other.write_bytes(b"moved %d" % number)
        groups.append(AlikeGroup("same", copied(keep, number), (copied(other, 100 + number),)))
    return groups


@pytest.mark.skipif(os.name != "posix", reason="a script for sh")
def test_the_script_moves_whatever_the_name(place: Path, tmp_path: Path) -> None:
    into = tmp_path / "tw'ice INTO"
    said = run(script_of(groups_of(place), into), tmp_path)
    assert said == f"{len(NAMES)} moved, 0 left where they are\n"
    assert not list((place / "of 'me'").iterdir())
    assert len(list(place.glob("*.jpg"))) == len(NAMES)
    for number, name in enumerate(NAMES):
        moved = Path(f"{into}{place}") / "of 'me'" / os.fsdecode(name)
        assert moved.read_bytes() == b"moved %d" % number
    assert not list(tmp_path.rglob("hacked*"))


@pytest.mark.skipif(os.name != "posix", reason="a script for sh")
def test_the_script_leaves_what_is_not_as_it_was(place: Path, tmp_path: Path) -> None:
    groups = groups_of(place)
    into = tmp_path / "twice"
    (place / "0.jpg").unlink()  # what was to be kept
    in_the_way = Path(f"{into}{place}") / "of 'me'" / os.fsdecode(NAMES[1])
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_bytes(b"mine")
    (place / "of 'me'" / os.fsdecode(NAMES[2])).unlink()  # what was to be moved
    script = script_of(groups, into)
    assert run(script, tmp_path) == f"{len(NAMES) - 3} moved, 3 left where they are\n"
    assert (place / "of 'me'" / os.fsdecode(NAMES[0])).read_bytes() == b"moved 0"
    assert in_the_way.read_bytes() == b"mine"
    assert run(script, tmp_path) == f"0 moved, {len(NAMES)} left where they are\n"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `photos`, one of them twice, and their `library`."""
    place = tmp_path_factory.mktemp("twice")
    shutil.copytree(EXAMPLES / "food", place / "photos")
    shutil.copy(place / "photos" / "cup-of-espresso.jpg", place / "photos" / "espresso copy.jpg")
    with Library(place / "library") as library:
        library.index(place / "photos", model="builtin")
    return place


def test_a_line_a_photo_when_piped(library: Path) -> None:
    ended = clipsearch("--library", library / "library", "duplicates", "--only", "same")
    rows = [line.split("\t") for line in ended.text.splitlines()]
    assert ended.code == 0
    assert [(row[1], row[2], Path(row[3]).name) for row in rows] == [
        ("same", "keep", "cup-of-espresso.jpg"),
        ("same", "other", "espresso copy.jpg"),
    ]
    assert "1 photo could go, which takes 56 kB" in ended.err


def test_json_has_a_group_a_line(library: Path) -> None:
    ended = clipsearch("--library", library / "library", "duplicates", "--json")
    (group,) = map(json.loads, ended.text.splitlines())
    assert group["kind"] == "same"
    assert Path(group["keep"]["path"]).name == "cup-of-espresso.jpg"
    assert group["keep"]["content_hash"] == group["others"][0]["content_hash"]


def test_nothing_found_is_an_exit_code(library: Path) -> None:
    ended = clipsearch("--library", library / "library", "duplicates", "--type", "png")
    assert (ended.code, ended.out) == (1, b"")
    assert "nothing found among 0 photos" in ended.err


@pytest.mark.skipif(os.name != "posix", reason="a script for sh")
def test_a_script_is_written_and_moves_them(library: Path, tmp_path: Path) -> None:
    into = tmp_path / "twice"
    ended = clipsearch("--library", library / "library", "duplicates", "--script", into)
    assert ended.code == 0
    copy = library / "photos" / "espresso copy.jpg"
    before = copy.read_bytes()
    assert run(ended.out, tmp_path) == "1 moved, 0 left where they are\n"
    assert not copy.exists()
    moved = Path(f"{into}{copy}")
    assert moved.read_bytes() == before
    moved.rename(copy)


@pytest.mark.parametrize(
    ("script", "said"),
    [("photos/twice", "which is indexed"), ("photos/espresso copy.jpg", "is no folder")],
)
def test_a_folder_that_can_not_be_meant_is_refused(library: Path, script: str, said: str) -> None:
    ended = clipsearch("--library", library / "library", "duplicates", "--script", library / script)
    assert (ended.code, ended.out) == (2, b"")
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1


def test_another_kind_of_groups_is_refused_with_what_may_be_meant() -> None:
    from clipsearch.cli.duplicates_command import _MEANT, Only
    from clipsearch.cli.given_values import one_of

    for given, hint in (("copies", "; did you mean same?"), ("nosuch", "")):
        with pytest.raises(InvalidInput) as refused:
            one_of("--only", Only, _MEANT)(given)
        said = f"--only must be same, burst or look-alike, not {given}{hint}"
        assert str(refused.value) == said
    done = clipsearch("duplicates", "--only", "copies", "--in", "a", "--in", "b")
    assert (done.code, done.err.count("can be given once")) == (2, 1)
    done = clipsearch("duplicates", "--only", "copies")
    assert (done.code, done.err) == (
        2,
        f"clipsearch: {said.replace('nosuch', 'copies')}; did you mean same?\n",
    )
