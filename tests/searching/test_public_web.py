"""Pictures are fetched for strangers from public addresses alone, whatever leads elsewhere."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from example_photos import small_photos

from clipsearch import InvalidInput
from clipsearch.searching import public_web
from clipsearch.searching.public_web import fetch_public_picture, is_public

OPEN, CLOSED = "127.0.0.1", "127.0.0.2"  # of two servers; the tests take the first for public


class Site:
    """A server that counts who comes, and answers what it is told to."""

    def __init__(self, place: str, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.asked: list[tuple[str, str | None]] = []  # paths and hosts
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.asked.append((self.path, self.headers["Host"]))
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((place, 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.address = f"http://{place}:{self.port}"


@contextmanager
def site(place: str, answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Site]:
    made = Site(place, answer)
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


def picture(request: BaseHTTPRequestHandler) -> None:
    say(request, 200, small_photos()[0])


def say(request: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


def leads_to(where: Callable[[], str]) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda request: say(request, 302, Location=where())


@pytest.fixture
def open_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take one address of this machine for public, so that something can be reached."""
    monkeypatch.setattr(public_web, "is_public", lambda place: place == OPEN)


class Names:
    """A name server that answers in turn, and the last again and again."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        places = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in places]


PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
NOT_PUBLIC = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "192.0.0.8", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
    *("255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1"),
    *("ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "2002:7f00:1::", "2002:a00:1::1"),
    *("2001:0:7f00:1::1", "2001:db8::1", "localhost", "", "0x7f000001", "2130706433"),
]


@pytest.mark.parametrize("place", PUBLIC)
def test_public_addresses_are_known(place: str) -> None:
    assert is_public(place)


@pytest.mark.parametrize("place", NOT_PUBLIC)
def test_all_others_are_refused(place: str) -> None:
    assert not is_public(place)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"])
def test_this_machine_is_not_asked(host: str) -> None:
    with site(OPEN, picture) as own:
        with pytest.raises(InvalidInput, match="only public addresses are fetched from"):
            fetch_public_picture(f"http://{host}:{own.port}/a.jpg")
        assert own.asked == []


def test_a_public_address_is_asked_by_its_name(open_is_public: None) -> None:
    names = Names([OPEN])
    with site(OPEN, picture) as there:
        address = f"http://photos.example:{there.port}/a b.jpg?x=1#part"
        assert fetch_public_picture(address, resolve=names) == small_photos()[0]
        assert there.asked == [("/a%20b.jpg?x=1", f"photos.example:{there.port}")]
    assert names.asked == ["photos.example"]


def test_a_name_with_one_address_of_ours_is_refused(open_is_public: None) -> None:
    with site(OPEN, picture) as there:
        with pytest.raises(InvalidInput, match="only public addresses"):
            fetch_public_picture(
                f"http://photos.example:{there.port}/", resolve=Names([OPEN, CLOSED])
            )
        assert there.asked == []


def test_a_redirect_leads_to_no_address_of_ours(open_is_public: None) -> None:
    with site(CLOSED, picture) as hidden, site(OPEN, leads_to(lambda: hidden.address)) as there:
        with pytest.raises(InvalidInput, match="only public addresses"):
            fetch_public_picture(f"{there.address}/a.jpg")
        assert (len(there.asked), hidden.asked) == (1, [])


def test_a_redirect_within_the_public_is_followed(open_is_public: None) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.path == "/first":
            say(request, 307, Location="second")
        else:
            picture(request)

    with site(OPEN, answer) as there:
        assert fetch_public_picture(f"{there.address}/first") == small_photos()[0]
        assert [path for path, _ in there.asked] == ["/first", "/second"]


def test_a_name_that_changes_meanwhile_leads_nowhere_else(open_is_public: None) -> None:
    """It is looked up once: what it stands for later is not asked."""
    names = Names([OPEN], [CLOSED])
    with site(OPEN, picture) as there:
        found = fetch_public_picture(f"http://photos.example:{there.port}/", resolve=names)
        assert found == small_photos()[0]
    assert len(names.asked) == 1


def test_a_name_that_changes_between_redirects_is_refused(open_is_public: None) -> None:
    names = Names([OPEN], [CLOSED])
    back: list[str] = []
    with site(OPEN, leads_to(lambda: back[0])) as there, site(CLOSED, picture) as hidden:
        back.append(f"http://photos.example:{hidden.port}/again")
        with pytest.raises(InvalidInput, match="only public addresses"):
            fetch_public_picture(f"http://photos.example:{there.port}/", resolve=names)
        assert (len(there.asked), hidden.asked) == (1, [])


@pytest.mark.parametrize(
    "where", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:image/png;base64,AA", "gopher://x/"]
)
def test_a_redirect_leads_to_the_web_alone(open_is_public: None, where: str) -> None:
    with (
        site(OPEN, leads_to(lambda: where)) as there,
        pytest.raises(InvalidInput, match="only http and https"),
    ):
        fetch_public_picture(there.address)


def test_redirects_come_to_an_end(open_is_public: None) -> None:
    with site(OPEN, leads_to(lambda: "/again")) as there:
        with pytest.raises(InvalidInput, match="from one address to the next"):
            fetch_public_picture(there.address)
        assert len(there.asked) == 6


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "/etc/passwd", "http://", "http://user:pass@host/", "http://[::1", "x"],
)
def test_what_is_no_address_of_a_picture_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput) as told:
        fetch_public_picture(address)
    assert "\n" not in str(told.value)
    assert "pass@" not in str(told.value)


def test_what_is_too_large_or_text_or_an_error_is_refused(open_is_public: None) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.path == "/text":
            say(request, 200, b"<html><body>hello</body></html>")
        elif request.path == "/gone":
            say(request, 404, b"gone")
        else:
            say(request, 200, b"\xff\xd8" + b"\0" * 5000)

    with site(OPEN, answer) as there:
        for path, said in (("text", "no picture but"), ("gone", "answered 404"), ("big", "larger")):
            with pytest.raises(InvalidInput, match=said):
                fetch_public_picture(f"{there.address}/{path}", max_bytes=1000)


@pytest.mark.parametrize("in_headers", [True, False])
def test_a_server_that_drips_for_ever_is_given_up(open_is_public: None, in_headers: bool) -> None:
    stop = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        if not in_headers:
            request.send_response(200)
            request.end_headers()
        while not stop.wait(0.02):
            try:
                request.wfile.write(b"HTTP/1.1" if in_headers else b"\xff")
                request.wfile.flush()
            except OSError:
                return

    with site(OPEN, answer) as there:
        started = time.monotonic()
        with pytest.raises(InvalidInput):
            fetch_public_picture(there.address, deadline=0.3)
        stop.set()
        assert time.monotonic() - started < 20
