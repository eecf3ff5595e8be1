"""The web door of a library, open for a test, and what asks it: none of the program's own code."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlencode, urlsplit

from clipsearch.serving.server import Serving, serve
from clipsearch.serving.web.running import WebDoor


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        said = self.json["error"]["message"]
        assert "\n" not in said
        return said


@dataclass(frozen=True)
class Door:
    """An open door."""

    address: str  # http://127.0.0.1:…

    def get(self, path: str, **parameters: Any) -> Answer:
        """Ask; values that are lists are given several times, `_` in names stands for `-`."""
        named = {name.rstrip("_").replace("_", "-"): value for name, value in parameters.items()}
        return self.ask("GET", f"{path}?{urlencode(named, doseq=True)}" if named else path)

    def post(self, path: str, body: Any, kind: str = "application/json") -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, data, {"Content-Type": kind})

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, answer.read())
        finally:
            connection.close()


@contextmanager
def open_door(library: Path, port: int = 0, **web: Any) -> Iterator[Door]:
    """Serve a library in a thread for the block, by default on a port that is free."""
    ready = threading.Event()
    running: list[Serving] = []

    def run() -> None:
        try:
            serve(
                library,
                idle_seconds=None,
                ready=lambda server: (running.append(server), ready.set()),
                web=WebDoor("127.0.0.1", port, **web),
            )
        finally:
            ready.set()

    sockets = tempfile.mkdtemp(prefix="clipsearch-")
    with mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": sockets}):
        thread = threading.Thread(target=run)
        thread.start()
        assert ready.wait(60)
    try:
        assert running, "it did not start: the error is the thread's"
        assert running[0].address
        yield Door(running[0].address)
    finally:
        if running:
            running[0].stop()
        thread.join()
        shutil.rmtree(sockets, ignore_errors=True)
