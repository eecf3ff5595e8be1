"""The program: pictures on a terminal, pages, folders, CSV and the viewer."""

import csv
import io
import json
import os
import pty
import re
import sqlite3
import subprocess
from pathlib import Path

import pytest
from cli_process import PROGRAM, clean_environment, clipsearch
from made_hits import made_hit
from places import PHOTO
from small_library import COUNT, copy_small_library

from clipsearch import ClipsearchError, Hits
from clipsearch.cli.hits import FIELDS, Shape, show_hits
from clipsearch.cli.search_flags import Search, two_shapes
from clipsearch.cli.seeing import paint
from clipsearch.cli.seeing.acting import act
from clipsearch.cli.seeing.terminals import Way, way_here

EVIL = "=1+1\x1b]0;<b>.jpg"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, _small_library: Path) -> Path:
    """Return a folder with photos in it and a library of them."""
    folder = copy_small_library(_small_library, tmp_path_factory.mktemp("acting"))
    (folder / "photos" / "photo-0.jpg").rename(folder / "photos" / EVIL)
    catalog = sqlite3.connect(folder / "library" / "catalog.sqlite", isolation_level=None)
    catalog.execute("UPDATE photos SET path = replace(path, 'photo-0.jpg', ?)", (EVIL,))
    catalog.close()
    return folder


def ask(found: Path, *arguments: str | Path, **environment: str):
    asked = ("query", "x", "--all", "--library", found / "library")
    return clipsearch(*asked, *arguments, cwd=found, environment=environment)


def on_a_terminal(found: Path, *arguments: str, **environment: str) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "query", "x", "--all", "--library", str(found / "library"), *arguments],
        **{"stdin": theirs, "stdout": theirs, "stderr": theirs, "cwd": found},
        env=clean_environment(**{"TERM": "xterm-256color", "COLUMNS": "80", **environment}),
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, b"typed")  # which no question to the terminal may take for its answer
    written = b""
    while True:
        try:
            written += (chunk := os.read(ours, 65536))
        except OSError:
            break
        if not chunk:
            break
    os.close(ours)
    assert process.wait(timeout=60) == 0, written
    return written.decode().replace("\r\n", "\n")


def test_a_terminal_is_shown_the_pictures_that_it_draws_and_is_asked_nothing(found: Path) -> None:
    drawn = on_a_terminal(found, TERM="xterm-kitty")
    assert drawn.count("\x1b_Ga=T") == COUNT
    assert "photo-1.jpg" in drawn
    assert r"\x1b]0;<b>.jpg" in "".join(plain(drawn).split())
    assert not re.search(r"\x1b\[(0?c|[56]n|1[468]t|>)|a=q|\x05", drawn)  # questions


@pytest.mark.parametrize(
    ("thumbnails", "columns", "pictures"), [(True, 80, True), (None, 80, False), (True, 39, False)]
)
def test_characters_stand_beside_what_is_said_of_a_photo(
    monkeypatch, capfdbinary, tmp_path, thumbnails, columns, pictures
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("COLUMNS", str(columns))
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(file, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout", file)
    hits = [made_hit(PHOTO, tags=("cup",)), made_hit(tmp_path / EVIL, 2, relevance=0.8)]
    show_hits(hits, Shape.TABLE, thumbnails=thumbnails)
    text = file.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert (text.count("\x1b[38;2;") > 60) == pictures
    assert "no picture" in text or not pictures
    assert r"\x1b]0;<b>.jpg" in "".join(plain(text).split())
    assert "\x1b]0;" not in text
    assert max(paint.columns(line) for line in plain(text).splitlines()) <= columns


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m|\x1b\]8;;[^\x1b]*\x1b\\", "", text)


@pytest.mark.parametrize(
    ("environment", "wanted", "way"),
    [
        ({"TERM": "xterm-kitty"}, None, Way.KITTY),
        ({"TERM": "xterm-kitty"}, False, None),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, None, None),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, True, Way.KITTY),
        ({"TERM": "xterm-kitty", "CLIPSEARCH_THUMBNAILS": "never"}, None, None),
        ({"TERM": "xterm-kitty", "CLIPSEARCH_THUMBNAILS": "never"}, True, Way.KITTY),
        ({"TERM": "xterm-256color"}, None, None),  # characters only where somebody wants them
        ({"TERM": "xterm-256color"}, True, Way.BLOCKS),
        ({"TERM": "xterm-256color", "CLIPSEARCH_THUMBNAILS": "blocks"}, None, Way.BLOCKS),
        ({"TERM": "dumb"}, True, None),
    ],
)
def test_pictures_come_where_they_are_wanted(monkeypatch, environment, wanted, way) -> None:
    for name in os.environ.keys() - clean_environment().keys():
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr("sys.stdout", file)
    assert way_here(wanted) is None  # no terminal
    monkeypatch.setattr(file, "isatty", lambda: True, raising=False)
    assert way_here(wanted) is way


def test_csv_has_headings_and_computes_nothing(capfdbinary) -> None:
    show_hits([made_hit(Path("/a.jpg")), made_hit(Path("/b.jpg"), 2)], Shape.CSV)
    text = capfdbinary.readouterr().out.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert text.count("\r\n") == 3
    assert tuple(rows[0]) == FIELDS
    assert [row["path"] for row in rows] == ["/a.jpg", "/b.jpg"]
    show_hits([made_hit(Path("/a.jpg"))], Shape.CSV, ("rank", "format"))
    assert capfdbinary.readouterr().out == b"rank,format\r\n1,JPEG\r\n"
    said = {
        "place": "=cmd()",
        "camera": "+x",
        "lens": "@y",
        "matched": '-z, "q"\n',
        "latitude": -1.5,
    }
    names = tuple(said)
    show_hits([made_hit(Path("/a.jpg"), **said)], Shape.CSV, names)
    (row,) = csv.DictReader(io.StringIO(capfdbinary.readouterr().out.decode(), newline=""))
    assert row == {
        **{"place": "'=cmd()", "camera": "'+x", "lens": "'@y"},
        **{"matched": '\'-z, "q"\\n', "latitude": "-1.5"},
    }


def test_a_page_copies_and_links_are_made_beside_the_list(found: Path, tmp_path: Path) -> None:
    page, copies, links = (tmp_path / name for name in ("hits.html", "copies", "links"))
    done = ask(found, "--json", "--html", page, "--copy-to", copies, "--link-to", links)
    assert done.code == 0
    assert "page of 5 photos" in done.err
    assert page.read_text().count("data:image/jpeg") == COUNT
    assert "<b>.jpg" not in page.read_text()
    for folder in (copies, links):
        ranked = [one.name.split("-", 1)[1] for one in sorted(folder.iterdir())]
        assert ranked == [Path(json.loads(line)["path"]).name for line in done.lines]


def test_what_can_not_be_copied_is_said_and_ends_with_4(tmp_path: Path, capfd) -> None:
    hits = Hits([made_hit(PHOTO), made_hit(tmp_path / EVIL, 2)])
    with pytest.raises(SystemExit) as ended:
        act(hits, Search("query", "x", copy_to=str(tmp_path / "copies")))
    said = capfd.readouterr().err.splitlines()
    assert ended.value.code == 4
    assert len(said) == 2
    assert said[0].startswith("not copied: ")
    assert "\x1b" not in said[0]
    assert said[1].endswith("1 photo copied")


def test_nothing_found_makes_nothing(found: Path, tmp_path: Path) -> None:
    wanted = ("--html", tmp_path / "x.html", "--copy-to", tmp_path / "y")
    assert ask(found, "--min-score", "1", *wanted).code == 1
    assert not list(tmp_path.iterdir())


def test_what_was_found_is_opened_and_without_a_display_it_is_said(
    tmp_path, monkeypatch, capfd
) -> None:
    opened: list[Path] = []
    monkeypatch.setattr("clipsearch.showing.viewer.open_file", opened.append)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("DISPLAY", ":7")
    search = Search("query", "x", open=True)
    several = Hits([made_hit(PHOTO), made_hit(PHOTO, 2)])
    act(Hits(several[:1]), search)
    act(several, search)
    act(several, search._replace(html=str(tmp_path / "mine.html")))
    page = tmp_path / "clipsearch" / "hits.html"
    assert opened == [PHOTO, page, tmp_path / "mine.html"]
    assert page.read_text().count("data:image/jpeg") == 2
    assert f"opened {page}" in capfd.readouterr().err
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(ClipsearchError, match="no display") as refused:
        act(several, search)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"csv": True, "json": True}, "--json can't be used together with --csv"),
        ({"html": "-"}, "--html takes a name, and - stands for no file here (./- is one)"),
        ({"csv": True, "paths": True}, "--csv can't be used together with --paths"),
        ({"batch": "-", "html": "x"}, "--html can't be used together with --batch"),
        ({"batch": "-", "copy_to": "x"}, "--copy-to can't be used together with --batch"),
        (
            {"thumbnails": True, "no_thumbnails": True},
            "--thumbnails can't be used together with --no-thumbnails",
        ),
        ({"csv": True, "fields": ("rank",), "paths": False, "html": None}, None),
        ({"json": True, "fields": ("rank",), "open": True}, None),
    ],
)
def test_two_ways_at_once_are_refused(given: dict[str, object], wrong: str | None) -> None:
    assert two_shapes(given) == wrong
