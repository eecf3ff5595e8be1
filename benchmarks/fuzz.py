"""Claim: no file crashes the program, hangs it over 5 s or takes more than 1 GB to refuse.

python -m benchmarks.fuzz [--target NAME] [--inputs N] [--seconds S] [--seed S] [--corpus DIR]
                          [--workers N] [--findings DIR]

Damages real files (examples/photos, and those of up to 200 KB in --corpus, such as
../shared/data/odd) and lets the program's own functions read them, in processes of their own. An
input must be accepted, or refused in one line. The same seed and corpus give the same inputs.
What is found is printed and kept in --findings; the exit code is then 1.

A picture decoder that crashes in C is counted apart: the program decodes in processes of its own,
so that such a crash costs one picture.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from benchmarks.fuzz_targets import SHARES, TARGETS, Input, Target, prepare_seeds

SECONDS = 5.0  # of processor time, so that a busy machine finds nothing that is not there
WAIT_SECONDS = 60.0  # for an input that sleeps
MEMORY = 1 << 30  # bytes above what the process had before
ADDRESS_SPACE = 4 << 30  # bytes; beyond that the system refuses
AT_ONCE = 2_000  # inputs a process: what they leave behind must not add up
KEPT = 3  # examples of one finding


# The child: reads inputs, says a line about each


def read_inputs(name: str, seed: int, start: int, stop: int, seeds: Path) -> None:
    """Read the inputs of a target, saying on standard output what becomes of each."""
    import faulthandler

    faulthandler.enable()
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # C libraries print what they like
    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_CACHE_HOME"] = place
        (Path(place) / "files").mkdir()
        target = TARGETS[name](seeds, Path(place) / "files")
        _warm_up(target, name, seed)
        base = _peak_memory()
        _limit_address_space()
        for number in range(start, stop):
            print("?", number, file=report)
            files = make_input(target, name, seed, number)
            started = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its signal ends the process
            outcome = _outcome(target, files)
            signal.setitimer(signal.ITIMER_PROF, 0)
            seconds, memory = time.process_time() - started, _peak_memory() - base
            if memory > MEMORY and not outcome.startswith("!"):
                outcome = "! memory over the limit"
            print("=", f"{seconds:.4f}", memory, outcome, file=report)
            if memory > MEMORY:  # the peak can't be reset: go on in a fresh process
                break


def make_input(target: Target, name: str, seed: int, number: int) -> Input:
    return target.make(Random(f"{seed} {name} {number}"))


def _outcome(target: Target, files: Input) -> str:
    """Return + (accepted), - and a reason (refused), or ! and what went wrong."""
    from clipsearch.errors import ClipsearchError

    try:
        target.read(files)
    except ClipsearchError as error:
        reason = str(error)
        if not reason.strip() or len(reason) > 1000 or "\n" in reason:
            return f"! not one line: {reason[:80]!r}"
        return f"- {reason.encode('utf-8', 'backslashreplace').decode()}"
    except BaseException as error:  # whatever it is, it is a finding
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"! {type(error).__name__}: {' '.join(str(error).split())[:160]} [{_where(error)}]"
    return "+"


def _where(error: BaseException) -> str:
    """Return the last place in our own code, and the place that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "benchmarks" not in frame.filename]
    ours = [f for f in ours if "/clipsearch/" in f.filename or "/index/" in f.filename] or frames
    ours = [f for f in ours if "site-packages" not in f.filename] or frames
    places = dict.fromkeys(f"{Path(f.filename).name}:{f.name}" for f in (ours[-1], frames[-1]))
    return " -> ".join(places)


def _warm_up(target: Target, name: str, seed: int) -> None:
    """Read a few inputs, so that libraries are loaded before time and memory are measured."""
    for number in range(3):
        with contextlib.suppress(Exception):
            target.read(make_input(target, f"warm-up {name}", seed, number))


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _limit_address_space() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


# The parent: starts children, notices how they end


@dataclass
class Tally:
    """What became of the inputs of one target."""

    accepted: int = 0
    refused: int = 0
    decoder_crashes: int = 0
    worst_seconds: float = 0.0
    peak_memory: int = 0  # bytes above the empty process
    reasons: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)

    @property
    def inputs(self) -> int:
        return self.accepted + self.refused + self.decoder_crashes + self.findings.total()


@dataclass(frozen=True)
class Run:
    """One run of the fuzzer."""

    seed: int
    seeds: Path
    findings: Path
    until: float  # time.monotonic()


def fuzz(run: Run, name: str, inputs: int) -> Tally:
    """Read so many inputs of a target, or fewer when the time is over."""
    tally = Tally()
    start = 0
    while start < inputs and time.monotonic() < run.until:
        start = _run_child(run, name, start, min(start + AT_ONCE, inputs), tally)
    return tally


def _run_child(run: Run, name: str, start: int, stop: int, tally: Tally) -> int:
    """Let a process read inputs until it ends; return the first that was not read."""
    arguments = [name, str(run.seed), str(start), str(stop), str(run.seeds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fuzz", "--child", *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
        )
        number = start - 1
        for line in _lines(child, run.until):
            if line.startswith("?"):
                number = int(line.split()[1])
            elif line.startswith("="):
                _count(run, name, number, line, tally)
                number += 1
        status = child.wait()
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - 4000))
        said = errors.read().decode("utf-8", "replace")
    if time.monotonic() > run.until:
        return stop
    if status != 0:
        if number < start:
            raise RuntimeError(f"the process that reads {name} can't start:\n{said}")
        _count_death(run, name, number, _cause(status, said), tally)
        number += 1
    return number


def _lines(child: subprocess.Popen[bytes], until: float) -> Iterator[str]:
    """Yield the child's lines; end it when it says nothing for long, or the time is over."""
    assert child.stdout is not None
    rest = b""
    while True:
        ready, _, _ = select.select([child.stdout], [], [], WAIT_SECONDS)
        data = os.read(child.stdout.fileno(), 1 << 16) if ready else b""
        if not ready or time.monotonic() > until:
            child.send_signal(signal.SIGKILL if ready else signal.SIGPROF)
            return
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")


def _cause(status: int, said: str) -> str:
    if status == -signal.SIGPROF:
        return f"hang: over {SECONDS:g} s of processor time"
    if status < 0:
        return f"crash: {signal.Signals(-status).name}{_crash_site(said)}"
    return f"ended with {status}: {' '.join(said.split())[-160:]}"


def _crash_site(said: str) -> str:
    """Return the innermost Python frame that faulthandler named."""
    frames = [line.strip() for line in said.splitlines() if line.strip().startswith("File ")]
    if not frames:
        return f" ({' '.join(said.split())[-100:]})"
    parts = frames[0].replace('"', "").split()
    return f" in {Path(parts[1].rstrip(',')).name}:{parts[-1]}"


def _count(run: Run, name: str, number: int, line: str, tally: Tally) -> None:
    _, seconds, memory, outcome = line.split(" ", 3)
    tally.worst_seconds = max(tally.worst_seconds, float(seconds))
    tally.peak_memory = max(tally.peak_memory, int(memory))
    if outcome == "+":
        tally.accepted += 1
    elif outcome.startswith("-"):
        tally.refused += 1
        tally.reasons[_kind_of_reason(outcome[2:])] += 1
    else:
        _keep(run, name, number, outcome[2:], tally)


def _count_death(run: Run, name: str, number: int, cause: str, tally: Tally) -> None:
    if name in ("image", "raw", "exif") and cause.startswith("crash"):
        tally.decoder_crashes += 1
        _keep(run, name, number, f"decoder {cause}", tally)
        tally.findings[f"decoder {cause}"] -= 1
    else:
        tally.worst_seconds = max(tally.worst_seconds, SECONDS if "hang" in cause else 0)
        _keep(run, name, number, cause, tally)


def _kind_of_reason(reason: str) -> str:
    words = [word for word in reason.split()[:5] if word.isascii() and "/" not in word]
    return " ".join(word for word in words if not any(c.isdigit() for c in word))


def _keep(run: Run, name: str, number: int, what: str, tally: Tally) -> None:
    """Count a finding, and keep the input of the first few of a kind."""
    tally.findings[what] += 1
    print(f"{name} {number}: {what}", flush=True)
    if tally.findings[what] > KEPT:
        return
    with tempfile.TemporaryDirectory() as place:
        target = TARGETS[name](run.seeds, Path(place))
        files = make_input(target, name, run.seed, number)
    for file, data in files.items():
        kept = run.findings / f"{name}-{number}" / file
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(data)
    (run.findings / f"{name}-{number}" / "what.txt").write_text(what + "\n", encoding="utf-8")


# The whole


def main() -> int:
    options = _options()
    names = list(TARGETS) if options.target == "all" else [options.target]
    total = sum(SHARES[name] for name in names)
    wanted = {name: -(-options.inputs * SHARES[name] // total) for name in names}
    started = time.monotonic()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        prepare_seeds(Path(folder), names, options.corpus)
        until = started + options.seconds if options.seconds else float("inf")
        run = Run(options.seed, Path(folder), options.findings, until)
        with ThreadPoolExecutor(options.workers) as pool:
            tallies = dict(
                zip(names, pool.map(lambda name: fuzz(run, name, wanted[name]), names), strict=True)
            )
    _print_report(tallies, time.monotonic() - started)
    return int(any(+tally.findings for tally in tallies.values()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", choices=("all", *TARGETS), default="all")
    parser.add_argument("--inputs", type=int, default=100_000, help="over all targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="stop after so long")
    parser.add_argument("--corpus", type=Path, help="a folder of more pictures")
    parser.add_argument("--workers", type=int, default=1, help="targets at once")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    return parser.parse_args()


def _print_report(tallies: dict[str, Tally], seconds: float) -> None:
    print("| target | inputs | accepted | refused | decoder crashes | worst s | MB | findings |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, t in tallies.items():
        print(
            f"| {name} | {t.inputs:,} | {t.accepted:,} | {t.refused:,} | {t.decoder_crashes} | "
            f"{t.worst_seconds:.2f} | {t.peak_memory / 1e6:.0f} | {t.findings.total()} |"
        )
    inputs = sum(tally.inputs for tally in tallies.values())
    print(f"\n{inputs:,} inputs in {seconds:.0f} s")
    for name, tally in tallies.items():
        for what, count in (+tally.findings).most_common():
            print(f"{name}: {count} x {what}")
        for what, count in tally.reasons.most_common(12):
            print(f"  {name} refused {count} x {what}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        target_name, *numbers, seeds_folder = sys.argv[2:]
        read_inputs(target_name, *(int(number) for number in numbers), Path(seeds_folder))
    else:
        sys.exit(main())
