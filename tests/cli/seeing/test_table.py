"""The table of photos found: aligned, only what holds something, and as wide as the terminal."""

import os
import re
from pathlib import Path

import pytest
from made_hits import HOSTILE, made_hit

from clipsearch.cli.seeing import paint
from clipsearch.cli.seeing.facts import Facts
from clipsearch.cli.seeing.table import show_table_of
from clipsearch.results import Hit


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)


def shown(hits: list[Hit], capfdbinary, monkeypatch, columns: int = 120) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    show_table_of(hits)
    return plain(capfdbinary.readouterr().out.decode()).splitlines()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m|\x1b\]8;;[^\x1b]*\x1b\\", "", text)


FULL = {
    "relevance": 0.9,
    "place": "Kyōto",
    "taken_text": "2021-07-04T12:30:00+02:00",
    "camera": "Canon EOS 5D",
    "alike": (7, 8, 9),
    "matched": "autumn",
    "why": ("visual", "words"),
}


def test_a_row_tells_what_there_is_and_columns_of_nothing_are_left_out(
    tmp_path, capfdbinary, monkeypatch
) -> None:
    bare, full = (
        made_hit(tmp_path / "b.jpg", 2, relevance=0.55),
        made_hit(tmp_path / "a.jpg", **FULL),
    )
    heading, first, second = shown([full, bare], capfdbinary, monkeypatch)
    assert heading.split() == ["match", "photo", "place", "taken", "found", "by", "camera"]
    for said in ("strong", "a.jpg", "Kyōto", "2021-07-04 12:30", "+3 like it", "autumn", "Canon"):
        assert said in first
    assert second.split()[-2:] == ["likely", "b.jpg"]
    assert first.index("a.jpg") == second.index("b.jpg") == heading.index("photo")
    assert shown([bare], capfdbinary, monkeypatch)[0].split() == ["match", "photo"]


def test_a_path_has_the_room_there_is_and_the_match_its_colour(
    tmp_path, capfdbinary, monkeypatch
) -> None:
    name = "a-long-name-of-a-photo-on-the-beach.jpg"
    hit = made_hit(tmp_path / name, relevance=0.9, camera="Canon EOS-1D X Mark III of the club")
    monkeypatch.setenv("COLUMNS", "120")
    show_table_of([hit])
    written = capfdbinary.readouterr().out.decode()
    assert f"\x1b[32m{paint.bar(0.9)} strong\x1b[0m" in written
    (row,) = plain(written).splitlines()[1:]
    assert name in row
    assert row.endswith("  Canon EOS-1D X Mark III…")


def test_the_bar_of_what_was_found_by_words_says_what_the_word_beside_it_says(tmp_path) -> None:
    half = paint.bar(0.5)
    for relevance, why, match in (
        (0.1, ("words",), f"{half} likely"),
        (0.6, ("words",), f"{paint.bar(0.6)} likely"),
        (0.1, ("visual",), f"{paint.bar(0.1)} weak"),
    ):
        hit = made_hit(tmp_path / "a.jpg", relevance=relevance, why=why)
        assert Facts.of(hit).match == match


def test_a_name_that_was_found_is_not_repeated(tmp_path, capfdbinary, monkeypatch) -> None:
    hit = made_hit(tmp_path / "eiffel-tower.jpg", matched="eiffel-tower.jpg")
    heading, row = shown([hit], capfdbinary, monkeypatch)
    assert row[heading.index("found by") :] == "its name"


def test_without_a_relevance_the_score_is_shown(tmp_path, capfdbinary, monkeypatch) -> None:
    heading, row = shown([made_hit(tmp_path / "a.jpg", score=0.4567)], capfdbinary, monkeypatch)
    assert heading.split() == ["score", "photo"]
    assert row.split() == ["1", "0.457", "a.jpg"]


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_nothing_is_wider_than_the_terminal_and_no_name_is_cut(
    tmp_path, capfdbinary, monkeypatch, columns
) -> None:
    names = [
        "2021/" + "summer " * 9 + "/" + "x" * 70 + ".jpg",
        "写真の名前" * 8 + "/é̂.jpg",
        "c.jpg",
    ]
    hits = [made_hit(tmp_path / name, rank, **FULL) for rank, name in enumerate(names, 1)]
    lines = shown(hits, capfdbinary, monkeypatch, columns)
    assert max(map(paint.columns, lines)) <= columns
    where = lines[0].index("photo")
    joined = "".join("".join(line[where:].split()) for line in lines)
    if columns == 40:  # nothing stands behind the photo
        assert all("".join(name.split()) in joined for name in names)
    assert ("Canon" in joined) == (columns > 100)


def test_a_path_is_broken_behind_a_folder() -> None:
    path = str(Path("holidays", "norway", "a-fjord-in-the-morning.jpg"))
    assert paint.folded_path(path, 30) == [
        f"holidays{os.sep}norway{os.sep}",
        "a-fjord-in-the-morning.jpg",
    ]
    assert paint.folded_path(path, 8)[0] == "holidays"
    assert "".join(paint.folded_path(path, 8)) == path
    assert paint.folded_path("", 8) == [""]


def test_nothing_that_a_photo_says_acts_on_the_terminal(tmp_path, capfdbinary, monkeypatch) -> None:
    said = {"place": HOSTILE, "camera": HOSTILE, "matched": HOSTILE, "taken_text": HOSTILE}
    hit = made_hit(tmp_path / HOSTILE, tags=(HOSTILE,), **said)
    text = "".join(shown([hit], capfdbinary, monkeypatch, 250))
    assert not any(letter in text for letter in "\x1b\x9b\u202e")
    assert r"\x1b[31m" in text
    assert all(part.isprintable() for part in Facts.of(hit))


def test_a_dumb_terminal_gets_no_sequence_and_no_color_no_colour(
    tmp_path, capfdbinary, monkeypatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    hit = made_hit(tmp_path / "a.jpg", **FULL)
    show_table_of([hit])
    assert b"\x1b[32m" in capfdbinary.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    show_table_of([hit])
    assert not re.search(rb"\x1b\[[0-9;]*3[0-9]", capfdbinary.readouterr().out)
    monkeypatch.setenv("TERM", "dumb")
    show_table_of([hit])
    assert b"\x1b" not in capfdbinary.readouterr().out


def test_a_bar_grows_with_what_it_shows() -> None:
    bars = [paint.bar(share / 48) for share in range(49)]
    assert len(set(bars)) == 49
    assert all(len(bar) == paint.BAR for bar in bars)
    assert bars[0].strip() == ""
    assert bars[-1] == "█" * paint.BAR
    assert paint.bar(7.0) == bars[-1]
