"""Before much is fetched, a person at a terminal is asked; nobody else waits."""

import http.server
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cli_process import PROGRAM, clean_environment
from places import PHOTO

from clipsearch import consent
from clipsearch.cli.app import app
from clipsearch.errors import ClipsearchError

ASK = (
    "from clipsearch.cli.fetching import ask_a_person\n"
    "print('answer', ask_a_person('someone/large', 605_000_000), flush=True)"
)


def on_a_terminal(command: list[str], typed: bytes, **how: object) -> tuple[int, str]:
    """Run a program on a terminal; type, when it asks, and return its end and what it wrote."""
    ours, theirs = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    process = subprocess.Popen(
        command,
        **streams,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **how,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            read = os.read(ours, 4096)
        except OSError:
            break
        if b"[Y/n]" not in seen and b"[Y/n]" in seen + read:
            if typed == b"\x03":
                os.killpg(process.pid, signal.SIGINT)
            else:
                os.write(ours, typed)
        seen += read
    os.close(ours)
    return process.wait(60), seen.decode()


@pytest.mark.parametrize(
    ("typed", "answer"),
    [(b"\n", True), (b"y\n", True), (b"Yes\n", True), (b"n\n", False), (b"?\n", False)],
)
def test_a_person_is_asked_with_the_size_and_may_say_no(typed, answer):
    code, seen = on_a_terminal([sys.executable, "-c", ASK], typed)
    assert code == 0
    assert "someone/large is not on this machine: fetch 605 MB? [Y/n] " in seen
    assert f"answer {answer}" in seen


def test_the_end_of_input_is_no_and_ctrl_c_ends_the_question():
    assert "answer False" in on_a_terminal([sys.executable, "-c", ASK], b"\x04")[1]
    code, seen = on_a_terminal([sys.executable, "-c", ASK], b"\x03")
    assert code != 0
    assert "answer True" not in seen and "answer False" not in seen


def test_where_no_terminal_is_nobody_waits():
    # Its standard input is a pipe to which nobody ever writes.
    with subprocess.Popen(
        [sys.executable, "-c", ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.read() == b"answer True\n"


def test_yes_asks_nobody(monkeypatch, tmp_path):
    monkeypatch.setattr(consent, "ask", lambda what, size: False)
    for command in (["index", "/no/where"], ["train", "no.toml"], ["watch", "/no/where"]):
        with pytest.raises(ClipsearchError):
            app([*command, "--library", str(tmp_path)] if command[0] != "train" else command)
        assert consent.ask is not None
    for command in (["index", "/no/where", "--yes"], ["train", "no.toml", "-y"]):
        monkeypatch.setattr(consent, "ask", lambda what, size: False)
        with pytest.raises(ClipsearchError):
            app(command)
        assert consent.ask is None


class LargeHub(http.server.BaseHTTPRequestHandler):
    """Has one model, whose weights it says to be large."""

    config = b""
    fetched: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        large = self.path.endswith(".safetensors")
        self.send_response(200)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{"1" * 40}"')
        self.send_header("Content-Length", str(605_000_000 if large else len(self.config)))
        self.end_headers()

    def do_GET(self) -> None:
        self.fetched.append(self.path)
        self.do_HEAD()
        self.wfile.write(self.config)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def test_a_model_that_nobody_agrees_to_is_not_fetched(tmp_path: Path, tiny_model_folder: Path):
    LargeHub.config = (tiny_model_folder / "open_clip_config.json").read_bytes()
    (tmp_path / "photos").mkdir()
    shutil.copy(PHOTO, tmp_path / "photos")
    asked = ["index", "photos", "--model", "hf-hub:someone/large"]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), LargeHub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        around = clean_environment(
            HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}",
            HF_HUB_OFFLINE="0",
            HF_HOME=str(tmp_path / "hub"),
            CLIPSEARCH_LIBRARY=str(tmp_path / "library"),
            TERM="dumb",
        )
        around = {name: value for name, value in around.items() if "proxy" not in name.lower()}
        code, seen = on_a_terminal([*PROGRAM, *asked], b"n\n", cwd=tmp_path, env=around)
        server.shutdown()
    assert code == 2
    assert "someone/large is not on this machine: fetch 605 MB? [Y/n] " in seen
    assert "someone/large was not fetched" in seen
    assert not [path for path in LargeHub.fetched if path.endswith(".safetensors")]
