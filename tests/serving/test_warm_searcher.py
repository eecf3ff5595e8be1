"""The searcher behind all doors: what waits is one batch, and nobody waits for anybody else's."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import pytest

from clipsearch import (
    Hits,
    InvalidInput,
    Library,
    LibraryClosed,
    LibraryNotFound,
    SearchOptions,
    ServerBusy,
    UnreadableImage,
    term,
)
from clipsearch.serving import searcher as searcher_module
from clipsearch.serving.batches import Batches
from clipsearch.serving.searcher import Question, WarmSearcher

SECONDS = 60
OPTIONS = SearchOptions(k=3)


@pytest.fixture
def library(small_library: Path) -> Path:
    return small_library / "library"


@pytest.fixture
def searcher(library: Path) -> Iterator[WarmSearcher]:
    with closing(WarmSearcher(library)) as searcher:
        yield searcher


class Held:
    """Holds batches up, of words or of pictures, until it is let go."""

    def __init__(self, patch: pytest.MonkeyPatch, *, pictures: bool = False) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        answer = WarmSearcher._answer_batch

        def held(searcher: WarmSearcher, waiting: Sequence) -> None:
            if waiting[0].question.has_new_pictures == pictures:
                self.begun.set()
                assert self.go.wait(SECONDS)
            answer(searcher, waiting)

        patch.setattr(WarmSearcher, "_answer_batch", held)

    def let_go(self) -> None:
        self.go.set()


def question(words: str, command: str = "query", options: SearchOptions = OPTIONS) -> Question:
    return Question(command, term(words), options)


def test_all_that_waits_is_answered_as_one_batch(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    with closing(WarmSearcher(library)) as searcher:
        first = searcher.submit(question("a dog"))
        assert held.begun.wait(SECONDS)
        texts = ["a red square", "", "a boat", "été 写真", "a red square"]
        later = [searcher.submit(question(text)) for text in texts]
        held.let_go()
        with Library(library, read_only=True, device="cpu") as alone:
            assert first.result(SECONDS) == alone.query("a dog", OPTIONS, text=True)
            for text, found in zip(texts, later, strict=True):
                if text:
                    assert found.result(SECONDS) == alone.query(text, OPTIONS, text=True)
                else:
                    with pytest.raises(InvalidInput, match="empty"):
                        found.result(SECONDS)
        assert searcher.counts.batches.within[:4] == [1, 0, 0, 1]  # of one, and of five
        assert searcher.counts.errors == {"InvalidInput": 1}


def test_many_threads_get_each_their_own_answer(searcher: WarmSearcher, library: Path) -> None:
    texts = [f"{what} {number}" for number in range(12) for what in ("dog", "boat", "red square")]
    found: dict[str, Hits] = {}

    def ask(some: list[str]) -> None:
        for text in some:
            found[text] = searcher.answer(question(text))

    threads = [threading.Thread(target=ask, args=(texts[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    with Library(library, read_only=True, device="cpu") as alone:
        assert found == {text: alone.query(text, OPTIONS, text=True) for text in texts}


def test_words_and_looks_wait_for_no_pictures_and_looks_for_no_words(
    library: Path, sample_photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Question("similar", term(sample_photos[9].read_bytes()), OPTIONS)
    with closing(WarmSearcher(library)) as searcher:
        held = Held(monkeypatch, pictures=True)
        searcher._pictures._work = searcher._answer_batch
        waiting = searcher.submit(picture)
        assert held.begun.wait(SECONDS)
        assert len(searcher.answer(question("a dog"))) == 3
        photo = next(iter(searcher.answer(question("a dog"))))
        known = Question("similar", term(photo), OPTIONS)
        assert photo.id not in {hit.id for hit in searcher.answer(known)}
        held.let_go()
        assert waiting.result(SECONDS)[0].rank == 1

    held = Held(monkeypatch)
    with closing(WarmSearcher(library)) as searcher:
        waiting = searcher.submit(question("a dog"))
        assert held.begun.wait(SECONDS)
        assert searcher.look(lambda library: library.facets().total).result(SECONDS) == 5
        with pytest.raises(InvalidInput):
            searcher.look(lambda library: library.photo(10**6)).result(SECONDS)
        held.let_go()
        assert len(waiting.result(SECONDS)) == 3


def test_a_picture_that_is_none_spoils_no_other(
    searcher: WarmSearcher, library: Path, sample_photos: list[Path]
) -> None:
    pictures = [b"\xff\xd8 none", sample_photos[8].read_bytes(), b"%PDF-1.4", b""]
    asked = [Question("similar", term(picture), OPTIONS) for picture in pictures]
    futures = [searcher.submit(one) for one in asked]
    with Library(library, read_only=True, device="cpu") as alone:
        assert futures[1].result(SECONDS) == alone.similar(pictures[1], OPTIONS)
    for bad in (0, 2, 3):
        with pytest.raises(UnreadableImage):
            futures[bad].result(SECONDS)


def test_of_too_many_the_last_are_refused_and_the_others_answered(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searcher_module, "MOST_WAITING", 2)
    held = Held(monkeypatch)
    with closing(WarmSearcher(library)) as searcher:
        first = searcher.submit(question("a dog"))
        assert held.begun.wait(SECONDS)
        accepted = [searcher.submit(question("a dog")) for _ in range(2)]
        with pytest.raises(ServerBusy, match="2 questions wait"):
            searcher.submit(question("a dog"))
        held.let_go()
        assert {len(one.result(SECONDS)) for one in (first, *accepted)} == {3}
        assert len(searcher.answer(question("a dog"))) == 3
        assert searcher.counts.errors["ServerBusy"] == 1


def test_so_many_bytes_wait_and_no_more() -> None:
    go, taken = threading.Event(), threading.Event()
    done: list[str] = []

    def work(some: list[str]) -> None:
        taken.set()
        assert go.wait(SECONDS)
        done.extend(some)

    batches: Batches[str] = Batches(
        *(work, "test"), at_once=9, most_waiting=9, most_bytes=10, first=lambda: None
    )
    batches.put("large", 1000)  # what is alone always goes
    assert taken.wait(SECONDS)
    batches.put("a", 6)
    with pytest.raises(ServerBusy):
        batches.put("b", 6)
    batches.put("c", 4)
    go.set()
    batches.close()
    assert done == ["large", "a", "c"]


def test_at_the_end_what_was_accepted_is_answered_and_what_comes_later_is_not(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    searcher = WarmSearcher(library)
    futures: list[Future[Hits]] = [searcher.submit(question("a dog")) for _ in range(20)]
    looked = [searcher.look(lambda library: library.info().photos) for _ in range(20)]
    assert held.begun.wait(SECONDS)
    ending = threading.Thread(target=searcher.close)
    ending.start()
    while not searcher._words._closed:
        ending.join(0.01)
    with pytest.raises(LibraryClosed):
        searcher.submit(question("a dog"))
    held.let_go()
    ending.join(SECONDS)
    assert {len(one.result(0)) for one in futures} == {3}
    assert {one.result(0) for one in looked} == {5}
    with pytest.raises(LibraryClosed):
        searcher.look(lambda library: library.info())


def test_who_has_gone_is_passed_over(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    with closing(WarmSearcher(library)) as searcher:
        first = searcher.submit(question("a dog"))
        assert held.begun.wait(SECONDS)
        gone, stays = (searcher.submit(question(text)) for text in ("a cat", "a boat"))
        assert gone.cancel()
        held.let_go()
        assert len(first.result(SECONDS)) == len(stays.result(SECONDS)) == 3
        assert searcher.counts.batches.within[0] == 2


def test_a_library_that_was_put_in_its_place_is_seen(
    searcher: WarmSearcher, library: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(library, other)
    with Library(other) as fewer:
        fewer.remove(fewer.list(k=1)[0].path)
    used, go = threading.Event(), threading.Event()

    def slow(library: Library) -> int:
        used.set()
        assert go.wait(SECONDS)
        return library.info().photos

    looking = searcher.look(slow)
    assert used.wait(SECONDS)
    library.rename(tmp_path / "before")
    with pytest.raises(LibraryNotFound):
        searcher.answer(question("a dog"))
    other.rename(library)
    assert len(searcher.answer(question("a dog", options=SearchOptions(k=9)))) == 4
    go.set()
    assert looking.result(SECONDS) == 5  # who had the other before keeps it until it is done
    assert searcher.look(lambda library: library.info().photos).result(SECONDS) == 4


def test_a_line_is_logged_of_each_request_without_its_words(
    searcher: WarmSearcher, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "clipsearch.serving"):
        searcher.answer(question("a secret dog"), door="web")
        with pytest.raises(InvalidInput):
            searcher.answer(question(" "), door="socket")
        searcher.look(lambda library: library.facets(), door="web", command="facets").result()
    lines = [dict(part.split("=") for part in one.split(" ")) for one in caplog.messages]
    assert "secret" not in caplog.text
    times = {"waited_ms", "answered_ms"}
    assert all(float(line.pop(name)) >= 0 for line in lines for name in times)
    assert lines == [
        {"door": "web", "command": "query", "kinds": "text", "k": "3", "found": "3", "batch": "1"},
        {
            **{"door": "socket", "command": "query", "kinds": "text", "k": "3"},
            **{"error": "InvalidInput", "batch": "1"},
        },
        {"door": "web", "command": "facets", "batch": "1"},
    ]
    with caplog.at_level(logging.DEBUG, "clipsearch.serving"):
        searcher.answer(question("a secret\ndog"))
    assert r"a secret\ndog" in caplog.text
    assert searcher.counts.requests["web", "query"] == 1
    assert searcher.counts.seconds.count == 4
