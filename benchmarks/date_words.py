"""Dates in words: our table beside dateparser, what each understands and what it costs.

    pip install dateparser
    python -m benchmarks.date_words

Each runs in a process of its own, so that the import counts: processor time, best of five.
"""

from __future__ import annotations

import subprocess
import sys

PHRASES = (
    *("2023", "2021..2022", "July 2021", "14 July 2021", "yesterday", "monday", "two weeks ago"),
    *("3 months ago", "last week", "last year", "last summer", "summer 2021", "christmas 2022"),
    *("last july", "easter 2024", "1990s"),
)
_CLOCK = "from datetime import datetime; now = datetime(2026, 11, 28, 9, 30)"
_OURS = f"""{_CLOCK}
from clipsearch.asking.dates import after
from clipsearch.errors import ClipsearchError
def read(text):
    try:
        return str(after(text if ".." in text else f"{{text}}..{{text}}", now))
    except ClipsearchError:
        return None
"""
_DATEPARSER = f"""{_CLOCK}
import dateparser
def read(text):
    settings = {{"RELATIVE_BASE": now}}
    found = dateparser.parse(text, languages=["en"], settings=settings)
    return found and str(found)
"""
_MEASURED = """
import time
before = time.process_time()
{reader}
first = read("last summer")
took = time.process_time() - before
print(took)
for text in {phrases!r}:
    print(read(text))
"""


def main() -> None:
    columns = {}
    for name, reader in (("ours", _OURS), ("dateparser", _DATEPARSER)):
        code = _MEASURED.format(reader=reader, phrases=PHRASES)
        runs = [_run(code) for _ in range(5)]
        took = min(float(run[0]) for run in runs)
        print(f"{name}: import and first answer {took:.3f} s")
        columns[name] = runs[0][1:]
    for phrase, *read in zip(PHRASES, columns["ours"], columns["dateparser"], strict=True):
        print(f"{phrase:16} {read[0]:32} {read[1]}")


def _run(code: str) -> list[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


if __name__ == "__main__":
    main()
