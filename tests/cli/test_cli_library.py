"""The program on a library of real photos, made once: index, query, similar, info, remove."""

import base64
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cli_process import PROGRAM, clean_environment, clipsearch
from places import EXAMPLES

from clipsearch import IndexReport
from clipsearch.cli.hits import FIELDS
from clipsearch.cli.index_command import summary_in_words
from clipsearch.cli.library_info import _index_line
from clipsearch.cli.printable import ago
from clipsearch.index.records import IndexInfo
from clipsearch.index.store import Store

pytestmark = pytest.mark.usefixtures("tiny_model_used")

PHOTOS = {
    b"kitten.jpg": "animals/kitten-with-yarn.jpg",
    b"trip/pagoda by the lake.jpg": "city/pagoda-by-lake.jpg",
    b'trip/a "quoted" name.jpg': "food/cup-of-espresso.jpg",
    b"two\nlines\t.jpg": "night/rocket-on-launch-pad.jpg",
    b"\x1b[31mred.jpg": "people/astronaut-in-orange-suit.jpg",
    b"caf\xe9.jpg": "objects/wall-clock.jpg",
    b"long-" + "ü".encode() * 120 + b".jpg": "animals/sheep.jpg",
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of photos with names of all kinds, and one file that is no photo."""
    folder = tmp_path_factory.mktemp("cli") / "photos"
    (folder / "trip").mkdir(parents=True)
    for name, source in PHOTOS.items():
        shutil.copyfile(EXAMPLES / source, folder / os.fsdecode(name))
    (folder / "broken.jpg").write_text("this is text")
    return folder


@pytest.fixture(scope="module")
def library(photos: Path, tiny_model_folder: Path) -> Path:
    """Return a library of those photos, made by the program."""
    folder = photos.parent / "library"
    ended = clipsearch("index", photos, "--library", folder, "--model", tiny_model_folder)
    assert ended.code == 0, ended.err
    assert re.fullmatch(
        r"7 added in \d+\.\d s( \(\d+\.\d photos/s\))?, 1 file could not be read\n", ended.text
    )
    assert f"failed: {photos}/broken.jpg: " in ended.err
    assert "Traceback" not in ended.err
    return folder


@pytest.fixture
def own_library(library: Path, tmp_path: Path) -> Path:
    """Return a copy of the library that a test may change."""
    return Path(shutil.copytree(library, tmp_path / "library"))


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """Serve the example photos."""
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=EXAMPLES))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


# query


def test_words_find_photos_and_only_results_go_to_standard_output(library):
    ended = clipsearch("query", "a dog on a beach", "-k", "3", "--library", library)
    assert (ended.code, ended.err) == (0, "")
    rows = [line.split("\t") for line in ended.lines]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    scores = [float(row[1]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert b"\x1b" not in ended.out


def test_lines_for_pipes_hold_the_whole_path_and_no_control_characters(library, photos):
    rows = [row.split("\t") for row in clipsearch("query", "x", "--library", library).lines]
    assert {len(row) for row in rows} == {5}
    shown = {row[2] for row in rows}
    assert rf"{photos}/two\nlines\t.jpg" in shown
    assert rf"{photos}/\x1b[31mred.jpg" in shown
    assert rf"{photos}/caf\xe9.jpg" in shown
    assert f"{photos}/long-{'ü' * 120}.jpg" in shown


def test_json_is_one_object_a_line_and_gives_every_path_back(library, photos):
    ended = clipsearch("query", "x", "--json", "--library", library)
    hits = [json.loads(line) for line in ended.out.split(b"\n")[:-1]]
    assert [hit["rank"] for hit in hits] == list(range(1, 8))
    assert set(hits[0]) >= {"rank", "score", "path", "width", "height", "taken_at", "camera"}
    found = {
        base64.b64decode(hit["path_bytes"]) if "path_bytes" in hit else hit["path"].encode()
        for hit in hits
    }
    assert found == {os.fsencode(photos) + b"/" + name for name in PHOTOS}


def test_print0_gives_the_very_bytes_of_the_paths(library, photos):
    ended = clipsearch("query", "x", "-0", "--library", library)
    assert set(ended.out.split(b"\0")[:-1]) == {os.fsencode(photos) + b"/" + n for n in PHOTOS}
    assert all(Path(os.fsdecode(path)).exists() for path in ended.out.split(b"\0")[:-1])


def test_paths_gives_a_path_a_line_in_the_order_of_the_scores(library, photos):
    ended = clipsearch("query", "x", "--paths", "-k", "2", "--library", library)
    ranked = clipsearch("query", "x", "-0", "-k", "2", "--library", library)
    assert ended.out == ranked.out.replace(b"\0", b"\n")


def test_a_picture_finds_itself_by_path_standard_input_and_web_address(library, photos, web):
    source = EXAMPLES / PHOTOS[b"kitten.jpg"]
    by_path = clipsearch("query", source, "-k1", "--json", "--library", library)
    piped = clipsearch(
        "query", "-", "-k1", "--json", "--library", library, stdin=source.read_bytes()
    )
    fetched = clipsearch(
        "query", f"{web}/{PHOTOS[b'kitten.jpg']}", "-k1", "--json", "--library", library
    )
    assert by_path.out == piped.out == fetched.out
    hit = json.loads(by_path.out)
    assert hit["path"] == f"{photos}/kitten.jpg"
    assert hit["score"] == pytest.approx(1, abs=1e-3)


def test_similar_leaves_the_picture_itself_out(library, photos):
    ended = clipsearch("similar", EXAMPLES / PHOTOS[b"kitten.jpg"], "-0", "--library", library)
    found = ended.out.split(b"\0")[:-1]
    assert ended.code == 0
    assert len(found) == len(PHOTOS) - 1
    assert os.fsencode(photos / "kitten.jpg") not in found


def test_fields_are_those_of_json_in_the_order_given(library):
    asked = ("query", "x", "--library", library)
    all_fields = [json.loads(line) for line in clipsearch(*asked, "--json").lines]
    assert {*FIELDS} <= all_fields[0].keys() <= {*FIELDS, "path_bytes"}
    some = [json.loads(line) for line in clipsearch(*asked, "--json", "--fields", "id,width").lines]
    assert some == [{"id": hit["id"], "width": hit["width"]} for hit in all_fields]
    cells = [line.split("\t") for line in clipsearch(*asked, "--fields", "size,camera,rank").lines]
    assert cells == [[str(h["size"]), h["camera"] or "", str(h["rank"])] for h in all_fields]


def test_a_min_score_that_nothing_reaches_ends_with_1(library):
    ended = clipsearch("query", "x", "--min-score", "0.9999", "--library", library)
    assert (ended.code, ended.out, ended.err) == (1, b"", "nothing found\n")


@pytest.mark.parametrize("shape", ["--json", "--paths", "-0"])
def test_nothing_found_writes_nothing_in_any_shape(library, shape):
    ended = clipsearch("query", "x", "--min-score", "0.9999", shape, "--library", library)
    assert (ended.code, ended.out) == (1, b"")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "query is empty"),
        ("no-such.jpg", "--text"),
        ("ftp://127.0.0.1/a.jpg", "only http and https"),
    ],
)
def test_a_query_that_can_not_be_used_ends_with_2_and_one_line(library, query, said):
    ended = clipsearch("query", query, "--library", library)
    assert (ended.code, ended.out) == (2, b"")
    (line,) = ended.err.splitlines()
    assert line.startswith("clipsearch: ")
    assert said in line


def test_a_query_picture_that_is_none_ends_with_2_and_one_line(library, photos, web):
    ended = [
        clipsearch("query", photos / "broken.jpg", "--library", library),
        clipsearch("query", "-", "--library", library, stdin=b"no picture"),
        clipsearch("query", "-", "--library", library),
        clipsearch("similar", photos / "missing.jpg", "--library", library),
        clipsearch("query", f"{web}/ATTRIBUTION.md", "--library", library),
        clipsearch("query", f"{web}/missing.jpg", "--library", library),
        clipsearch("query", f"{web}/", "--library", library),
    ]
    assert [(e.code, e.out, len(e.err.splitlines())) for e in ended] == [(2, b"", 1)] * 7
    assert "broken.jpg" in ended[0].err
    assert "standard input" in ended[1].err
    assert "404" in ended[5].err


def test_a_reader_that_stops_early_is_no_error(library):
    command = [*PROGRAM, "query", "x", "--library", str(library)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment()
    ) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert said == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_searching_imports_neither_torch_nor_open_clip(library):
    code = (
        "import sys; from clipsearch.cli import main\n"
        f"sys.argv = ['clipsearch', 'query', 'a dog', '--library', {str(library)!r}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([n for n in ('torch', 'torchvision', 'open_clip', 'rich') if n in sys.modules])"
    )
    done = subprocess.run([PROGRAM[0], "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# index


def test_a_second_run_without_a_path_updates_the_folders_known(own_library):
    ended = clipsearch("index", "--json", "--library", own_library)
    assert ended.code == 0
    report = json.loads(ended.out)
    names = ("added", "changed", "moved", "copied", "removed", "failed", "unchanged")
    assert [report[name] for name in names] == [0, 0, 0, 0, 0, 0, 7]
    assert report["known_failures"] == 1
    assert "--retry-failed" in ended.err


def test_a_run_over_unchanged_photos_loads_nothing_heavy(own_library):
    heavy = ("faiss", "torch", "onnxruntime", "PIL", "pydantic", "sqlite_utils", "rich")
    code = (
        "import sys; from clipsearch.cli import main\n"
        "from clipsearch.index.vectors import vector_files\n"
        "vector_files.SMALL = 1\n"  # so that FAISS is needed for a search
        f"sys.argv = ['clipsearch', 'index', '--library', {str(own_library)!r}]; main()\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([PROGRAM[0], "-c", code], capture_output=True, text=True, check=True)
    assert re.match(
        r"up to date: 7 photos in \d\.\d s, 1 file could not be read$", done.stdout, re.MULTILINE
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_retry_failed_tries_again_and_still_ends_with_0(own_library):
    ended = clipsearch("index", "--retry-failed", "--library", own_library)
    assert ended.code == 0
    assert ended.text.endswith(", 1 file could not be read\n")


def test_index_without_a_path_needs_a_library_that_knows_folders(tmp_path, own_library, photos):
    missing = clipsearch("index", "--library", tmp_path / "none")
    assert (missing.code, missing.out) == (3, b"")
    assert not (tmp_path / "none").exists()
    assert clipsearch("remove", photos, "--library", own_library).code == 0
    empty = clipsearch("index", "--library", own_library)
    assert (empty.code, empty.out) == (2, b"")
    assert "clipsearch index FOLDER" in empty.err


def test_an_empty_library_ends_with_3_and_says_how_to_add_photos(own_library, photos):
    ended = clipsearch("remove", photos, "--library", own_library)
    assert (ended.code, ended.text) == (
        0,
        "7 photos forgotten; `clipsearch index PATH` takes it in again\n",
    )
    assert (photos / "kitten.jpg").exists()
    ended = clipsearch("query", "a dog", "--library", own_library)
    assert (ended.code, ended.out) == (3, b"")
    (line,) = ended.err.splitlines()
    assert "clipsearch index" in line


def test_only_the_first_failures_are_said_and_info_lists_all(own_library, tmp_path):
    (tmp_path / "bad").mkdir()
    for number in range(7):
        (tmp_path / "bad" / f"{number}.jpg").write_text(f"text {number}")
    shutil.copyfile(EXAMPLES / "food/fig-in-red-bowl.jpg", tmp_path / "bad/large.jpg")
    ended = clipsearch(
        "index", tmp_path / "bad", "--max-megapixels", "0.1", "--library", own_library
    )
    assert ended.code == 0
    assert "no photos added" in ended.text
    assert "8 files could not be read" in ended.text
    assert ended.err.count("failed: ") == 5
    assert "3 more; `clipsearch info --failures`" in ended.err
    listed = clipsearch("info", "--failures", "--library", own_library)
    reasons = dict(line.split("\t") for line in listed.lines)
    assert len(reasons) == 9
    assert "megapixel" in reasons[f"{tmp_path}/bad/large.jpg"]


def test_a_library_that_is_being_written_ends_with_3_and_says_by_whom(own_library):
    with Store.open(own_library) as store, store.writing():
        ended = clipsearch("index", "--library", own_library)
    assert (ended.code, ended.out) == (3, b"")
    (line,) = ended.err.splitlines()
    assert str(os.getpid()) in line


def test_a_library_of_a_newer_clipsearch_ends_with_3_and_stays_as_it_was(own_library):
    with sqlite3.connect(own_library / "catalog.sqlite") as catalog:
        catalog.execute("PRAGMA user_version = 1000")
    catalog.close()
    before = (own_library / "catalog.sqlite").read_bytes()
    for command in (["query", "x"], ["index"]):
        ended = clipsearch(*command, "--library", own_library)
        assert (ended.code, ended.out) == (3, b"")
        (line,) = ended.err.splitlines()
        assert "newer clipsearch" in line
    assert (own_library / "catalog.sqlite").read_bytes() == before


def test_without_a_terminal_a_short_run_shows_no_progress(own_library):
    ended = clipsearch("index", "--library", own_library)
    assert "\r" not in ended.err
    assert "\x1b" not in ended.err


# info and remove


def test_info_says_what_the_library_holds(library, photos, tiny_model_folder):
    ended = clipsearch("info", "--library", library)
    assert (ended.code, ended.err) == (0, "")
    facts = dict(line.split("\t", 1) for line in ended.lines)
    assert facts["library"] == str(library)
    assert facts["photos"] == "7"
    assert facts["folders"].startswith(str(photos))
    assert facts["failures"].startswith("1 file")
    assert facts["model"].startswith(f"local-dir:{tiny_model_folder}, ")
    assert "SHA-256" not in ended.text
    assert facts["folders"].endswith((" s ago", " min ago", "just now"))
    assert facts["index"].startswith("exact float16, 7 vectors in 1 file, 0 newer, ")
    assert "disk" in facts


def test_info_as_json_holds_the_hash_of_the_weights(library):
    about = json.loads(clipsearch("info", "--json", "--library", library).out)
    assert (about["photos"], about["failures"], about["served_by"]) == (7, 1, None)
    verbose = clipsearch("info", "--verbose", "--library", library)
    assert f"\tweights SHA-256 {about['model']['identity']['weights_sha256']}\n" in verbose.text
    assert f", scanned {about['folders'][0]['scanned_at']}\n" in verbose.text
    assert re.search(r"^encoding\t.*photos go ", verbose.text, re.MULTILINE)
    assert len(about["model"]["identity"]["weights_sha256"]) == 64
    assert sum(about["disk_bytes"].values()) > 0
    assert (about["index"]["exact"], about["index"]["recall"], about["index"]["files"]) == (
        True,
        None,
        1,
    )


def test_info_says_how_much_an_approximate_search_finds():
    index = IndexInfo("IVF 1024", 1_000_000, 12, 0, 1_500_000_000, None, files=3, recall=0.9938)
    assert _index_line(index) == (
        "IVF 1024, finds 99.4% of the ten nearest (--exact finds all), 1,000,000 vectors in "
        "3 files, 12 newer, 1.5 GB"
    )


def test_info_lists_failures_with_reasons(library, photos):
    ended = clipsearch("info", "--failures", "--library", library)
    ((path, reason),) = [line.split("\t") for line in ended.lines]
    assert path == f"{photos}/broken.jpg"
    assert reason
    in_json = json.loads(clipsearch("info", "--failures", "--json", "--library", library).out)
    assert (in_json["path"], in_json["reason"]) == (path, reason)


def test_remove_forgets_a_photo_and_leaves_the_file(own_library, photos):
    ended = clipsearch("remove", photos / "kitten.jpg", "--json", "--library", own_library)
    assert (ended.code, json.loads(ended.out)) == (0, {"removed": 1})
    assert (photos / "kitten.jpg").exists()
    found = clipsearch("query", "x", "-0", "--library", own_library).out.split(b"\0")
    assert os.fsencode(photos / "kitten.jpg") not in found


def test_what_is_left_out_is_listed_with_what_takes_it_in_again(own_library, photos):
    library = ("--library", own_library)
    globs = ("--exclude", "two*", "--exclude", "*red.jpg")
    ended = clipsearch("index", photos, *globs, *library)
    assert re.match(r"2 left out in \d\.\d s, 1 file could not be read$", ended.text.strip())
    assert clipsearch("remove", photos / "trip", *library).text == (
        "2 photos forgotten; `clipsearch index PATH` takes it in again\n"
    )
    shown = clipsearch("info", *library).text
    assert f"left out\t{photos}/trip (`clipsearch index PATH` takes it in again)\n" in shown
    assert "\t--exclude 'two*' (`clipsearch index --no-exclude GLOB` takes it back)\n" in shown
    assert "\t--exclude '*red.jpg'\n" in shown
    about = json.loads(clipsearch("info", "--json", *library).out)
    patterns = ["two*", "*red.jpg"]
    expected = {"paths": [f"{photos}/trip"], "patterns": patterns, "ignore_files": []}
    assert (about["left_out"], about["photos"]) == (expected, 3)
    back = clipsearch("index", photos / "trip", "--no-exclude", "two*", "--json", *library)
    assert json.loads(back.out)["added"] == 3
    assert clipsearch("index", "--no-exclude", "two*", *library).code == 2
    forgotten = clipsearch("remove", "--forget", photos / "trip", *library).text
    assert forgotten == (
        "2 photos forgotten; the next `clipsearch index` takes in again what it finds there\n"
    )
    assert json.loads(clipsearch("index", "--json", *library).out)["added"] == 2


def test_strict_ends_with_4_where_files_could_not_be_read(own_library, photos, tmp_path):
    library = ("--library", own_library)
    for more in ((), ("--retry-failed",), (photos,)):
        assert clipsearch("index", *more, *library).code == 0
        assert clipsearch("index", "--strict", *more, *library).code == 4
    clean = shutil.copytree(photos / "trip", tmp_path / "clean")
    assert clipsearch("index", "--strict", clean, *library).code == 0
    refused = clipsearch("index", photos / "kitten.jpg", __file__, *library)
    assert (refused.code, refused.out) == (2, b"")
    assert (
        refused.err == f"clipsearch: {__file__} is no picture: name photos, or folders of photos\n"
    )


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (IndexReport("m", unchanged=1058, seconds=0.06), "up to date: 1,058 photos in 0.1 s"),
        (
            IndexReport("m", added=12, moved=3, embedded=12, unchanged=4, seconds=4.21),
            "12 added, 3 moved in 4.2 s (2.9 photos/s)",
        ),
        (
            IndexReport("m", added=3, copied=2, embedded=1, seconds=1.5, known_failures=2),
            "3 added (2 copied) in 1.5 s, 2 files could not be read",
        ),
        (IndexReport("m", known_failures=1), "no photos added in 0.0 s, 1 file could not be read"),
        (
            IndexReport("m", changed=1, removed=2, left_out=3, embedded=5000, seconds=8000.4),
            "1 changed, 2 removed, 3 left out in 2 h 13 min (0.6 photos/s)",
        ),
    ],
)
def test_the_end_line_says_only_what_happened(report, line):
    assert summary_in_words(report) == line


def test_the_end_lines_fit_in_80_columns():
    many = dict.fromkeys(("added", "copied", "changed", "moved", "removed"), 1234567)
    report = IndexReport(
        "m", **many, left_out=7_654_321, embedded=9, seconds=250.0, known_failures=1_000
    )
    lines = summary_in_words(report).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1] == "1,000 files could not be read"


def test_times_are_said_as_how_long_ago(own_library):
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    said = {
        timedelta(seconds=-5): "just now",
        timedelta(seconds=59): "59 s ago",
        timedelta(minutes=2, seconds=30): "2 min ago",
        timedelta(hours=23, minutes=59): "23 h ago",
        timedelta(days=1): "1 day ago",
        timedelta(days=13, hours=23): "13 days ago",
        timedelta(days=14): "on 2026-02-16",
    }
    assert {since: ago(now - since, now) for since in said} == said
    with sqlite3.connect(own_library / "catalog.sqlite") as catalog:
        catalog.execute("UPDATE folders SET scanned_at = 'once'")
    catalog.close()
    assert "scanned once" in clipsearch("info", "--library", own_library).text


def test_removing_what_the_library_does_not_hold_ends_with_2(own_library, tmp_path):
    ended = clipsearch("remove", tmp_path / "other.jpg", "--library", own_library)
    assert (ended.code, ended.out) == (2, b"")
    assert len(ended.err.splitlines()) == 1
