"""Who may ask at the web door, and what a browser is told to keep to."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from clipsearch.errors import LibraryError
from clipsearch.serving.addresses import is_this_machine
from clipsearch.serving.searcher import WarmSearcher
from clipsearch.serving.web import access as access_module
from clipsearch.serving.web.access import Access
from clipsearch.serving.web.running import WebDoor, opened

TOKEN = "a-token-of-more-than-16"


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def kind(self) -> str:
        return json.loads(self.body)["error"]["kind"]


class Door(NamedTuple):
    port: int

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Ask with these headers, `_` for `-`; `host` as it is given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host="host" in headers)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()


@contextmanager
def door(searcher: WarmSearcher, token: str | None, used: list[int]) -> Iterator[Door]:
    with opened(searcher, WebDoor("127.0.0.1", 0, token), lambda: used.append(1)) as address:
        yield Door(int(address.rpartition(":")[2]))


@pytest.fixture(scope="module")
def searcher(_small_library: Path) -> Iterator[WarmSearcher]:
    searcher = WarmSearcher(_small_library / "library")
    yield searcher
    searcher.close()


@pytest.fixture(scope="module")
def used() -> list[int]:
    return []


@pytest.fixture(scope="module")
def doors(searcher: WarmSearcher, used: list[int]) -> Iterator[tuple[Door, Door]]:
    with ExitStack() as stack:
        yield (
            stack.enter_context(door(searcher, None, used)),
            stack.enter_context(door(searcher, TOKEN, [])),
        )


@pytest.fixture
def closed_by_nothing(doors: tuple[Door, Door]) -> Door:
    return doors[0]


@pytest.fixture
def closed_by_token(doors: tuple[Door, Door]) -> Door:
    return doors[1]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.9:80", "[::1]", "[::1]:8000"]
)
def test_names_of_this_machine_are_answered_to(closed_by_nothing: Door, host: str) -> None:
    assert closed_by_nothing.get("/api/search?q=dog", host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("", "192.168.1.5", "[::ffff:192.168.1.5]", "2130706433", "0.0.0.0"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/search", "/photos/1", "/thumbs/1", "/page/x.js"])
def test_other_names_are_not_whatever_they_lead_to(
    closed_by_nothing: Door, host: str, path: str
) -> None:
    refused = closed_by_nothing.get(path, host=host)
    assert (refused.status, refused.kind) == (403, "Forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},  # a server at another port of this machine
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"},
    ],
    ids=str,
)
def test_pages_of_other_origins_get_nothing(
    closed_by_nothing: Door, headers: dict[str, str]
) -> None:
    for path in ("/api/search?q=dog", "/photos/1", "/thumbs/1", "/api/state"):
        refused = closed_by_nothing.get(path, **headers)
        assert refused.status == 403
        assert "access-control-allow-origin" not in refused.headers


def test_a_preflight_is_granted_nothing(closed_by_nothing: Door) -> None:
    asked = closed_by_nothing.get(
        *("/api/search", "OPTIONS"),
        origin="https://evil.example",
        access_control_request_method="POST",
    )
    assert asked.status == 403
    assert not [name for name in asked.headers if name.lower().startswith("access-control")]


def test_a_link_to_the_page_may_be_followed(closed_by_nothing: Door) -> None:
    follows = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert closed_by_nothing.get("/?q=dog", **follows).status == 200
    own = {"origin": f"http://127.0.0.1:{closed_by_nothing.port}", "sec_fetch_site": "same-origin"}
    assert closed_by_nothing.get("/api/search?q=dog", **own).status == 200


def test_every_answer_says_what_a_browser_may_do(closed_by_nothing: Door) -> None:
    for path in ("/", "/api/search", "/nothing", "/thumbs/99999"):
        headers = closed_by_nothing.get(path).headers
        policy = dict(
            part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers


def test_all_that_shows_photos_needs_the_token(closed_by_token: Door) -> None:
    for path in ("/api/search", "/api/library", "/photos/1", "/thumbs/1", "/metrics", "/nothing"):
        refused = closed_by_token.get(path)
        assert (refused.status, refused.kind) == (401, "TokenNeeded"), path
        assert refused.headers["www-authenticate"] == "Bearer"
    for path in ("/", "/page/index.html"):  # without a photo in it
        assert closed_by_token.get(path).status == 200


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer é"],
)
def test_a_bad_token_opens_nothing(closed_by_token: Door, authorization: str) -> None:
    given = {"authorization": authorization, "cookie": f"clipsearch-{closed_by_token.port}={TOKEN}"}
    assert closed_by_token.get("/api/search", **given).status == 401


def test_the_token_opens_by_header_whatever_the_name(closed_by_token: Door) -> None:
    given = {"authorization": f"Bearer {TOKEN}", "host": "photos.example"}
    assert closed_by_token.get("/api/search?q=dog", **given).status == 200


def test_a_browser_exchanges_the_token_for_a_cookie(closed_by_token: Door) -> None:
    entered = closed_by_token.get(f"/?q=a+dog&token={TOKEN}&sort=date")
    assert (entered.status, entered.headers["location"]) == (303, "/?q=a+dog&sort=date")
    cookie = entered.headers["set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
    given = cookie.partition(";")[0]
    assert closed_by_token.get("/api/search?q=dog", cookie=f"other=1; {given}").status == 200
    assert closed_by_token.get("/api/search?q=dog", cookie=given[:-1]).status == 401
    wrong = closed_by_token.get("/?token=wrong")
    assert wrong.status == 401
    assert "set-cookie" not in wrong.headers


def test_the_token_of_an_address_opens_the_page_alone(closed_by_token: Door) -> None:
    """Else it would stand in the address of every photo, and in many histories."""
    assert closed_by_token.get(f"/api/search?token={TOKEN}").status == 401


def test_a_cookie_is_of_one_token() -> None:
    one, other = Access(TOKEN), Access(TOKEN + "x")
    assert one.has_cookie(one.cookie)
    assert not other.has_cookie(one.cookie)
    assert not Access(None).has_token("")
    assert not Access(None).has_cookie(Access(None).cookie)


def test_what_only_looks_after_the_server_keeps_it_from_no_end(
    closed_by_nothing: Door, used: list[int]
) -> None:
    before = len(used)
    for path in ("/api/state", "/api/health", "/metrics"):
        closed_by_nothing.get(path)
    assert len(used) == before
    closed_by_nothing.get("/api/search?q=dog")
    assert len(used) == before + 1


def test_a_client_that_sends_half_of_a_request_holds_up_nobody(
    closed_by_nothing: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_module, "_SECONDS_FOR_THE_NEXT_BYTES", 0.5)
    with ExitStack() as stack:
        for _ in range(100):
            slow = stack.enter_context(
                socket.create_connection(("127.0.0.1", closed_by_nothing.port))
            )
            slow.sendall(
                b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
            )
        assert closed_by_nothing.get("/api/search?q=dog").status == 200


def test_long_addresses_are_refused(closed_by_nothing: Door) -> None:
    assert closed_by_nothing.get("/api/search?q=" + "a" * 70_000).status in (400, 414)


def test_what_is_no_http_harms_nobody(closed_by_nothing: Door) -> None:
    for noise in (b"\x00" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\xff" * 70_000):
        with socket.create_connection(("127.0.0.1", closed_by_nothing.port)) as connection:
            connection.sendall(noise)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            while connection.recv(4096):
                pass
    assert closed_by_nothing.get("/api/search?q=dog").status == 200


def test_a_port_that_is_taken_is_said(searcher: WarmSearcher, closed_by_nothing: Door) -> None:
    same = WebDoor("127.0.0.1", closed_by_nothing.port)
    with (
        pytest.raises(LibraryError, match=f"port {closed_by_nothing.port}"),
        opened(searcher, same, lambda: None),
    ):
        pass


def test_this_machine_is_told_without_a_name_server() -> None:
    assert all(map(is_this_machine, ("localhost", "127.0.0.1", "127.8.8.8", "::1", "localhost.")))
    others = ("", "0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", "127.1")
    assert not any(map(is_this_machine, others))
