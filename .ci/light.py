"""How large the environment of this Python is, and whether the light install in it works.

    python .ci/light.py MEGABYTES

Prints the size and the five largest parts. Ends with an error where it is larger, where torch is
installed, or where a command does not do what it should.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

PHOTOS = Path(__file__).resolve().parent.parent / "examples" / "photos"
PROGRAM = Path(sys.prefix) / "bin" / "clipsearch"


def main(most: float) -> None:
    """Measure, then search."""
    parts = Counter[str]()
    for file in Path(sys.prefix).rglob("*"):
        if file.is_file() and not file.is_symlink():
            below = file.parts[file.parts.index("site-packages") + 1 :] if _installed(file) else ()
            parts[below[0].partition(".")[0] if below else "python"] += file.stat().st_size
    total = sum(parts.values()) / 1e6
    largest = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in parts.most_common(5))
    say(f"light install: {total:.0f} MB; the largest parts: {largest}")
    if total >= most:
        sys.exit(f"the light install is to be smaller than {most:.0f} MB")
    for name in ("torch", "open_clip", "onnx"):
        if find_spec(name) is not None:
            sys.exit(f"{name} is installed, so this is no light install")
    with tempfile.TemporaryDirectory() as folder:
        search(Path(folder))
    say("light install: indexes, finds by words and by a picture, and refuses what needs torch")


def say(line: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{line}\n")


def _installed(file: Path) -> bool:
    return "site-packages" in file.parts


def search(folder: Path) -> None:
    """Index the examples, find among them, and ask for what can't be had."""
    library = ("--library", str(folder / "library"))
    said = run(0, "index", str(PHOTOS / "animals"), "--model", "builtin", *library)
    assert "added" in said, said
    assert "horses" in run(0, "query", "horses", "--top", "3", "--paths", "--all", *library)
    new = next((PHOTOS / "food").glob("*.jpg"))
    assert (
        len(run(0, "similar", str(new), "--top", "3", "--paths", "--all", *library).splitlines())
        == 3
    )
    run(0, "check", *library)
    for refused in (
        ("index", "--model", "ViT-B-32/openai", *library),
        ("train", "--data", str(PHOTOS), "--dry-run"),
        ("eval", "retrieval", "--model", "builtin", "--data", str(PHOTOS)),
    ):
        said = run(2, *refused)
        assert "pip install torch" in said and len(said.splitlines()) == 1, said


def run(code: int, *arguments: str) -> str:
    """Return what a command says; ends with an error unless it ends with that code."""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode != code:
        sys.exit(f"clipsearch {' '.join(arguments)}: ended with {done.returncode}\n{said}")
    return said


if __name__ == "__main__":
    main(float(sys.argv[1]))
