"""What is written is safe for terminals and exact for programs."""

import io
import json
import os
import time
from pathlib import Path

import pytest
from rich.console import Console

from clipsearch.cli.output import json_line
from clipsearch.cli.printable import printable, short_path, shown_count, size_in_words
from clipsearch.options import IndexProgress
from clipsearch.progress.bar import ProgressBar
from clipsearch.progress.lines import ProgressLines
from clipsearch.progress.pace import Pace


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain café 写真.jpg", "plain café 写真.jpg"),
        ("two\nlines\t.jpg", r"two\nlines\t.jpg"),
        ("\x1b[31mred\x07.jpg", r"\x1b[31mred\x07.jpg"),
        ("\x9b31m.jpg", r"\x9b31m.jpg"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        (os.fsdecode(b"caf\xe9.jpg"), r"caf\xe9.jpg"),
    ],
)
def test_nothing_in_a_name_acts_on_a_terminal(name, shown):
    assert printable(name) == shown


def test_json_is_one_line_without_control_characters_and_gives_the_value_back():
    value = {"path": "a\n\x1b\x7f\x9b\u2028é写.jpg"}
    line = json_line(value)
    assert json.loads(line) == value
    assert line.count(b"\n") == 1
    text = line.decode().rstrip("\n")
    assert text.isprintable()
    assert "é写" in text


def test_a_path_is_said_from_here_or_from_home_when_that_is_shorter(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert short_path(tmp_path / "work/a/b.jpg") == "a/b.jpg"
    assert short_path(tmp_path / "photos/b.jpg") == "~/photos/b.jpg"
    assert short_path(Path("/elsewhere/b.jpg")) == "/elsewhere/b.jpg"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1500, "1.5 kB"),
        (38_400_000, "38 MB"),
        (1_234_567_890, "1.2 GB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_sizes_are_said_for_people(size, words):
    assert size_in_words(size) == words


def test_counts_are_said_in_the_right_number():
    assert shown_count(1, "photo") == "1 photo"
    assert shown_count(0, "photo") == "0 photos"
    assert shown_count(12345, "photo") == "12,345 photos"


def test_without_a_terminal_progress_is_a_line_every_ten_seconds_with_rate_and_time_left():
    now = 0.0
    said: list[str] = []
    lines = ProgressLines(said.append, clock=lambda: now)
    lines.update(IndexProgress("scanning", 500, 0))
    now = 11.0
    lines.update(IndexProgress("scanning", 1000, 0))
    now = 12.0
    lines.update(IndexProgress("encoding", 0, 300))
    now = 22.0
    lines.update(IndexProgress("encoding", 50, 300))
    now = 22.5
    lines.update(IndexProgress("encoding", 60, 300))
    assert said == ["scanning: 1000", "50 of 300 files, 5.0 a second, 50 s left"]


def test_there_is_no_pace_before_the_second_batch_and_none_that_is_absurd():
    pace = Pace()
    for done in range(1, 33):  # a batch is reported all at once
        pace.note(done, 10.0 + done / 1e6)
        assert (pace.speed, pace.left(done, 96)) == (None, "")
    pace.note(33, 14.0)
    assert pace.speed == pytest.approx(8.0, abs=0.01)
    assert pace.left(32, 96) == "8 s left"
    assert pace.left(32, 10_000) == "20 min 46 s left"


def test_a_bar_shows_a_spinner_while_a_model_loads_and_no_rate_before_it_is_known():
    written = io.StringIO()
    now = 0.0
    console = Console(file=written, force_terminal=True, width=80, get_time=lambda: now)
    bar = ProgressBar(console)
    bar.update(IndexProgress("loading model", 0, 64))
    deadline = time.monotonic() + 60
    while "loading the model" not in written.getvalue():  # a thread of its own draws it
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert any(frame in written.getvalue() for frame in "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
    bar.update(IndexProgress("encoding", 1, 64))
    bar._progress.refresh()
    assert "/s" not in written.getvalue()
    now = 4.0
    bar.update(IndexProgress("encoding", 33, 64))
    bar._progress.refresh()
    assert "8.0/s, 4 s left" in written.getvalue()
    bar.update(IndexProgress("fetching model", 33, 64, "a line"))
    bar.stop()
    assert "fetching the model" in written.getvalue()
