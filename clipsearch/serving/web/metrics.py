"""What a server has done, for Prometheus."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipsearch.serving.counts import SECONDS, Counts, Histogram
from clipsearch.serving.web.served import ROUTE

KIND = "text/plain; version=0.0.4; charset=utf-8"
# What requests are told apart by: few names, whatever clients ask for.
_ROUTES = (
    *("/api/search", "/api/similar", "/api/facets", "/api/photos", "/api/embed", "/api/batch"),
    *("/api/vectors", "/api/library", "/api/state", "/api/health", "/thumbs", "/photos", "/page"),
    "/metrics",
)


class Requests:
    """Counts requests over HTTP and how long they took."""

    def __init__(self) -> None:
        self._answered: Counter[tuple[str, str]] = Counter()  # by route and status
        self._seconds: dict[str, Histogram] = {}  # by route
        self.open = 0  # that are being answered

    def add(self, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        route = route_of(path)
        self._answered[route, str(status)] += 1
        self._seconds.setdefault(route, Histogram(SECONDS)).add(seconds)

    def lines(self) -> Iterator[str]:
        """Yield what was counted as Prometheus reads it."""
        yield from _counter(
            "clipsearch_http_requests_total",
            "Requests over HTTP that were answered.",
            ("route", "status"),
            self._answered,
        )
        name = "clipsearch_http_request_seconds"
        yield from _head(name, "histogram", "How long requests over HTTP took.")
        for route, counted in sorted(self._seconds.items()):
            yield from _histogram(name, counted, f'route="{route}"')
        yield from _one("clipsearch_http_requests_open", "gauge", "Requests now.", self.open)


class Measured:
    """Counts what goes through an application."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._requests.open += 1
        ROUTE.set(route_of(scope["path"]))
        try:
            await self._app(scope, receive, counted)
        finally:
            self._requests.open -= 1
            self._requests.add(scope["path"], status, time.perf_counter() - started)


def route_of(path: str) -> str:
    """Return the name that a request is counted under."""
    named = (route for route in _ROUTES if path == route or path.startswith(f"{route}/"))
    return next(named, "/" if path == "/" else "other")


def text(requests: Requests, counts: Counts, photos: int | None) -> str:
    """Return all that is told, a line each: of the web door, the searcher, and the process."""
    lines = [*requests.lines(), *_of_searcher(counts)]
    if photos is not None:
        lines += _one("clipsearch_photos", "gauge", "Photos in the library.", photos)
    seconds = round(time.process_time(), 3)
    name = "process_cpu_seconds_total"
    lines += _one(name, "counter", "Processor time of this process.", seconds)
    if (resident := _resident_bytes()) is not None:
        name = "process_resident_memory_bytes"
        lines += _one(name, "gauge", "Memory of this process.", resident)
    return "\n".join([*lines, ""])


def _of_searcher(counts: Counts) -> Iterator[str]:
    """Yield what the searcher counted, for all doors."""
    yield from _counter(
        "clipsearch_requests_total",
        "What the searcher was asked, by door and command.",
        ("door", "command"),
        counts.requests,
    )
    errors = Counter({(kind,): count for kind, count in counts.errors.copy().items()})
    name = "clipsearch_errors_total"
    yield from _counter(name, "What it answered with an error.", ("kind",), errors)
    name = "clipsearch_request_seconds"
    yield from _head(name, "histogram", "From a question to its answer, the wait included.")
    yield from _histogram(name, counts.seconds)
    name = "clipsearch_batch_questions"
    yield from _head(name, "histogram", "Questions that were answered together.")
    yield from _histogram(name, counts.batches)


def _counter(
    name: str, said: str, labels: tuple[str, ...], counted: Mapping[Any, int]
) -> Iterator[str]:
    yield from _head(name, "counter", said)
    for values, count in sorted(dict(counted).items()):
        named = ",".join(f'{one}="{value}"' for one, value in zip(labels, values, strict=True))
        yield f"{name}{{{named}}} {count}"


def _histogram(name: str, counted: Histogram, label: str = "") -> Iterator[str]:
    total = 0
    behind = f"{{{label}}}" if label else ""
    before = f"{label}," if label else ""
    for bound, count in zip((*counted.bounds, "+Inf"), list(counted.within), strict=True):
        total += count
        yield f'{name}_bucket{{{before}le="{bound}"}} {total}'
    yield f"{name}_sum{behind} {counted.total:.6f}"
    yield f"{name}_count{behind} {total}"


def _one(name: str, kind: str, said: str, value: float) -> Iterator[str]:
    yield from _head(name, kind, said)
    yield f"{name} {value}"


def _head(name: str, kind: str, said: str) -> Iterator[str]:
    yield f"# HELP {name} {said}"
    yield f"# TYPE {name} {kind}"


def _resident_bytes() -> int | None:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):  # another system than Linux
        return None
