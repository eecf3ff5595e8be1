"""Claim: a server answers 50 clients at once, on two cores that the clients share with it.

    python -m benchmarks.serving [--seconds 60] [--clients 50] [--pause 0] [--requests 10000]
        [--folder FOLDER]

Starts `clipsearch serve --web` as a process over a library of 100,000 made-up photos with the
built-in model (made in FOLDER, or used again if it lies there). First one client asks, then 50 at
once: each its next question as soon as the last is answered, without a pause; with `--pause 1`
after about a second, as people do who look at what they see. Of 100 requests 40 are texts with
facets (some of them with filters), 15 pages of the list, 10 for photos like another, 10 with a new
picture of 800 pixels (made of the example photos), 25 polls of the state. The server keeps no
answers. Prints what each kind takes, the processor time of a request (of server and decoders; and
of this program, which runs beside them), how often more can be done than for one client, and the
memory after each 1,000 requests.

The bars: no error; 95 of 100 texts within 400 ms and pictures within 1.5 s; three times as many
requests as for one client, unless that one fills the machine; memory that does not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.served_library import EXAMPLES, SUBJECTS, TOWNS, make_served_library

MIX = {"text": 40, "list": 15, "similar": 10, "picture": 10, "state": 25}
LIMITS = {"text": 400, "picture": 1500}  # milliseconds, of 95 in 100
THINGS = (
    *("a dog", "a cat", "a horse", "two boats", "a heron", "a pizza", "mountains", "a red car"),
    *("a guitar", "an old church", "flowers", "a child", "a train", "a goat", "a bicycle"),
)
WHERE = (
    "on a beach",
    "in the snow",
    "by a wall",
    "at night",
    "in the rain",
    "on a table",
    "inside",
)
WHEN = ("in the morning", "in summer", "from above", "close up", "far away", "long ago")
FILTERS = (
    *({"after": "2015"}, {"camera": "Pixel"}, {"orientation": "landscape"}, {"type": "jpeg"}),
    *({"before": "2012"}, {"missing": "position"}),
)
PICTURES = 200
SIDE = 800  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--pause", type=float, default=0, help="seconds before the next question")
    parser.add_argument("--requests", type=int, default=10_000, help="to watch the memory during")
    parser.add_argument("--folder", type=Path, help="where the library is, or is to be made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clipsearch-serving-") as place:
        folder = (options.folder or Path(place)) / "library"
        if not (folder / "catalog.sqlite").exists():
            make_served_library(folder, options.photos)
        pictures = list(made_pictures())
        with served(folder) as (process, port):
            asyncio.run(measure(options, process, port, pictures))


def made_pictures() -> Iterator[bytes]:
    """Yield JPEGs whose longer side has SIDE pixels: parts of the example photos, changed a bit."""
    import PIL.Image
    import PIL.ImageEnhance

    chance = random.Random(2)
    files = sorted(EXAMPLES.rglob("*.jpg"))
    for number in range(PICTURES):
        with PIL.Image.open(files[number % len(files)]) as opened:
            picture = opened.convert("RGB")
        left, top = (chance.uniform(0, 0.2) * side for side in picture.size)
        picture = picture.crop((int(left), int(top), *picture.size))
        scale = SIDE / max(picture.size)
        picture = picture.resize([max(1, round(side * scale)) for side in picture.size])
        picture = PIL.ImageEnhance.Brightness(picture).enhance(chance.uniform(0.8, 1.2))
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=88)
        yield data.getvalue()


@contextmanager
def served(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Give a server of a library to the block, and its port."""
    command = [sys.executable, "-m", "clipsearch", "serve", "--library", str(folder)]
    with subprocess.Popen(
        [*command, "--web", "--port", "0"], stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stderr is not None
            for line in server.stderr:
                if found := re.search(r"http://[^ ]*:(\d+)", line):
                    break
            else:
                sys.exit("no server")
            yield server, int(found[1])
        finally:
            server.terminate()


# The clients


@dataclass
class Measured:
    """What clients have seen."""

    taken: dict[str, list[float]] = field(default_factory=dict)  # seconds, by kind
    errors: list[str] = field(default_factory=list)
    hits: list[int] = field(default_factory=list)
    bytes: int = 0

    @property
    def requests(self) -> int:
        return sum(map(len, self.taken.values()))


@dataclass
class Client:
    """Asks over one connection, one request after the other."""

    port: int
    pictures: list[bytes]
    photos: int
    chance: random.Random
    pause: float = 0  # seconds, on average, before each request

    async def run(self, measured: Measured, goes_on: Iterator[bool]) -> None:
        """Ask for as long as it goes on."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            while next(goes_on):
                await asyncio.sleep(self.chance.uniform(0, 2 * self.pause))
                (kind,) = self.chance.choices(list(MIX), list(MIX.values()))
                request = self.request(kind)
                started = time.perf_counter()
                writer.write(request)
                status, body = await answer(reader)
                measured.taken.setdefault(kind, []).append(time.perf_counter() - started)
                measured.bytes += len(body)
                if status != 200:
                    measured.errors.append(f"{kind}: {status} {body[:200]!r}")
                elif kind == "text" and self.chance.random() < 0.05:
                    measured.hits.append(check_text(body))
        finally:
            writer.close()

    def request(self, kind: str) -> bytes:
        """Return a request of a kind."""
        chance, shown = self.chance, {"k": 50, "relevant": "true", "fold": "true"}
        if kind == "text":
            words = " ".join(chance.choice(some) for some in (THINGS, WHERE, WHEN))
            filters = chance.choice(FILTERS) if chance.random() < 0.3 else {}
            words += f" {chance.choice((*SUBJECTS, *TOWNS))}" if chance.random() < 0.2 else ""
            return get("/api/search", q=words, facets="true", **shown, **filters)
        if kind == "list":
            offset = chance.choice((0, 0, 50, 100, 150, chance.randrange(self.photos)))
            filters = chance.choice(FILTERS) if chance.random() < 0.3 else {}
            return get("/api/search", k=50, offset=offset, sort="date", **filters)
        if kind == "similar":
            return get(f"/api/similar/{chance.randint(1, self.photos)}", **shown)
        if kind == "picture":
            return post(f"/api/search?{urlencode(shown)}", chance.choice(self.pictures))
        return get("/api/state")


def get(path: str, **asked: object) -> bytes:
    asked_for = f"{path}?{urlencode(asked)}" if asked else path
    return f"GET {asked_for} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()


def post(path: str, picture: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/jpeg\r\n"
    return f"{head}content-length: {len(picture)}\r\n\r\n".encode() + picture


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return status and body of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return int(head[9:12]), await reader.readexactly(int(length[1]) if length else 0)


def check_text(body: bytes) -> int:
    """Return how many hits an answer has, which must be whole."""
    found = json.loads(body)
    assert found["facets"]["total"] > 0
    assert all(one["thumb"] for one in found["hits"])
    return len(found["hits"])


# What is measured


async def measure(
    options: argparse.Namespace,
    process: subprocess.Popen[str],
    port: int,
    pictures: list[bytes],
) -> None:
    async def ask(clients: int, goes_on: Iterator[bool], seed: int) -> Measured:
        measured, given = Measured(), (port, pictures, options.photos)
        some = [
            Client(*given, random.Random(f"{seed} {number}"), options.pause if clients > 1 else 0)
            for number in range(clients)
        ]
        await asyncio.gather(*(one.run(measured, goes_on) for one in some))
        return measured

    await ask(1, counted(30), 0)  # warms up
    rates = []
    for clients, seconds in ((1, options.seconds / 3), (options.clients, options.seconds)):
        before, started = processor_seconds(process.pid), time.perf_counter()
        own = time.process_time()
        measured = await ask(clients, until(started + seconds), clients)
        took = time.perf_counter() - started
        used, own = processor_seconds(process.pid) - before, time.process_time() - own
        show(f"{clients} clients" if clients > 1 else "1 client", measured, took, used, own)
        rates.append(measured.requests / took)
    print(f"{options.clients} clients: {rates[1] / rates[0]:.2f} times the requests of one\n")
    if not options.requests:
        return
    print("| requests | memory of the server, MB | of that its own | with decoders |")
    print("| ---: | ---: | ---: | ---: |")
    for number in range(options.requests // 1000 + 1):
        if number:
            await ask(options.clients, counted(1000), 100 + number)
        resident, own_bytes, all_bytes = memory(process.pid)
        cells = (f"{size / 1e6:.0f}" for size in (resident, own_bytes, all_bytes))
        print(f"| {1000 * number:,} | {' | '.join(cells)} |", flush=True)


def until(end: float) -> Iterator[bool]:
    """Yield True until a time on the clock."""
    while True:
        yield time.perf_counter() < end


def counted(requests: int) -> Iterator[bool]:
    """Yield True so many times."""
    yield from [True] * requests
    while True:
        yield False


def show(what: str, measured: Measured, seconds: float, used: float, own: float) -> None:
    requests = measured.requests
    print(f"{what}: {requests:,} requests in {seconds:.0f} s, {requests / seconds:.1f} a second")
    print(
        f"{1000 * used / requests:.1f} ms of the processor a request, "
        f"{1000 * own / requests:.1f} ms of it beside for the client; "
        f"{(used + own) / seconds / (os.cpu_count() or 1):.0%} of the machine; "
        f"{measured.bytes / requests / 1e3:.1f} kB an answer; "
        f"{statistics.mean(measured.hits or [0]):.1f} hits a text"
    )
    print("| kind | requests | half within, ms | 95 % | 99 % | bar |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for kind in MIX:
        taken = sorted(measured.taken.get(kind, []))
        if taken:
            cells = (f"{1000 * taken[int(share * len(taken))]:.0f}" for share in (0.5, 0.95, 0.99))
            limit = f"{LIMITS[kind]}" if kind in LIMITS else ""
            print(f"| {kind} | {len(taken):,} | {' | '.join(cells)} | {limit} |")
    print(f"errors: {len(measured.errors)} {measured.errors[:3] or ''}\n", flush=True)


def family(pid: int) -> list[int]:
    """Return a process and all that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    tasks = Path(f"/proc/{pid}/task")
    found = [pid]
    for task in tasks.iterdir() if children.exists() else ():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def processor_seconds(pid: int) -> float:
    """Return what a process and its children have used of the processor."""
    total = 0.0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def memory(pid: int) -> tuple[int, int, int]:
    """Return the bytes in memory of a process; without mapped files; and with its children."""
    sizes = [_memory(one) for one in family(pid)]
    return *sizes[0], sum(size for _, size in sizes)


def _memory(pid: int) -> tuple[int, int]:
    status = Path(f"/proc/{pid}/status").read_text()
    found = (re.search(rf"{name}:\s+(\d+) kB", status) for name in ("VmRSS", "RssAnon"))
    resident, own = (1024 * int(one[1]) if one else 0 for one in found)
    return resident, own


if __name__ == "__main__":
    main()
