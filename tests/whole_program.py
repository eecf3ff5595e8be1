"""Every command of the program, for a test that looks on from outside.

`python whole_program.py MODEL`, in a folder with photos/, new.jpg and captions.csv; MODEL is the
folder of a small model. The last line says as JSON how each command ended.
"""

from __future__ import annotations

import json
import subprocess
import sys
from urllib.request import urlopen

PROGRAM = (sys.executable, "-m", "clipsearch")
TINY = (
    *("--steps", "2", "--batch-size", "4", "--device", "cpu", "--set", "data.workers=0"),
    *("--set", "optimization.warmup_steps=1", "--set", "output.tensorboard=true"),
)
LONG_LIVED = (["serve", "--web", "--port", "0"], ["watch"])
ASKED_FOR = ("/", "/page/main.js", "/api/search?q=a+cat&facets=true", "/thumbs/1", "/photos/1")
EACH = (["query", "a cat"], ["check", "--files", "--hashes"])


def others(model: str) -> tuple[list[str], ...]:
    """Return the commands that share a process, for the sake of the time that torch takes."""
    data = ["--data", "captions.csv"]
    return (
        ["index", "photos"],
        ["index", "photos", "--model", model],
        ["similar", "new.jpg"],
        ["train", "--model", model, *data, "--validation", "captions.csv", *TINY, "--out", "run"],
        ["eval", "retrieval", "--model", "run", *data, "--plot", "result.png"],
        ["eval", "linear-probe", "--model", model, "--data", "classes", "--device", "cpu"],
        ["info"],
        ["models"],
        ["backup", "backup.tar"],
        ["restore", "backup.tar", "--library", "restored"],
        ["remove", "photos", "--library", "restored"],
        ["--help"],
    )


def run_together(model: str) -> dict[str, int]:
    """Run commands one after the other in this process."""
    from clipsearch.cli import main as program

    ended = {}
    for words in others(model):
        sys.argv = ["clipsearch", *words]
        name = " ".join(words[:2])
        ended[name] = 0
        try:
            program()
        except SystemExit as end:
            ended[name] = int(end.code or 0)
    return ended


def main() -> None:
    """Run what serves and watches beside all that searches, and end it last."""
    model = sys.argv[1]
    ended = run_together(model)
    resident = [
        subprocess.Popen([*PROGRAM, *words], stderr=subprocess.PIPE, text=True)
        for words in LONG_LIVED
    ]
    for process in resident:
        sys.stderr.write(process.stderr.readline())  # "serving ...": it is up
    page = resident[0].stderr.readline().removeprefix("the page: ").strip()
    ended["pages"] = sum(urlopen(f"{page}{path}").status != 200 for path in ASKED_FOR)
    for words in EACH:
        ended[words[0]] = subprocess.run([*PROGRAM, *words], stdout=sys.stderr).returncode
    for words, process in zip(LONG_LIVED, resident, strict=True):
        process.terminate()
        sys.stderr.write(process.communicate()[1])
        ended[words[0]] = process.returncode
    sys.stdout.write(f"{json.dumps(ended)}\n")


if __name__ == "__main__":
    main()
