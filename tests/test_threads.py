"""One library and many threads; and what is left of it after its end."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from places import ROOT

from clipsearch import Hit, IndexProgress, Library, LibraryClosed, LibraryError, LibraryLocked
from clipsearch.models import tower_cache

THREADS = 8
SECONDS = 60  # in which whatever is waited for has come, on any machine


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, sample_photos: list[Path]) -> Path:
    """Return a folder of ten photos; don't change it."""
    folder = tmp_path_factory.mktemp("threads") / "photos"
    folder.mkdir()
    for number, source in enumerate(sample_photos[:10]):
        shutil.copyfile(source, folder / f"photo-{number}.jpg")
    return folder


@pytest.fixture(scope="module")
def indexed(photos: Path, tiny_model_folder: Path) -> Path:
    """Return the library of these photos; don't change it."""
    with Library(photos.parent / "library", device="cpu") as library:
        assert library.index([photos], model=tiny_model_folder).added == 10
    return photos.parent / "library"


@pytest.fixture
def folder(indexed: Path, tmp_path: Path) -> Path:
    """Return a copy of the library, to be changed."""
    return Path(shutil.copytree(indexed, tmp_path / "library"))


def found(hits: list[Hit]) -> list[tuple[int, float]]:
    return [(hit.id, round(hit.score, 5)) for hit in hits]


def in_threads(calls: list[Callable[[], object]]) -> list[object]:
    """Return what the calls return or raise, begun at the same time in a thread each."""
    start = threading.Barrier(len(calls))

    def call(one: Callable[[], object]) -> object:
        start.wait(SECONDS)
        try:
            return one()
        except Exception as error:  # noqa: BLE001
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def open_files(folder: Path) -> list[str]:
    """Return the files of a library that this process holds open."""
    links = list(Path("/proc/self/fd").iterdir())
    return [name for link in links if link.is_symlink() and str(folder) in (name := _target(link))]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""


# Searching


def test_many_threads_find_what_one_finds(
    indexed: Path, photos: Path, sample_photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{what} at {time}" for what in ("a dog", "a beach") for time in ("noon", "night")]
    new = [np.asarray(PIL.Image.open(path).convert("RGB")) for path in sample_photos[10:12]]
    known = [photos / "photo-3.jpg"]
    with Library(indexed, read_only=True, device="cpu") as library:
        alone = [found(library.query(query, k=5)) for query in (*texts, *new, *known)]
        alone.append(found(library.similar(known[0], k=5)))
    loaded = []
    load = tower_cache.open_image_tower
    monkeypatch.setattr(
        tower_cache, "open_image_tower", lambda model: loaded.append(model) or load(model)
    )
    with Library(indexed, read_only=True, device="cpu") as library:
        calls = [lambda q=query: found(library.query(q, k=5)) for query in (*texts, *new, *known)]
        calls.append(lambda: found(library.similar(known[0], k=5)))
        for _ in range(3):
            assert in_threads(calls) == alone
    assert len(loaded) == 1


def test_searches_go_on_while_a_thread_indexes(
    folder: Path, tmp_path: Path, sample_photos: list[Path]
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for number, source in enumerate(sample_photos[10:]):
        shutil.copyfile(source, more / f"more-{number}.jpg")
    answers: list[list[Hit]] = []
    with Library(folder, device="cpu") as library:
        vector = library.encode_text(["a dog"])

        def search(done: threading.Event) -> None:
            while not done.is_set():
                answers.append(library.query("a dog", k=100))
                library.search_vectors(vector, k=3)

        done = threading.Event()
        with ThreadPoolExecutor(3) as pool:
            searches = [pool.submit(search, done) for _ in range(3)]
            try:
                report = library.index([more])
            finally:
                done.set()
            assert [one.result() for one in searches] == [None] * 3
        final = library.query("a dog", k=100)
        assert len(final) == 10 + report.added > 10
        assert library.remove([more]) == report.added
        assert len(library.query("a dog", k=100)) == 10
    scores = dict(found(final))
    for hits in answers:
        assert len(hits) >= 10
        assert all(scores[id_] == score for id_, score in found(hits))
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_what_was_left_out_is_said_with_the_answer(folder: Path, photos: Path) -> None:
    with Library(folder) as library:
        before = library.query("a dog")
        away = photos.with_name("away")
        photos.rename(away)
        try:
            found = library.query("a dog")
        finally:
            away.rename(photos)
        assert found == []
        assert [place.path for place in found.left_out] == [photos]
        assert len(before) > 0
        assert before.left_out == ()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_threads_that_ended_leave_nothing_open(indexed: Path) -> None:
    with Library(indexed, read_only=True) as library:
        library.query("a dog")
        before = len(open_files(indexed))
        for _ in range(3):
            in_threads([library.info] * THREADS)
        among = len(open_files(indexed))
        for _ in range(30):
            in_threads([lambda: library.query("a dog")])
        assert len(open_files(indexed)) == among <= before + 3 * THREADS
    assert open_files(indexed) == []


def test_another_library_in_its_place_is_no_part_of_it(folder: Path, indexed: Path) -> None:
    with Library(folder) as library:
        ids = found(library.query("a dog"))
        shutil.copyfile(indexed / "catalog.sqlite", folder / "other")
        (folder / "other").replace(folder / "catalog.sqlite")
        assert found(library.query("a dog")) == ids  # by the connection that it has
        with library._store.reading():
            (error,) = in_threads([library.info])
    assert isinstance(error, LibraryError)
    assert "open it again" in str(error)


# Writing


def test_one_thread_writes_and_a_second_is_refused_or_waits(
    folder: Path, tmp_path: Path, sample_photos: list[Path]
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for number, source in enumerate(sample_photos[10:14]):
        shutil.copyfile(source, more / f"{number}.jpg")
    begun, go_on = threading.Event(), threading.Event()
    asked: list[int] = []

    def hold() -> bool:
        """Hold the run up in the middle, with photos in the hands of the decoders."""
        asked.append(1)
        if len(asked) == 3:
            begun.set()
            assert go_on.wait(SECONDS)
        return False

    def wait(progress: IndexProgress) -> None:
        if progress.phase == "waiting":
            go_on.set()

    with Library(folder, device="cpu") as library, ThreadPoolExecutor(2) as pool:
        first = pool.submit(library.index, [more], stop=hold)
        assert begun.wait(SECONDS)
        for refused in (library.index, lambda: library.remove([more])):
            with pytest.raises(LibraryLocked, match=f"process {os.getpid()} is writing"):
                refused()
        second = pool.submit(library.update, [more], progress=wait)
        assert first.result().embedded == 4  # the refused run did not end its decoders
        assert second.result().unchanged == 4


# After its end

AFTER_THE_END: dict[str, Callable[[Library], object]] = {
    "index": lambda library: library.index(),
    "update": lambda library: library.update([]),
    "remove": lambda library: library.remove([]),
    "query": lambda library: library.query("a cat"),
    "query_batch": lambda library: library.query_batch([]),
    "similar": lambda library: library.similar(b"no picture"),
    "search_vectors": lambda library: library.search_vectors(np.zeros((0, 0), np.float32)),
    "encode_text": lambda library: library.encode_text([]),
    "encode_images": lambda library: library.encode_images([]),
    "prepare_for_pictures": lambda library: library.prepare_for_pictures(),
    "photo": lambda library: library.photo(1),
    "photos": lambda library: library.photos([1]),
    "vectors": lambda library: library.vectors([1]),
    "answers": lambda library: library.answers([]),
    "details": lambda library: library.details(1),
    "list": lambda library: library.list(),
    "facets": lambda library: library.facets(),
    "count": lambda library: library.count(),
    "duplicates": lambda library: library.duplicates(),
    "classify": lambda library: library.classify(b"no picture", ["a", "b"]),
    "tag": lambda library: library.tag(),
    "tags": lambda library: library.tags(),
    "teach": lambda library: library.teach("Rex", ROOT / "examples/photos/city/taj-mahal.jpg"),
    "likely": lambda library: library.likely("Rex"),
    "forget_tag": lambda library: library.forget_tag("Rex"),
    "folders": lambda library: library.folders(),
    "away": lambda library: library.away(),
    "failures": lambda library: library.failures(),
    "info": lambda library: library.info(),
    "__enter__": lambda library: library.__enter__(),
}


def test_everything_is_refused_after_the_end(folder: Path) -> None:
    library = Library(folder)
    library.query("a cat")
    library.close()
    library.close()
    methods = {
        name for name, _ in inspect.getmembers(Library, inspect.isfunction) if name[0] != "_"
    }
    assert methods - {"close"} == AFTER_THE_END.keys() - {"__enter__"}
    for call in AFTER_THE_END.values():
        with pytest.raises(LibraryClosed, match="was closed; open it again"):
            call(library)


def test_what_is_under_way_at_the_end_gives_its_answer_or_says_so(indexed: Path) -> None:
    for _ in range(5):
        library = Library(indexed, read_only=True, device="cpu")
        right = found(library.query("a dog"))
        answers: list[object] = []

        def search(library: Library = library, answers: list[object] = answers) -> None:
            while True:
                answers.append(found(library.query("a dog")))

        ends = in_threads([search] * 4 + [library.close])
        assert [type(end) for end in ends] == [LibraryClosed] * 4 + [type(None)]
        assert all(answer == right for answer in answers)


def test_the_end_of_a_library_ends_the_run_that_another_thread_began(
    folder: Path, tmp_path: Path, sample_photos: list[Path]
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for number, source in enumerate(sample_photos[10:14]):
        shutil.copyfile(source, more / f"{number}.jpg")
    threads = set(threading.enumerate())
    library = Library(folder, device="cpu")
    begun, go_on = threading.Event(), threading.Event()
    asked: list[int] = []

    def hold() -> bool:
        """Hold the run up in the middle, with photos in the hands of the decoders."""
        asked.append(1)
        if len(asked) == 3:
            begun.set()
            assert go_on.wait(SECONDS)
        return False

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(library.index, [more], stop=hold)
        assert begun.wait(SECONDS)
        library.close()
        go_on.set()
        with pytest.raises(LibraryClosed):
            run.result()
    assert set(threading.enumerate()) <= threads  # and so no decoders either
    with Library(folder, device="cpu") as again:
        assert len(again.query("a dog", k=100)) == 10
        assert again.index([more]).embedded == 4


def test_a_library_is_neither_copied_nor_sent(folder: Path) -> None:
    with Library(folder) as library:
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(LibraryError, match=r"open it where it is needed, with Library\("):
                copied(library)
        assert library.query("a dog")


FORKED = """
import os, sys
from clipsearch import Library, LibraryClosed

library = Library(sys.argv[1])
right = [hit.id for hit in library.query("a dog")]
child = os.fork()
if child == 0:
    try:
        library.query("a dog")
    except LibraryClosed as error:
        assert "open it in this one" in str(error)
    else:
        os._exit(1)
    library.close()
    with Library(sys.argv[1]) as own:
        os._exit(0 if [hit.id for hit in own.query("a dog")] == right else 2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert [hit.id for hit in library.query("a dog")] == right
library.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_opens_a_library_of_its_own(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, folder],  # Python 3.12 warns of each fork
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")
