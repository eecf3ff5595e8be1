"""A server that goes on alone, and how it is ended."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import pytest
from cli_process import Ended, clipsearch

from clipsearch.errors import LibraryError
from clipsearch.serving import background
from clipsearch.serving.background import stop_server
from clipsearch.serving.client import connected, server_process
from clipsearch.serving.protocol import socket_path

if not hasattr(socket, "AF_UNIX"):
    pytest.skip("this system has no Unix sockets", allow_module_level=True)


@pytest.fixture(autouse=True)
def runtime(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this test a folder of its own for sockets."""
    folder = tmp_path_factory.mktemp("run")
    folder.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))


@pytest.fixture
def library(small_library: Path) -> Iterator[Path]:
    folder = small_library / "library"
    yield folder
    if process := server_process(folder):
        os.kill(process, signal.SIGKILL)


def serve(library: Path, *options: str) -> Ended:
    return clipsearch("serve", "--library", library, *options)


def test_it_serves_when_the_command_returns_and_stops_when_it_is_told(library):
    started = serve(library, "--background", "--idle", "5")
    assert started.code == 0, started.err
    process = server_process(library)
    first, *rest = started.err.splitlines()
    assert first == f"serving {library} in the background (process {process})"
    assert rest[-1] == "ends 5 min after the last search or by `clipsearch serve --stop`"
    assert (os.getsid(process), str(Path(f"/proc/{process}/cwd").readlink())) == (process, "/")
    assert {str(Path(f"/proc/{process}/fd/{n}").readlink()) for n in range(3)} == {os.devnull}
    with connected(library) as server:
        assert server is not None
    asked = clipsearch("query", "a dog", "-k1", "--library", library)
    assert asked.code == 0
    shown = clipsearch("info", "--library", library)
    assert f"server\tprocess {process} answers searches; " in shown.text
    about = clipsearch("info", "--json", "--library", library)
    assert json.loads(about.out)["served_by"] == process
    again = serve(library, "--background")
    assert again.code == 3
    assert again.err.endswith(f"a server runs for {library} already (process {process})\n")
    stopped = serve(library, "--stop")
    assert stopped.code == 0
    assert stopped.err == f"the server for {library} (process {process}) has ended\n"
    assert server_process(library) is None
    assert not os.path.lexists(socket_path(library))
    none = serve(library, "--stop")
    assert (none.code, none.err) == (1, f"no server runs for {library}\n")
    assert "server" not in clipsearch("info", "--library", library).text


def test_what_keeps_it_from_serving_is_said_with_the_same_exit_code(library, tmp_path):
    ended = serve(tmp_path / "none", "--background")
    assert (ended.code, ended.out) == (3, b"")
    assert ended.err.count("\n") == 1
    (library / "catalog.sqlite").write_bytes(b"x" * 4096)
    for how in ((), ("--background",)):
        assert serve(library, *how).code == 3
    assert serve(library, "--background", "--stop").code == 2


def test_one_that_was_killed_or_does_not_end_is_told_apart(library, monkeypatch):
    assert serve(library, "--background").code == 0
    process = server_process(library)
    os.kill(process, signal.SIGSTOP)
    monkeypatch.setattr(background, "_SECONDS_TO_END", 0.3)
    with pytest.raises(LibraryError, match=f"kill -9 {process}"):
        stop_server(library)
    os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while server_process(library) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert os.path.lexists(socket_path(library))  # what it left
    assert stop_server(library) is None
    shutil.rmtree(library)
    assert stop_server(library) is None


def test_where_it_serves_is_told_and_each_request_logged(library, tmp_path):
    assert (serve(library, "--status").code, serve(library, "--status").out) == (1, b"")
    log = tmp_path / "requests.log"
    started = serve(
        *(library, "--background", "--web", "--port", "0", "--log", "debug"),
        *("--log-file", str(log)),
    )
    assert started.code == 0, started.err
    page = started.err.splitlines()[1].removeprefix("the page: ")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", page)
    assert started.err.splitlines()[-1] == "ends by `clipsearch serve --stop`"
    process = server_process(library)
    said = serve(library, "--status")
    assert said.code == 0
    assert said.lines[0] == f"process {process} serves {library}"
    assert said.lines[-1] == f"the page: {page}"
    assert page in clipsearch("info", "--library", library).text
    assert json.loads(clipsearch("info", "--json", "--library", library).text)["page"] == page
    with urlopen(f"{page}/api/search?q=a+secret+dog") as answer:
        assert json.load(answer)["hits"]
    assert serve(library, "--stop").code == 0
    assert "path=/api/search status=200" in log.read_text()
    with pytest.raises(URLError):
        urlopen(page)


def test_any_other_address_than_loopback_has_a_token(library):
    started = serve(library, "--background", "--web", "--host", "0.0.0.0", "--port", "0")
    assert started.code == 0, started.err
    page = urlsplit(started.err.splitlines()[1].split()[2])
    token = parse_qs(page.query)["token"][0]
    assert len(token) >= 30
    at = f"http://127.0.0.1:{page.port}/api/search?q=dog"
    with pytest.raises(HTTPError, match="401"):
        urlopen(at)
    with urlopen(Request(at, headers={"Authorization": f"Bearer {token}"})) as answer:
        assert json.load(answer)["hits"]
    assert token not in serve(library, "--status").text


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        (["--port", "1"], {}, "give --web"),
        (["--web", "--port", "70000"], {}, "--port must be"),
        (["--web", "--log", "loud"], {}, "--log must be"),
        (["--web", "--log-file", "/nowhere/x"], {}, "can't write"),
        (["--web", "--host", "no.such.name.invalid"], {}, "can't listen"),
        (["--web"], {"CLIPSEARCH_TOKEN": "short"}, "CLIPSEARCH_TOKEN must hold 16"),
        (["--status", "--stop"], {}, "can't be used together"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_in_a_line(library, options, environment, said):
    refused = clipsearch("serve", "--library", library, *options, environment=environment)
    assert refused.code in (2, 3)
    assert said in refused.err
    assert len(refused.err.splitlines()) == 1
