"""A library over HTTP answers as it does where it lies, and says what it can't do in one line."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from web_door import Door, open_door

from clipsearch import (
    Hits,
    InvalidInput,
    Library,
    LibraryClosed,
    LibraryError,
    LibraryReadOnly,
    SearchOptions,
    UnreadableImage,
    filters,
    term,
)


@pytest.fixture(scope="module")
def remote(door: Door) -> Iterator[Library]:
    with Library.open(door.address) as library:
        yield library


@pytest.fixture(scope="module")
def picture(own: Library) -> Path:
    return own.list(k=1, in_="animals", sort="path")[0].path


def everything(hits: Hits) -> tuple[Any, ...]:
    """Return all of an answer, what equality leaves out too."""
    return [vars(hit) for hit in hits], hits.left_out, hits.weak, hits.notes


QUESTIONS: list[tuple[str, Callable[[Library, Path], Any]]] = [
    ("words", lambda library, _: library.query("a dog")),
    ("a page", lambda library, _: library.query("a dog", k=7, offset=3, sort="date")),
    ("relevant", lambda library, _: library.query("a dog", k=60, relevant=True, fold=True)),
    ("nothing", lambda library, _: library.query("a steam engine", relevant=True)),
    ("only words", lambda library, _: library.query("dog", only="words")),
    ("score", lambda library, _: library.query("a dog", min_score=0.25, exact=True)),
    ("filters", lambda library, _: library.query("food", camera="pixel", after="2019", k=60)),
    ("a folder", lambda library, path: library.query("food", in_=path.parent, k=60)),
    ("a tree", lambda library, _: library.query("food", filters=~filters.Missing("camera"), k=60)),
    ("another tongue", lambda library, _: library.query("ein Hund am Strand")),
    ("a path", lambda library, path: library.query(path)),
    ("a name", lambda library, path: library.query(str(path))),
    ("bytes", lambda library, path: library.query(path.read_bytes() + b"\0", fold=True)),
    ("in memory", lambda library, path: library.query(Image.open(path).convert("RGB"))),
    ("an array", lambda library, path: library.query(np.asarray(Image.open(path)))),
    ("a sum", lambda library, path: library.query(term("night") + 0.5 * term(path) - "people")),
    ("a hit", lambda library, _: library.query(library.list(k=1)[0])),
    ("a record", lambda library, _: library.query(library.photo(3))),
    ("an embedding", lambda library, _: library.query(library.encode_text("a dog")[0])),
    ("similar", lambda library, path: library.similar(path, k=60)),
    ("similar hit", lambda library, _: library.similar(library.list(k=1)[0], k=60)),
    ("similar sum", lambda library, path: library.similar(term(path) - "grass", k=9)),
    ("several", lambda library, _: library.similar(list(library.list(k=3)), k=60)),
    ("the newest", lambda library, _: library.list(k=100)),
    ("by path", lambda library, _: library.list(k=10, offset=55, sort="path")),
    ("none", lambda library, _: library.list(tag="nobody")),
]


@pytest.mark.parametrize("ask", [one for _, one in QUESTIONS], ids=[name for name, _ in QUESTIONS])
def test_answers_are_the_same(
    remote: Library, own: Library, picture: Path, ask: Callable[[Library, Path], Hits]
) -> None:
    expected = ask(own, picture)
    assert everything(ask(remote, picture)) == everything(expected)


LOOKS: list[Callable[[Library, Path], Any]] = [
    lambda library, _: library.count(),
    lambda library, _: library.count(camera="pixel"),
    lambda library, _: library.facets(),
    lambda library, _: library.facets(in_="animals"),
    lambda library, _: library.info(),
    lambda library, _: library.folders(),
    lambda library, _: library.away(),
    lambda library, _: library.failures(),
    lambda library, _: library.photo(5),
    lambda library, _: library.details(5),
    lambda library, _: library.photos([3, -1, 1, 3]),
    lambda library, _: library.photos([]),
    lambda library, _: library.folder,
]


@pytest.mark.parametrize("look", LOOKS, ids=range(len(LOOKS)))
def test_looks_are_the_same(remote: Library, own: Library, look: Callable[..., Any]) -> None:
    assert look(remote, None) == look(own, None)


ARRAYS: list[Callable[[Library, Path], Any]] = [
    lambda library, _: library.encode_text("a dog"),
    lambda library, _: library.encode_text([f"{n} dogs" for n in range(300)]),
    lambda library, path: library.encode_images([path, path.read_bytes() + b"\0"]),
    lambda library, _: library.encode_images([library.photo(2), library.vectors([1])[0]]),
    lambda library, _: library.vectors([3, 1, -1]),
    lambda library, _: library.vectors([]),
    lambda library, _: library.search_vectors(library.encode_text(["a", "b"]), k=70)[0],
    lambda library, _: library.search_vectors(library.encode_text(["a", "b"]), k=70)[1],
    lambda library, _: library.search_vectors(library.vectors([1]), k=3, camera="pixel")[1],
]


@pytest.mark.parametrize("ask", ARRAYS, ids=range(len(ARRAYS)))
def test_arrays_are_the_same(
    remote: Library, own: Library, picture: Path, ask: Callable[..., Any]
) -> None:
    found, expected = ask(remote, picture), ask(own, picture)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


def test_batches_are_the_same_in_several_requests(
    remote: Library, own: Library, picture: Path
) -> None:
    queries = [f"{number} dogs" for number in range(30)] + [picture, own.photo(2)]
    queries += list(own.encode_text(["a bird"]))
    found = remote.query_batch(queries, k=1000, in_="animals")
    assert [everything(one) for one in found] == [
        everything(one) for one in own.query_batch(queries, k=1000, in_="animals")
    ]


WRONG: list[Callable[[Library], Any]] = [
    lambda library: library.query(""),
    lambda library: library.query("\ud800"),
    lambda library: library.query("a", k=0),
    lambda library: library.query("a", after="one day"),
    lambda library: library.query(Path("/nowhere/at-all.jpg")),
    lambda library: library.query("http://127.0.0.1/a.jpg"),
    lambda library: library.query(np.ones(256, np.float32)),
    lambda library: library.query(np.full(256, np.nan, np.float32)),
    lambda library: library.query(np.float32([1, 0])),
    lambda library: library.query(term("a") - "a"),
    lambda library: library.query(Image.new("RGB", (5, 5)), only="words"),
    lambda library: library.photo(10**9),
    lambda library: library.details(10**9),
    lambda library: library.vectors([10**9]),
    lambda library: library.search_vectors(np.ones((1, 3), np.float32)),
    lambda library: library.search_vectors([["a"]]),  # type: ignore[arg-type]
    lambda library: library.query_batch(["a"], only="words"),
]


@pytest.mark.parametrize("ask", WRONG, ids=range(len(WRONG)))
def test_errors_are_the_same(remote: Library, own: Library, ask: Callable[[Library], Any]) -> None:
    with pytest.raises(InvalidInput) as expected:
        ask(own)
    with pytest.raises(InvalidInput) as told:
        ask(remote)
    assert type(told.value) is type(expected.value)
    assert str(told.value) == str(expected.value)


def test_a_picture_that_cannot_be_opened_is_the_same_error(remote: Library) -> None:
    with pytest.raises(UnreadableImage):
        remote.query(b"\xff\xd8\xff no more")


REFUSED: list[Callable[[Library], Any]] = [
    lambda library: library.index(["/tmp"]),
    lambda library: library.index(),
    lambda library: library.update(["/tmp"]),
    lambda library: library.remove(["/tmp"]),
    lambda library: library.duplicates(),
    lambda library: library.tags(),
    lambda library: library.tag(["dog"]),
    lambda library: library.classify([b"x"], ["a", "b"]),
]


@pytest.mark.parametrize("ask", REFUSED, ids=range(len(REFUSED)))
def test_what_it_cannot_do_is_refused_in_a_line(
    remote: Library, door: Door, ask: Callable[[Library], Any]
) -> None:
    with pytest.raises(LibraryReadOnly) as refused:
        ask(remote)
    assert str(refused.value).startswith(f"{door.address}: a library is searched over HTTP")


def test_its_own_condition_and_other_models_are_refused(remote: Library) -> None:
    for options in (SearchOptions(where="width > 1"), SearchOptions(model="builtin")):
        with pytest.raises(InvalidInput, match=r"this machine|own model"):
            remote.query("a dog", options)
    with pytest.raises(InvalidInput, match="own model"):
        remote.vectors([1], model="builtin")
    with pytest.raises(InvalidInput, match="10000"):
        remote.query("a dog", k=20_000)


def test_a_hit_of_another_time_is_known_by_its_content(remote: Library, own: Library) -> None:
    from dataclasses import replace

    other = replace(own.photo(3), content_hash="0" * 64)
    for library in (remote, own):
        with pytest.raises(InvalidInput, match="photo 3 is not in this library"):
            library.query(other)


def test_many_threads_share_it(remote: Library, own: Library) -> None:
    words = [f"{number} birds" for number in range(10)]
    expected = {one: own.query(one) for one in words}
    found: dict[str, Hits] = {}
    threads = [
        threading.Thread(target=lambda one=one: found.update({one: remote.query(one)}))
        for one in words
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_it_is_closed_and_stays_so(door: Door) -> None:
    library = Library.open(door.address)
    assert repr(library) == f"Library({door.address!r}, 59 photos, builtin)"
    with pytest.raises(LibraryError, match=r"Library\.open\('http"):
        pickle.dumps(library)
    with pytest.raises(LibraryError):
        copy.copy(library)
    library.close()
    library.close()
    with pytest.raises(LibraryClosed):
        library.query("a dog")
    with pytest.raises(LibraryClosed), library:
        pass
    assert repr(library) == f"Library({door.address!r}, closed)"


def test_it_is_of_the_process_that_opened_it(door: Door) -> None:
    library = Library.open(door.address)
    child = os.fork()
    if not child:
        code = 1
        try:
            library.query("a dog")
        except LibraryClosed:
            library.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(library.query("a dog", k=3)) == 3
    library.close()


@contextmanager
def false_server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Listen in a server's place; `answer` writes what it likes."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_redirect_is_not_followed_with_the_token() -> None:
    asked: list[str | None] = []

    def lead_away(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.headers["Authorization"])
        request.send_response(302)
        request.send_header("Location", "/elsewhere")
        request.send_header("Content-Length", "0")
        request.end_headers()

    with false_server(lead_away) as address:
        with pytest.raises(LibraryError, match="leads elsewhere to '/elsewhere'") as told:
            Library.open(address, token="secret")
        assert asked == ["Bearer secret"]
        assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b"[" * 100_000),
        (200, json.dumps({"library": 5, "models": []}).encode()),
        (500, b"oh"),
        (404, b'{"detail": "Not Found"}'),
        (400, b'{"error": {"kind": 5, "message": 5}}'),
        (400, b'{"error": "x"}'),
    ],
)
def test_what_is_no_server_of_ours_is_an_error_of_one_line(status: int, body: bytes) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    with false_server(answer) as address:
        with pytest.raises(LibraryError, match="there is no `clipsearch serve --web`") as told:
            Library.open(address)
        assert "\n" not in str(told.value)


def test_an_answer_that_breaks_off_is_an_error() -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100")
        request.end_headers()
        request.wfile.write(b"{")
        request.close_connection = True

    with false_server(answer) as address, pytest.raises(LibraryError, match="can't reach"):
        Library.open(address)


def test_nobody_there_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(LibraryError, match=f"can't reach http://127.0.0.1:{port}: Connection ref"):
        Library.open(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("address", "token"),
    [
        ("http://", None),
        ("http://host:99999", None),
        ("http://host:port", None),
        ("http://user:secret@host", None),
        ("http://host/?q=1", None),
        ("http://host/a b", None),
        ("http://host", "two words"),
        ("http://host", "line\r\nX: y"),
        ("http://host", ""),
        ("/a/folder", "token"),
    ],
)
def test_what_is_no_address_is_refused_before_anything_is_asked(
    address: str, token: str | None
) -> None:
    with pytest.raises(InvalidInput) as told:
        Library.open(address, token=token)
    assert "secret" not in str(told.value)


def test_the_token_opens_it(example_library: Path, tmp_path: Path) -> None:
    place = tmp_path / "library"
    shutil.copytree(example_library, place)
    with open_door(place, token="t0ken-of-this-test") as opened:
        for token in (None, "another"):
            with pytest.raises(LibraryError, match="asks for its token"):
                Library.open(opened.address, token=token)
        with Library.open(opened.address, token="t0ken-of-this-test") as library:
            assert len(library.query("a dog", k=3)) == 3


def test_it_goes_on_after_the_server_was_started_anew(
    example_library: Path, tmp_path: Path
) -> None:
    """A connection that the server has closed meanwhile is opened again."""
    place = tmp_path / "library"
    shutil.copytree(example_library, place)
    with open_door(place) as opened:
        asks_meanwhile, library = (Library.open(opened.address) for _ in range(2))
        expected = library.query("a dog")
        assert asks_meanwhile.query("a dog") == expected
    with pytest.raises(LibraryError, match="can't reach"):
        asks_meanwhile.query("a dog")
    with open_door(place, port=int(opened.address.rpartition(":")[2])):
        assert library.query("a dog") == expected
        assert asks_meanwhile.query("a dog") == expected
    library.close()
    asks_meanwhile.close()


def test_opening_one_loads_nothing_heavy(door: Door) -> None:
    import subprocess
    import sys

    heavy = ("torch", "starlette", "uvicorn", "PIL", "onnxruntime", "faiss")
    program = (
        "import sys; from clipsearch import Library\n"
        f"library = Library.open({door.address!r}); library.query('a dog', text=True)\n"
        f"print([one for one in {heavy} if one in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_an_address_is_never_taken_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for address in ("http://127.0.0.1:8000", Path("http://127.0.0.1:8000"), "HTTPS://host"):
        with pytest.raises(InvalidInput, match=r"is no folder: `Library\.open` in Python"):
            Library(address)
    assert list(tmp_path.iterdir()) == []
