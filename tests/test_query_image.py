"""Query pictures from the web, against a server on this machine."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from clipsearch.errors import InvalidInput
from clipsearch.query_image import fetch_picture, is_web_address

PHOTO = Path(__file__).resolve().parent.parent / "examples/photos/food/cup-of-espresso.jpg"


class Handler(BaseHTTPRequestHandler):
    """Serves a photo and several ways to fail."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.split("?")[0].strip("/").replace("%20", "_").replace("%C3%A9", "e")
        getattr(self, f"send_{name}", self.send_missing)()

    def _send(self, data: bytes, kind: str = "image/jpeg", length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def _redirect(self, to: str) -> None:
        self.send_response(302)
        self.send_header("Location", to)
        self.end_headers()

    def send_photo(self) -> None:
        self._send(PHOTO.read_bytes())

    send_a_cafe = send_photo

    def send_missing(self) -> None:
        self.send_error(404, "Not Found")

    def send_page(self) -> None:
        self._send(b"<html>a page</html>", "text/html; charset=utf-8")

    def send_stated_too_large(self) -> None:
        self._send(b"", length=50_000_001)

    def send_endless(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x" * 65536)
        except OSError:
            pass

    def send_cut_off(self) -> None:
        self._send(b"only this", length=1000)
        self.close_connection = True

    def send_empty(self) -> None:
        self._send(b"")

    def send_moved(self) -> None:
        self._redirect("/photo")

    def send_round(self) -> None:
        self._redirect("/round")

    def send_to_a_file(self) -> None:
        self._redirect("file:///etc/hostname")

    def send_to_ftp(self) -> None:
        self._redirect("ftp://127.0.0.1/photo.jpg")

    def send_silent(self) -> None:
        self.server.done.wait(10)

    def send_slow(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.end_headers()
        while not self.server.done.wait(0.05):
            try:
                self.wfile.write(b"x")
            except OSError:
                return


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.done = threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.done.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_picture_arrives_byte_for_byte(address):
    assert fetch_picture(f"{address}/photo") == PHOTO.read_bytes()


def test_a_redirect_to_http_is_followed(address):
    assert fetch_picture(f"{address}/moved") == PHOTO.read_bytes()


def test_spaces_and_accents_in_an_address_are_encoded(address):
    assert fetch_picture(f"{address}/a café?x=ü") == PHOTO.read_bytes()


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("missing", "404"),
        ("page", "no picture but text/html"),
        ("stated_too_large", "larger than 50 MB"),
        ("cut_off", "only 9 bytes arrived"),
        ("empty", "only 0 bytes arrived"),
        ("round", "30"),
        ("to_a_file", "answered 302"),
        ("to_ftp", "unknown url type: ftp"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason_in_one_line(address, page, reason):
    with pytest.raises(InvalidInput, match=reason) as caught:
        fetch_picture(f"{address}/{page}")
    assert f"{address}/{page}" in str(caught.value)


def test_reading_stops_at_the_limit_when_the_size_was_not_stated(address):
    with pytest.raises(InvalidInput, match=r"larger than 0\.2 MB"):
        fetch_picture(f"{address}/endless", max_bytes=200_000)


def test_a_server_that_says_nothing_is_given_up(address):
    with pytest.raises(InvalidInput, match="did not answer in time"):
        fetch_picture(f"{address}/silent", patience=0.2)


def test_a_server_that_sends_byte_by_byte_is_given_up(address):
    with pytest.raises(InvalidInput, match="took too long"):
        fetch_picture(f"{address}/slow", patience=5, deadline=0.3)


def test_a_closed_port_is_a_refusal_in_plain_words():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(InvalidInput, match=f"can't fetch http://127.0.0.1:{port}/x.jpg"):
        fetch_picture(f"http://127.0.0.1:{port}/x.jpg")


@pytest.mark.parametrize(
    "wrong", ["http://", "http://[::1", "http://127.0.0.1:port/", "http://a b/"]
)
def test_an_address_that_is_none_is_refused(wrong):
    with pytest.raises(InvalidInput):
        fetch_picture(wrong, patience=2)


def test_only_http_and_https_are_web_addresses():
    assert is_web_address("HTTPS://example.org/a.jpg")
    assert not is_web_address("ftp://example.org/a.jpg")
    assert not is_web_address("a photo of http://")
