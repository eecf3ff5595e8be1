"""The program on a terminal: tables, links, a progress bar, Ctrl-C."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from cli_process import PROGRAM, clean_environment, clipsearch
from places import EXAMPLES

NAME = "\x1b[31mred\nname.jpg"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminal") / "photos"
    folder.mkdir()
    shutil.copyfile(EXAMPLES / "animals/honey-bee-on-flower.jpg", folder / "bee.jpg")
    shutil.copyfile(EXAMPLES / "food/cup-of-espresso.jpg", folder / NAME)
    return folder


def start(*arguments: str | Path, cwd: Path, **environment: str) -> tuple[subprocess.Popen, int]:
    """Start the program with a terminal of 60 columns for all its streams."""
    ours, theirs = pty.openpty()
    extra = {"TERM": "xterm-256color", "COLUMNS": "60", **environment}
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
        env=clean_environment(**extra),
        start_new_session=True,
        # A run of the tests in the background ignores Ctrl-C, and would pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    return process, ours


def everything(process: subprocess.Popen, ours: int) -> tuple[int, str]:
    """Return the exit code and all that was written to the terminal."""
    written = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side has closed
            break
        if not chunk:
            break
        written += chunk
    os.close(ours)
    return process.wait(timeout=60), written.decode(errors="replace").replace("\r\n", "\n")


def plain(text: str) -> str:
    """Return the text without colours and links."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\]8;[^\x1b]*\x1b\\", "", text)


@pytest.fixture(scope="module")
def indexed(photos: Path, tiny_model_folder: Path) -> tuple[int, str]:
    """Make the library on a terminal; return the exit code and what was seen."""
    folder = photos.parent / "library"
    arguments = ("index", photos, "--library", folder, "--model", tiny_model_folder)
    return everything(*start(*arguments, cwd=photos))


@pytest.fixture(scope="module")
def library(photos: Path, indexed: tuple[int, str]) -> Path:
    assert indexed[0] == 0, indexed[1]
    return photos.parent / "library"


def test_photos_found_are_a_table_with_short_paths_dates_and_links(library, photos):
    code, text = everything(*start("query", "x", "--library", library, cwd=photos))
    assert code == 0
    shown = plain(text)
    assert shown.splitlines()[0].split() == ["score", "photo", "taken"]
    (line,) = [line for line in shown.splitlines() if "bee.jpg" in line]
    assert line.split()[2:] == ["bee.jpg", "2006-10-01", "12:00"]
    assert (photos / "bee.jpg").as_uri() in text


def test_a_column_that_holds_nothing_is_left_out(library, photos):
    asked = ("query", "-k1", photos / NAME, "--library", library)  # it says no date
    shown = plain(everything(*start(*asked, cwd=photos))[1]).splitlines()
    assert shown[0].split() == ["score", "photo"]
    assert len(shown) == 2


def test_help_is_coloured_on_a_terminal_only_where_colour_is_wanted(photos):
    _, text = everything(*start("query", "--help", cwd=photos))
    assert "\x1b[1mOptions" in text
    assert max(map(len, plain(text).splitlines())) <= 60
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b[" not in everything(*start("--help", cwd=photos, **environment))[1]


def test_a_name_can_not_act_on_the_terminal(library, photos):
    for shape in ([], ["--paths"]):
        _, text = everything(*start("query", "x", "--library", library, *shape, cwd=photos))
        assert "\x1b[31mred" not in text
        assert r"\x1b[31mred\nname.jpg" in "".join(plain(text).split())


def test_no_color_is_honoured(library, photos):
    _, text = everything(*start("query", "x", "--library", library, cwd=photos, NO_COLOR="1"))
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", text)


def test_info_and_models_fit_a_terminal(library, photos):
    code, text = everything(*start("info", "--library", library, cwd=photos))
    assert code == 0
    assert re.search(r"^photos: +2$", plain(text), re.MULTILINE)
    code, text = everything(*start("models", cwd=photos))
    assert code == 0
    assert "multilingual" in plain(text)
    assert re.search("^✓  builtin +[0-9]+ MB .*Apache-2.0", plain(text), re.MULTILINE)
    assert max(map(len, plain(text).splitlines())) <= 60


def test_indexing_shows_a_bar_and_takes_it_away(indexed):
    code, text = indexed
    assert code == 0
    assert "\x1b[2K" in text  # lines are cleared
    assert "2 added" in plain(text).splitlines()[-1]


def test_a_picture_from_standard_input_needs_a_pipe(library, photos):
    code, text = everything(*start("query", "-", "--library", library, cwd=photos))
    assert code == 2
    assert "< photo.jpg" in text


@pytest.mark.usefixtures("tiny_model_used")
def test_ctrl_c_while_indexing_ends_with_130_without_a_traceback(tmp_path, tiny_model_folder):
    (tmp_path / "photos").mkdir()
    for number, source in enumerate(sorted(EXAMPLES.rglob("*.jpg")) * 20):
        target = tmp_path / "photos" / f"{number}.jpg"
        target.write_bytes(source.read_bytes() + str(number).encode())  # each another content
    arguments = ("index", "photos", "--library", "library", "--model", tiny_model_folder)
    process, ours = start(*arguments, cwd=tmp_path)
    written = b""
    give_up = time.monotonic() + 120
    while b"encoding" not in written and time.monotonic() < give_up:
        if select.select([ours], [], [], 1)[0]:
            written += os.read(ours, 65536)
    os.killpg(process.pid, signal.SIGINT)
    code, text = everything(process, ours)
    assert code == 130
    assert "Traceback" not in text
    assert "interrupted" in text
    assert "\nstopping when this batch is saved" in text  # not behind the bar
    again = clipsearch("info", "--library", tmp_path / "library")
    assert again.code == 0


@pytest.mark.usefixtures("tiny_model_used")
def test_watch_takes_the_bar_away_before_it_says_what_happened(tmp_path, tiny_model_folder):
    (tmp_path / "photos").mkdir()
    shutil.copyfile(EXAMPLES / "food/cup-of-espresso.jpg", tmp_path / "photos" / "cup.jpg")
    arguments = ("watch", "photos", "--library", "library", "--model", tiny_model_folder)
    process, ours = start(*arguments, cwd=tmp_path)
    written = b""
    give_up = time.monotonic() + 120
    while b"watching 1 folder" not in written and time.monotonic() < give_up:
        if select.select([ours], [], [], 1)[0]:
            written += os.read(ours, 65536)
    os.killpg(process.pid, signal.SIGINT)
    assert everything(process, ours)[0] == 0
    shown = re.split(r"[\r\n]+", plain(written.decode(errors="replace")))
    (update,) = (line for line in shown if "1 added" in line)
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  1 added: ", update)
