"""The server of a library: the same answers, at once; and none the worse without it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from cli_process import PROGRAM, Ended, clean_environment, clipsearch

from clipsearch import Library, SearchOptions
from clipsearch.cli.search_flags import Search
from clipsearch.cli.searching import run
from clipsearch.errors import InvalidInput
from clipsearch.index.store import Store
from clipsearch.machine import is_private
from clipsearch.serving.client import connected
from clipsearch.serving.protocol import (
    PROTOCOL,
    ProtocolError,
    receive,
    send,
    socket_path,
)
from clipsearch.serving.server import SocketServer, checked_question
from clipsearch.serving.server import serve as serve_library

if not hasattr(socket, "AF_UNIX"):
    pytest.skip("this system has no Unix sockets", allow_module_level=True)

WITHOUT = {"CLIPSEARCH_NO_SERVER": "1"}
QUESTION = {
    "protocol": PROTOCOL,
    "command": "query",
    "terms": [[1, "a dog"]],
    "options": {"k": 3},
}


@pytest.fixture(autouse=True)
def runtime(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give this test a folder of its own for sockets."""
    folder = tmp_path_factory.mktemp("run")
    folder.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, sample_photos: list[Path]) -> Path:
    folder = tmp_path_factory.mktemp("serve") / "photos"
    folder.mkdir()
    (folder.parent / "trip").mkdir()
    names = [
        "a.jpg",
        "b.jpg",
        "../trip/c.jpg",
        "two\nlines.jpg",
        os.fsdecode(b"caf\xe9.jpg"),
        "d.jpg",
    ]
    for source, name in zip(sample_photos, names, strict=False):
        shutil.copyfile(source, folder / name)
    return folder


@pytest.fixture(scope="module")
def made(photos: Path, tiny_model_folder: Path) -> Path:
    folder = photos.parent / "library"
    with Library(folder, device="cpu") as library:
        library.index([photos, photos.parent / "trip"], model=str(tiny_model_folder))
    return folder


@pytest.fixture
def library(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "library"))


Serve = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return what starts a server and waits until it can be asked."""
    started: list[subprocess.Popen[str]] = []

    def start(
        folder: Path, *options: str, program: Sequence[str] = PROGRAM
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*program, "serve", "--library", str(folder), *options],
            stderr=subprocess.PIPE,
            env=clean_environment(),
            text=True,
            # Tests in the background ignore Ctrl-C, and would pass that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        started.append(process)
        assert process.stderr is not None
        assert process.stderr.readline() == f"serving {folder}\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def by_server(folder: Path, words: str = "a dog", **asked: object) -> list[str] | None:
    """Return the paths that the server finds, None if none answers."""
    with connected(str(folder)) as server:
        found = server and server.ask("query", words, SearchOptions(**{"k": 3, **asked}))
        return None if found is None else [str(hit.path) for hit in found]


def talk(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(20)
    try:
        connection.connect(socket_path(folder))
    except OSError:
        connection.close()
        raise
    return connection


def reply(connection: socket.socket) -> dict:
    return receive(connection, most=1 << 20, most_data=0, seconds=20)[0]


def test_all_answers_are_the_same_to_the_last_byte(library, photos, serve, tmp_path):
    searches = [
        ["query", "a dog on a beach"],
        ["query", "a dog on a beach", "-k", "2"],
        ["query", "two\tboats", "--json"],
        ["query", "boats", "--paths"],
        ["query", "boats", "-0"],
        ["query", "boats", "--min-score", "0.9999"],
        ["query", "été 写真 &amp; co"],
        ["query", str(photos / "a.jpg"), "--json"],
        ["query", "-", "--json"],
        ["similar", str(photos / "b.jpg"), "--json"],
        ["similar", "-k3", "-"],
        ["query", ""],
        ["query", "no-such.jpg"],
        ["similar", str(photos / "none.jpg")],
        ["similar", str(library / "catalog.sqlite")],
        ["query", "boats", "--include-away", "--json"],
    ]
    data = (photos / "b.jpg").read_bytes()

    def outcome(arguments: list[str], environment: dict[str, str]) -> Ended:
        more = ("--library", library)
        return clipsearch(*arguments, *more, stdin=data, environment=environment)

    serve(library)
    for arguments in searches:
        assert outcome(arguments, {}) == outcome(arguments, WITHOUT), arguments
    (photos.parent / "trip").rename(tmp_path / "away")
    try:
        ours, theirs = outcome(searches[0], {}), outcome(searches[0], WITHOUT)
    finally:
        (tmp_path / "away").rename(photos.parent / "trip")
    assert ours == theirs
    assert "trip is not there now: 1 photo left out" in ours.err


def test_a_client_of_the_server_imports_nothing_heavy(library, serve):
    serve(library)
    heavy = ("numpy", "onnxruntime", "sqlite3", "rich", "typer", "pydantic", "faiss", "torch")
    assert loaded(library, heavy, "a dog on a beach") == []


def test_a_search_without_a_server_imports_what_it_needs_and_no_more(library):
    spared = ("torch", "open_clip", "typer", "pydantic", "sqlite_utils", "rich", "tokenizers")
    spared += ("ftfy", "regex", "huggingface_hub", "onnx", "PIL", "watchfiles", "asyncio")
    assert loaded(library, spared, "a dog on a beach") == []


def loaded(library: Path, modules: tuple[str, ...], words: str) -> list[str]:
    code = (
        "import sys; from clipsearch.cli import main\n"
        f"sys.argv = ['clipsearch', 'query', {words!r}, '--library', {str(library)!r}]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"print([n for n in {modules} if n in sys.modules])"
    )
    command = [PROGRAM[0], "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 1
    return json.loads(done.stdout.splitlines()[-1].replace("'", '"'))


def test_the_socket_is_closed_to_others_and_removed_at_the_end(library, serve):
    process = serve(library)
    path = Path(socket_path(library))
    assert path.stat().st_mode & 0o777 == 0o600
    assert is_private(str(path.parent))
    process.terminate()
    assert process.wait(timeout=30) == 0
    assert not path.exists()
    assert by_server(library) is None


def test_ctrl_c_ends_it_with_0_and_it_says_how_it_ends(library, serve):
    process = serve(library)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    assert process.stderr.read().splitlines() == [
        "`query` and `similar` ask it by themselves, and have their answers at once",
        "ends 60 min after the last search, by Ctrl-C or by `clipsearch serve --stop`",
    ]


def test_it_ends_when_nobody_asks_for_long(library, serve):
    started = time.monotonic()
    process = serve(library, "--idle", "0.02")
    assert process.wait(timeout=30) == 0
    assert time.monotonic() - started >= 1.2


def test_a_killed_server_leaves_nothing_that_stands_in_the_way(library, serve):
    process = serve(library)
    process.kill()
    process.wait()
    assert Path(socket_path(library)).exists()
    assert clipsearch("query", "a dog", "--library", library).code == 0
    assert by_server(library) is None
    serve(library)
    assert len(by_server(library)) == 3


def test_a_second_server_is_refused_and_the_first_goes_on(library, serve):
    first = serve(library)
    second = clipsearch("serve", "--library", library)
    assert (second.code, second.out) == (3, b"")
    assert f"process {first.pid}" in second.err
    assert len(second.err.splitlines()) == 1
    assert len(by_server(library)) == 3


def test_a_library_that_is_not_there_is_not_served(tmp_path):
    ended = clipsearch("serve", "--library", tmp_path / "none")
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (3, b"", 1)


def test_it_sees_what_is_committed_at_once(library, photos, serve):
    serve(library)
    before = by_server(library, k=10)
    with Library(library) as own:
        own.remove([photos / "a.jpg"], forget=True)
    after = by_server(library, k=10)
    assert set(before) - set(after) == {str(photos / "a.jpg")}
    with Library(library, device="cpu") as own:
        own.index([photos])
    assert by_server(library, k=10) == before


def test_a_catalog_that_was_replaced_is_opened_anew(library, made, photos, serve):
    with Library(library) as own:
        own.remove([photos.parent / "trip"])
    serve(library)
    before = by_server(library, k=10)
    shutil.rmtree(library / "vectors")
    shutil.copytree(made / "vectors", library / "vectors")
    shutil.copyfile(made / "catalog.sqlite", library / "new")
    for name in ("catalog.sqlite-wal", "catalog.sqlite-shm"):
        (library / name).unlink(missing_ok=True)
    (library / "new").replace(library / "catalog.sqlite")
    assert set(by_server(library, k=10)) - set(before) == {str(photos.parent / "trip/c.jpg")}


def test_many_clients_at_once_each_get_their_own_answer(library, photos, serve):
    serve(library)
    words = [f"{number} dogs on a beach" for number in range(24)]
    with Library(library, read_only=True) as own:
        expected = [[str(h.path) for h in hits] for hits in own.query_batch(words, k=6)]
        picture = [str(h.path) for h in own.similar(photos / "a.jpg", k=3)]
    found: dict[int, list[str]] = {}

    def ask(number: int) -> None:
        if number < len(words):
            found[number] = by_server(library, words[number], k=6)
        else:
            with connected(str(library)) as server:
                hits = server.ask("similar", photos / "a.jpg", SearchOptions(k=3))
                found[number] = [str(hit.path) for hit in hits]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(words) + 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n] for n in range(len(words))] == expected
    assert all(found[n] == picture for n in range(len(words), len(threads)))


def test_exact_goes_all_the_way_to_the_vectors(library, photos, monkeypatch):
    asked: list[bool] = []
    search = Store.search

    def noting(self: Store, *given: object, exact: bool, **more: object) -> object:
        asked.append(exact)
        return search(self, *given, exact=exact, **more)

    def was_asked(what: Callable[..., object], *given: object) -> None:
        what(*given)
        what(*given, exact=True)
        assert asked == [False, True], what
        asked.clear()

    def by_program(command: str, words: str, exact: bool = False) -> None:
        run(Search(command, words, SearchOptions(exact=exact), library=library))

    monkeypatch.setattr(Store, "search", noting)
    with Library(library, read_only=True) as own:
        was_asked(own.query, "a dog")
        was_asked(own.query_batch, ["a dog"])
        was_asked(own.similar, photos / "a.jpg")
        was_asked(own.search_vectors, own.encode_text(["a dog"]))
    was_asked(by_program, "query", "a dog")
    was_asked(by_program, "similar", str(photos / "a.jpg"))
    servers: list[SocketServer] = []
    ready = threading.Event()
    serving = threading.Thread(
        target=lambda: serve_library(
            library, idle_seconds=None, ready=lambda server: [servers.append(server), ready.set()]
        )
    )
    serving.start()
    assert ready.wait(30)
    try:
        assert by_server(library) is not None
        asked.clear()
        was_asked(by_program, "query", "a dog")
        was_asked(by_program, "similar", str(photos / "a.jpg"))
    finally:
        servers[0].stop()
        serving.join()


HOSTILE = [
    b"",
    b"\0",
    b"\xff" * 8,
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\0\0\0\2\0\0\0\0[]",
    b"\0\0\0\4\0\0\0\0null",
    b"\0\0\0\3\0\0\0\0\xff{}",
    (60_000).to_bytes(4, "big") + b"\0\0\0\0" + b"[" * 60_000,
    (1 << 18).to_bytes(4, "big") + b"\0\0\0\0" + b'{"k": 1',
]


def test_no_client_can_bring_it_down(library, serve):
    process = serve(library)
    for data in HOSTILE:
        with talk(library) as connection:
            connection.sendall(data)
            with suppress(ConnectionResetError):  # closed before all was read
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(100) == b""
    with ExitStack() as idle, suppress(BlockingIOError):
        for _ in range(200):  # more than it has room for, and they say nothing
            idle.enter_context(talk(library))
    give_up = time.monotonic() + 20
    while by_server(library) is None and time.monotonic() < give_up:
        time.sleep(0.05)
    assert len(by_server(library)) == 3
    process.terminate()
    assert process.wait(timeout=30) == 0
    assert process.stderr.read().splitlines() == [
        "`query` and `similar` ask it by themselves, and have their answers at once",
        "ends 60 min after the last search, by Ctrl-C or by `clipsearch serve --stop`",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"options": {"k": 0}},
        {"options": {"k": True}},
        {"options": {"k": 10**6}},
        {"options": {"k": "3"}},
        {"command": "remove"},
        {"command": "similar"},
        {"terms": None},
        {"terms": [[1, 3]]},
        {"options": {"min_score": "0"}},
        {"options": {"min_score": float("nan")}},
        {"options": {"include_away": 1}},
        {"options": {"exact": None}},
        {"options": {"model": "builtin"}},
        {"options": {"where": "width > 3"}},
        {"options": {"kk": 3}},
        {"options": {"filters": {"kk": 3}}},
        {"options": [3]},
        {"options": None},
    ],
    ids=repr,
)
def test_a_question_of_the_wrong_form_is_refused(wrong):
    assert checked_question(QUESTION, b"").options == SearchOptions(k=3)
    with pytest.raises(InvalidInput):
        checked_question({**QUESTION, **wrong}, b"")


def test_another_version_or_library_is_declined(library, serve, tmp_path):
    serve(library)
    right = {**QUESTION, "library": os.path.realpath(library)}
    for wrong in ({}, {"protocol": 0}, {"library": str(tmp_path)}, {"protocol": None}):
        with talk(library) as connection:
            send(connection, {**right, **wrong})
            assert ("declined" in reply(connection)) == bool(wrong)


@pytest.mark.parametrize(
    "answer",
    [{"declined": "another version or library"}, {"protocol": PROTOCOL + 1, "hits": []}],
    ids=["before there were numbers", "a later one"],
)
def test_a_server_of_another_protocol_is_passed_by_with_one_line(library, false_server, answer):
    false_server(message(json.dumps(answer).encode()))
    ended = clipsearch("query", "a dog", "--library", library)
    alone = clipsearch("query", "a dog", "--library", library, environment=WITHOUT)
    assert (ended.code, ended.out) == (alone.code, alone.out) == (0, alone.out)
    (line,) = ended.err.splitlines()
    assert "another version" in line
    assert "clipsearch serve" in line


def test_a_real_server_of_another_protocol_declines(library, serve, tmp_path):
    """Both sides run, each with a number of its own."""
    program = tmp_path / "later.py"
    program.write_text(
        "from clipsearch.serving import protocol\n"
        "protocol.PROTOCOL += 1\n"
        "from clipsearch.cli import main\nmain()\n"
    )
    serve(library, program=[sys.executable, str(program)])
    ended = clipsearch("query", "a dog", "--library", library)
    assert ended.code == 0
    assert len(ended.err.splitlines()) == 1


@pytest.fixture
def false_server(library: Path) -> Iterator[Callable[[bytes], None]]:
    """Return what listens in a server's place, answers each client with these bytes, and goes."""
    path = Path(socket_path(library))
    path.parent.mkdir(mode=0o700)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen()

    def answer(data: bytes) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1 << 16)
                connection.sendall(data)

    yield lambda data: threading.Thread(target=answer, args=(data,), daemon=True).start()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def message(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + bytes(4) + text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\x09",
        message(b'{"hits": [')[:-3],
        b"\xff" * 64,
        message(b"[]"),
        message(json.dumps({"protocol": PROTOCOL, "declined": "busy"}).encode()),
        message(json.dumps({"protocol": PROTOCOL, "hits": [{"path": "/a"}]}).encode()),
        message(json.dumps({"protocol": PROTOCOL, "hits": 3, "left_out": []}).encode()),
        message(json.dumps({"protocol": PROTOCOL, "hits": [], "left_out": [1]}).encode()),
    ],
)
def test_a_server_that_dies_or_errs_in_the_middle_is_done_without(library, false_server, data):
    false_server(data)
    ended = clipsearch("query", "a dog", "--library", library)
    assert ended == clipsearch("query", "a dog", "--library", library, environment=WITHOUT)
    assert ended.code == 0


def test_a_socket_that_others_can_open_is_not_trusted(library, serve):
    serve(library)
    path = Path(socket_path(library))
    assert by_server(library) is not None
    for place, mode in ((path, 0o666), (path.parent, 0o755)):
        former = place.stat().st_mode
        place.chmod(mode)
        assert by_server(library) is None
        place.chmod(former)
    assert by_server(library) is not None


def test_a_folder_that_others_can_open_is_not_served_from(library):
    place = Path(socket_path(library)).parent
    place.mkdir()
    place.chmod(0o777)
    ended = clipsearch("serve", "--library", library)
    assert ended.code == 3
    assert "open to others" in ended.err


def test_the_path_of_a_socket_is_short_whatever_the_library_is_called(tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 200) / ("y" * 200)
    deep.mkdir(parents=True)
    assert len(socket_path(deep)) <= 100
    long = tmp_path / ("r" * 120)
    long.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    assert len(socket_path(deep)) <= 100
    assert socket_path(tmp_path / "none") is None


def test_a_message_comes_through_whole_or_not_at_all():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(ours, {"a": "\udce9"}, b"picture")
        assert receive(theirs, most=100, most_data=7, seconds=5) == ({"a": "\udce9"}, b"picture")
        send(ours, {}, b"picture")
        with pytest.raises(ProtocolError):
            receive(theirs, most=100, most_data=6, seconds=5)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"\0\0\0\2\0\0\0\0")
        with pytest.raises((ProtocolError, TimeoutError)):
            receive(theirs, most=100, most_data=0, seconds=0.05)
