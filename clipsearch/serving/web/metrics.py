"""What a server has done, for Prometheus."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

KIND = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # where durations are counted
# What requests are told apart by: few names, whatever clients ask for.
_ROUTES = (
    *("/api/search", "/api/similar", "/api/facets", "/api/photos", "/api/embed", "/api/batch"),
    *("/api/vectors", "/api/library", "/api/state", "/api/health", "/thumbs", "/photos", "/page"),
    "/metrics",
)


class Requests:
    """Counts requests and how long they took."""

    def __init__(self) -> None:
        self._answered: Counter[tuple[str, int]] = Counter()
        self._within: dict[str, list[int]] = {}
        self._seconds: Counter[str] = Counter()
        self.open = 0  # that are being answered

    def add(self, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        route = route_of(path)
        self._answered[route, status] += 1
        within = self._within.setdefault(route, [0] * (len(_SECONDS) + 1))
        within[bisect_left(_SECONDS, seconds)] += 1
        self._seconds[route] += seconds  # type: ignore[assignment]

    def lines(self) -> Iterator[str]:
        """Yield what was counted as Prometheus reads it."""
        name = "clipsearch_http_requests_total"
        yield from _head(name, "counter", "Requests that were answered.")
        for (route, status), count in sorted(self._answered.items()):
            yield f'{name}{{route="{route}",status="{status}"}} {count}'
        name = "clipsearch_http_request_seconds"
        yield from _head(name, "histogram", "How long requests took, by route.")
        for route, within in sorted(self._within.items()):
            total = 0
            for bound, count in zip((*_SECONDS, "+Inf"), within, strict=True):
                total += count
                yield f'{name}_bucket{{route="{route}",le="{bound}"}} {total}'
            yield f'{name}_sum{{route="{route}"}} {self._seconds[route]:.6f}'
            yield f'{name}_count{{route="{route}"}} {total}'
        yield from one("clipsearch_http_requests_open", "gauge", "Requests now.", self.open)


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
        try:
            await self._app(scope, receive, counted)
        finally:
            self._requests.open -= 1
            self._requests.add(scope["path"], status, time.perf_counter() - started)


def route_of(path: str) -> str:
    """Return the name that a request is counted under."""
    named = (route for route in _ROUTES if path == route or path.startswith(f"{route}/"))
    return next(named, "/" if path == "/" else "other")


def text(requests: Requests, counts: Mapping[str, int], photos: int | None) -> str:
    """Return all that is told, a line each; `counts` are the searcher's, by name."""
    lines = list(requests.lines())
    for name, count in sorted(counts.items()):
        lines += one(f"clipsearch_{name}_total", "counter", f"{name} of the searcher.", count)
    if photos is not None:
        lines += one("clipsearch_photos", "gauge", "Photos in the library.", photos)
    lines += one(
        "process_cpu_seconds_total",
        "counter",
        "Processor time of this process.",
        round(time.process_time(), 3),
    )
    if (resident := _resident_bytes()) is not None:
        lines += one("process_resident_memory_bytes", "gauge", "Memory.", resident)
    return "\n".join([*lines, ""])


def one(name: str, kind: str, said: str, value: float) -> Iterator[str]:
    """Yield the lines of a single value."""
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
