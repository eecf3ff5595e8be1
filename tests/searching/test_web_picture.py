"""Query pictures from the web, against a server on this machine."""

import os
import socket
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from places import PHOTO

from clipsearch.errors import InvalidInput
from clipsearch.searching import web_picture
from clipsearch.searching.web_picture import fetch_picture, is_address, is_web_address, picture_at


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

    def send_photo_as_text(self) -> None:
        self._send(PHOTO.read_bytes(), "text/plain; charset=utf-8")

    def send_photo_as_page(self) -> None:
        self._send(PHOTO.read_bytes(), "text/html")

    def send_photo_as_bytes(self) -> None:
        self._send(PHOTO.read_bytes(), "application/octet-stream")

    def send_photo_as_nonsense(self) -> None:
        self._send(PHOTO.read_bytes(), "?")

    def send_photo_unstated(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PHOTO.read_bytes())

    def send_photo_for_a_friend(self) -> None:
        if self.headers["Authorization"] == f"Basic {b64encode(b'me:se:cret@').decode()}":
            self.send_photo()
        else:
            self.send_error(401)

    def send_elsewhere_for_a_friend(self) -> None:
        if self.headers["Authorization"]:
            self._redirect("/photo_for_strangers")

    def send_photo_for_strangers(self) -> None:
        if not self.headers["Authorization"]:
            self.send_photo()

    def send_missing(self) -> None:
        self.send_error(404, "Not Found")

    def send_page(self) -> None:
        self._send(b"<html>a page</html>", "text/html; charset=utf-8")

    def send_page_as_photo(self) -> None:
        self._send(b"\n<!doctype html><html>a page</html>", "image/jpeg")

    def send_page_unstated(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>a page</html>")

    def send_words_as_photo(self) -> None:
        self._send(b"404: no such picture", "image/png")

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


@pytest.mark.parametrize("kind", ["text", "page", "bytes", "nonsense"])
def test_the_bytes_tell_what_is_a_picture_not_the_stated_kind(address, kind):
    assert fetch_picture(f"{address}/photo_as_{kind}") == PHOTO.read_bytes()


def test_a_picture_of_no_stated_kind_is_a_picture(address):
    assert fetch_picture(f"{address}/photo_unstated") == PHOTO.read_bytes()


def test_a_name_and_password_in_the_address_go_to_that_server_and_are_never_shown(address):
    with_password = address.replace("//", "//me:se%3Acret%40@")
    for page in ("photo_for_a_friend", "elsewhere_for_a_friend"):
        assert fetch_picture(f"{with_password}/{page}") == PHOTO.read_bytes()
    for page in ("missing", "page"):
        with pytest.raises(InvalidInput, match=f"{address}/{page}") as caught:
            fetch_picture(f"{with_password}/{page}")
        assert "cret" not in str(caught.value)


def test_a_redirect_to_http_is_followed(address):
    assert fetch_picture(f"{address}/moved") == PHOTO.read_bytes()


def test_spaces_and_accents_in_an_address_are_encoded(address):
    assert fetch_picture(f"{address}/a café?x=ü") == PHOTO.read_bytes()


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("missing", "404"),
        ("page", "no picture but text/html"),
        ("page_as_photo", "no picture but a web page"),
        ("page_unstated", "no picture but a web page"),
        ("words_as_photo", "no picture but text"),
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
    with pytest.raises(InvalidInput, match=rf"^can't fetch http://127.0.0.1:{port}/x.jpg: \w"):
        fetch_picture(f"http://127.0.0.1:{port}/x.jpg")


@pytest.mark.parametrize(
    "wrong", ["http://", "http://[::1", "http://127.0.0.1:port/", "http://a b/"]
)
def test_an_address_that_is_none_is_refused(wrong):
    with pytest.raises(InvalidInput):
        fetch_picture(wrong, patience=2)


def data_addresses() -> Iterator[str]:
    data = PHOTO.read_bytes()
    plain = b64encode(data).decode()
    yield f"data:image/jpeg;base64,{plain}"
    yield f"DATA:IMAGE/JPEG;BASE64,{plain}"
    yield f"  data:;base64,{plain}\n"
    yield f"data:image/jpeg;charset=x;base64,{quote(plain, safe='')}"
    yield f"data:image/jpeg;base64,{plain.rstrip('=')}"
    yield f"data:image/jpeg;base64,{urlsafe_b64encode(data).decode()}"
    yield "data:image/jpeg;base64," + "\n ".join(plain[i : i + 76] for i in range(0, 10**6, 76))
    yield f"data:image/jpeg,{quote(data)}"
    yield f"data:,{quote(data)}"


@pytest.mark.parametrize("given", list(data_addresses()), ids=lambda given: given[:30].strip())
def test_a_data_address_holds_a_picture(given):
    assert is_address(given)
    assert picture_at(given) == PHOTO.read_bytes()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("data:image/jpeg;base64", "before the comma"),
        ("data:image/jpeg;base64,", "holds no picture"),
        ("data:image/jpeg;base64,/9j/4AA!", "cut short or no base64"),
        ("data:image/jpeg;base64,/9j/4", "cut short or no base64"),
        ("data:image/jpeg;base64," + "A" * 140_000, r"larger than 0\.1 MB"),
        ("data:image/jpeg," + "A" * 100_001, r"larger than 0\.1 MB"),
        ("data:image/jpeg," + "%41" * 100_001, r"larger than 0\.1 MB"),
    ],
    ids=lambda given: given[:30],
)
def test_a_data_address_that_holds_no_picture_is_refused_in_one_short_line(
    given, reason, monkeypatch
):
    monkeypatch.setattr(web_picture, "MAX_BYTES", 100_000)
    assert is_address(given)
    with pytest.raises(InvalidInput, match=reason) as caught:
        picture_at(given)
    assert len(str(caught.value)) < 200


@pytest.mark.skipif(os.name != "posix", reason="paths of POSIX")
@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("file:///photos/a.jpg", "/photos/a.jpg"),
        ("FILE:///photos/a%20b%C3%A9.jpg", "/photos/a bé.jpg"),
        ("file://localhost/photos/a.jpg", "/photos/a.jpg"),
        ("file:/photos/a.jpg", "/photos/a.jpg"),
        ("file:///photos/a#1?.jpg", "/photos/a#1?.jpg"),
        ("file:///caf%E9.jpg", os.fsdecode(b"/caf\xe9.jpg")),
        (os.fsdecode(b"file:///caf\xe9.jpg"), os.fsdecode(b"/caf\xe9.jpg")),
    ],
)
def test_a_file_address_is_the_path_of_that_file(given, path):
    assert is_address(given)
    assert picture_at(given) == Path(path)


@pytest.mark.parametrize(
    "given", ["file://server/a.jpg", "file://", "file://a.jpg", "file:///a%00.jpg"]
)
def test_a_file_that_is_not_on_this_machine_is_refused(given):
    with pytest.raises(InvalidInput, match=given):
        picture_at(given)
    with pytest.raises(InvalidInput):
        picture_at(f"{given}\ud83d")


@pytest.mark.parametrize(
    "given", ["ftp://example.org/a.jpg", "s3://bucket/a.jpg", "gs://b/a", "blob:https://a.org/1-2"]
)
def test_an_address_that_cannot_be_fetched_is_no_words(given):
    assert is_address(given)
    with pytest.raises(InvalidInput, match="only http and https"):
        picture_at(given)


@pytest.mark.parametrize(
    "words",
    ["data: a chart", "data", "file: the red one", "a photo of http://", "re: sunset"],
)
def test_words_with_a_colon_are_words(words):
    assert not is_address(words)


def test_only_http_and_https_are_web_addresses():
    assert is_web_address("HTTPS://example.org/a.jpg")
    assert not is_web_address("ftp://example.org/a.jpg")
    assert not is_web_address("a photo of http://")
