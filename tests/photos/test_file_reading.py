"""Files that are far too large, growing, or never end: one line each, and the rest goes on."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cli_process import PROGRAM, clean_environment, clipsearch

from clipsearch import InvalidInput, Library, SearchOptions, UnreadableImage
from clipsearch.indexing import run
from clipsearch.photos import file_reading
from clipsearch.photos.file_reading import read_stream, read_whole
from clipsearch.photos.opening import DEFAULT_MAX_MEGAPIXELS, LARGEST_FILE, largest_file, open_image
from clipsearch.searching.combining import term
from clipsearch.serving.server import Question, WarmSearcher
from clipsearch.training.data.samples import BadSample
from clipsearch.training.data.sources import open_source

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")


def sparse(path: Path, size: int = 1 << 40) -> Path:
    """Make a file that takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_reading, "SECONDS_WITHOUT_DATA", 0.2)


# In a library


def test_a_file_of_a_terabyte_fails_with_its_size_once_and_all_others_are_indexed(
    small_library: Path, sample_photos: list[Path]
) -> None:
    photos = small_library / "photos"
    sparse(photos / "huge.jpg")
    os.mkfifo(photos / "pipe.jpg")
    for number in (6, 7):
        shutil.copyfile(sample_photos[number], photos / f"z-{number}.jpg")
    with Library(small_library / "library", device="cpu") as library:
        report = library.index()
        assert (report.added, report.unchanged) == (2, 5)
        ((path, reason),) = ((failure.path, failure.reason) for failure in report.failures)
        assert path.name == "huge.jpg"
        assert reason.startswith("too large: a file of 1.1 TB, limit ")
        assert "a named pipe" in " ".join(problem.reason for problem in report.problems)
        again = library.update([photos])
        assert (again.failed, again.known_failures) == (0, 1)
        sparse(photos / "huge.jpg", 1000)
        assert "zero bytes" in library.index().failures[0].reason


def test_a_photo_that_becomes_a_terabyte_keeps_what_was_known_of_it(small_library: Path) -> None:
    sparse(small_library / "photos" / "photo-0.jpg")
    with Library(small_library / "library", device="cpu") as library:
        assert "1.1 TB" in library.index().failures[0].reason
        assert library.info().photos == 5


def test_files_that_fit_are_let_go_before_their_batch_is_full(
    small_library: Path, sample_photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else 32 files of a gigabyte would wait in memory, each decoded already."""
    waiting: list[int] = []
    encode = run.IndexRun._encode_and_commit

    def look(of: run.IndexRun) -> None:
        kept = [read for read, _, _ in of._ready]
        kept += [read for reads in of._same_content.values() for read in reads]
        waiting.extend(len(read.data) for read in kept)
        encode(of)

    monkeypatch.setattr(run.IndexRun, "_encode_and_commit", look)
    for name in ("new.jpg", "same.jpg"):
        shutil.copyfile(sample_photos[6], small_library / "photos" / name)
    with Library(small_library / "library", device="cpu") as library:
        assert library.index().added == 2
    assert waiting == [0, 0]


def test_files_that_fail_are_let_go_at_once(small_library: Path) -> None:
    """Not when the garbage collector comes by: each may be as large as the limit."""
    for number in range(4):
        sparse(small_library / "photos" / f"z-{number}.jpg", 1_000_000 + number)
    gc.collect()
    gc.disable()
    try:
        with Library(small_library / "library", device="cpu") as library:
            assert library.index().failed == 4
        read = [one for one in gc.get_objects() if type(one) is run.ReadFile]
        assert [len(one.data) for one in read if one.data] == []
    finally:
        gc.enable()


def test_the_limit_holds_any_picture_that_would_be_taken() -> None:
    """Uncompressed, with four channels of 16 bits; a picture that is asked for too."""
    assert largest_file() == LARGEST_FILE >= 8e6 * DEFAULT_MAX_MEGAPIXELS
    assert largest_file(0.001) == LARGEST_FILE
    assert LARGEST_FILE <= largest_file(2 * DEFAULT_MAX_MEGAPIXELS) <= 2 * LARGEST_FILE
    assert largest_file(float("inf")) < 1 << 40


# As a query, and elsewhere


def test_a_query_picture_that_is_far_too_large_is_one_line(small_library: Path) -> None:
    huge, library = sparse(small_library / "huge.jpg"), small_library / "library"
    ended = clipsearch("similar", huge, "--library", library)
    assert (ended.code, ended.out) == (2, b"")
    (line,) = ended.err.splitlines()
    assert str(huge) in line and "too large: a file of 1.1 TB" in line
    with Library(library, read_only=True) as opened:
        for search in (opened.query, opened.similar, opened.encode_images):
            with pytest.raises(UnreadableImage, match="too large"):
                search(huge)


def test_what_never_ends_is_no_query(
    small_library: Path, tmp_path: Path, short_patience: None
) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with Library(small_library / "library", read_only=True) as library:
        for path, why in (
            (tmp_path / "pipe.jpg", "nothing came for 0.2 s"),
            (Path("/dev/zero"), "a device"),
            (tmp_path, "a folder"),
        ):
            for search in (library.query, library.similar):
                with pytest.raises(InvalidInput, match=why):
                    search(path)


@posix_only
def test_a_pipe_that_is_written_to_is_a_query(small_library: Path) -> None:
    photo = small_library / "photos" / "photo-0.jpg"
    for command in (
        "{program} query --paths -k 1 --image <(cat {photo})",
        "{program} query --paths -k 1 <(sleep 0.3; cat {photo})",
        "cat {photo} | {program} query --paths -k 1 --image /dev/stdin",
        "cat {photo} | {program} query --paths -k 1 -",
        "{program} query --paths -k 1 - < {photo}",
    ):
        line = command.format(program=" ".join(PROGRAM), photo=photo)
        environment = clean_environment(CLIPSEARCH_LIBRARY=str(small_library / "library"))
        done = subprocess.run(
            ["bash", "-c", line], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.stderr) == (f"{photo}\n", ""), command


def test_a_named_pipe_that_somebody_writes_to_later_is_a_query(
    small_library: Path, tmp_path: Path
) -> None:
    photo = small_library / "photos" / "photo-0.jpg"
    os.mkfifo(tmp_path / "pipe")
    later = threading.Timer(0.2, lambda: (tmp_path / "pipe").write_bytes(photo.read_bytes()))
    later.start()
    with Library(small_library / "library", read_only=True) as library:
        assert library.query(tmp_path / "pipe", k=1)[0].path == photo
    later.join()


def test_standard_input_without_end_is_one_line(small_library: Path) -> None:
    arguments = [*PROGRAM, "similar", "-", "--library", small_library / "library"]
    with Path("/dev/zero").open("rb") as zero:
        done = subprocess.run(
            arguments, stdin=zero, capture_output=True, env=clean_environment(), check=False
        )
    assert (done.returncode, done.stdout) == (2, b"")
    (line,) = done.stderr.decode().splitlines()
    assert "standard input: a device" in line


def test_a_server_answers_what_is_too_large_for_it_as_the_library_would(
    small_library: Path,
) -> None:
    """It gets bytes only: what can't be sent is looked at by the client."""
    from clipsearch.serving.client import _terms

    os.mkfifo(small_library / "pipe")
    assert _terms(sparse(small_library / "huge.jpg")) == (None, b"")
    assert _terms(small_library / "pipe") == (None, b"")
    photo = small_library / "photos" / "photo-0.jpg"
    searcher = WarmSearcher(small_library / "library")
    terms, data = _terms(photo)
    assert terms == [[1.0, len(data)]]
    (hit,) = searcher.answer(Question("query", term(data), SearchOptions(k=1)))
    searcher.close()
    assert hit.path == photo


def test_training_passes_over_what_is_far_too_large(
    tmp_path: Path, sample_photos: list[Path]
) -> None:
    for number in range(2):
        shutil.copyfile(sample_photos[number], tmp_path / f"{number}.jpg")
        (tmp_path / f"{number}.txt").write_text("a photo")
    sparse(tmp_path / "huge.jpg")
    os.mkfifo(tmp_path / "0.json")
    source = open_source(tmp_path)
    assert len(source) == 3
    assert source[0].captions == ("a photo",)
    with pytest.raises(BadSample, match="too large"):
        source[[source.key(n) for n in range(3)].index("huge.jpg")]


# Reading itself


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "fits").write_bytes(b"x" * 1000)
    assert read_whole(tmp_path / "fits", 1000)[0] == b"x" * 1000
    with pytest.raises(UnreadableImage, match="a file of 1 kB, limit 999 bytes"):
        read_whole(tmp_path / "fits", 999)
    reading, writing = os.pipe()
    os.write(writing, b"x" * 1000)
    with pytest.raises(UnreadableImage, match="more than 999 bytes"):
        read_stream(reading, 999)
    os.write(writing, b"x" * 1000)
    os.close(writing)
    assert read_stream(reading, 1000) == b"x" * 1000
    os.close(reading)


def test_a_file_that_grows_while_it_is_read_ends_at_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it would where the size of an open file is that of a moment ago."""
    path = tmp_path / "growing.jpg"
    path.write_bytes(b"x" * 5_000_000)
    fstat = os.fstat
    monkeypatch.setattr(
        os, "fstat", lambda fd: os.stat_result([*fstat(fd)[:6], 100, *fstat(fd)[7:]])
    )
    assert read_whole(path, 5_000_000)[0] == b"x" * 5_000_000
    with pytest.raises(UnreadableImage, match="growing"):
        read_whole(path, 4_999_999)


@pytest.mark.skipif(sys.platform != "linux", reason="reads its own memory in /proc")
def test_a_file_that_the_memory_does_not_hold_is_an_error_of_that_file(tmp_path: Path) -> None:
    code = f"""
import resource
from pathlib import Path
from clipsearch.index.changes import ToOpen
from clipsearch.index.records import FileState
from clipsearch.indexing.run import read_file
path = Path({str(sparse(tmp_path / "large.jpg", LARGEST_FILE))!r})
pages = int(Path("/proc/self/statm").read_text().split()[0])
room = pages * resource.getpagesize() + {LARGEST_FILE // 2}
resource.setrlimit(resource.RLIMIT_AS, (room, room))
print(read_file(ToOpen(FileState(path, 1, 1), None)).reason)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "can't be read: not enough memory" in done.stdout, done.stderr


def test_opening_a_picture_waits_for_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path, why in ((tmp_path / "pipe.jpg", "not a regular file"), (Path("/dev/zero"), "device")):
        with pytest.raises(UnreadableImage, match=why):
            open_image(path)
    with pytest.raises(UnreadableImage, match=r"1\.1 TB"):
        open_image(sparse(tmp_path / "huge.jpg"))


def test_refusing_takes_no_memory(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for size in (1 << 40, LARGEST_FILE + 1):
        with contextlib.suppress(UnreadableImage):
            read_whole(sparse(tmp_path / "huge"), LARGEST_FILE)
            raise AssertionError(size)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
