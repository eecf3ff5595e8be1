"""What the README shows is what happens."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import clipsearch
from PIL import Image
from places import ROOT

README = (ROOT / "README.md").read_text()
USING = (ROOT / "docs" / "using.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = (
    "index",
    "watch",
    "query",
    "similar",
    "info",
    "models",
    "remove",
    "check",
    "backup",
    "serve",
    "list",
    "duplicates",
    "tag",
    "teach",
    "classify",
)


def blocks(language: str) -> list[str]:
    return [body for name, body in BLOCKS if name == language]


@pytest.fixture(scope="module")
def demo_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library of the example photos, indexed with the built-in model."""
    library = tmp_path_factory.mktemp("readme") / "library"
    photos = ROOT / "examples" / "photos"
    done = clipsearch("--library", library, "index", photos, "--model", "builtin")
    assert done.code == 0, done.err
    return library


def recorded_queries() -> list[tuple[list[str], list[str]]]:
    """Return the arguments of each recorded search, and the file names it shows."""
    found = []
    for body in blocks("console"):
        for part in body.split("$ clipsearch ")[1:]:
            command, _, shown = part.partition("\n")
            arguments = [quoted or plain for quoted, plain in re.findall(r'"(.*?)"|(\S+)', command)]
            if arguments[0] in ("query", "similar"):
                found.append((arguments, re.findall(r"[\w-]+\.jpg", shown)))
    return found


@pytest.mark.parametrize("arguments, shown", recorded_queries(), ids=lambda v: " ".join(v)[:40])
def test_a_recorded_search_gives_the_recorded_photos(demo_library, arguments, shown):
    done = clipsearch("--library", demo_library, *arguments, "--paths", cwd=ROOT)
    assert [Path(line).name for line in done.lines] == shown
    assert done.code == (0 if shown else 1)


def test_every_command_and_option_named_is_there():
    helps = {name: clipsearch(name, "--help").text for name in COMMANDS}
    for name, text in helps.items():
        assert f"`clipsearch {name}" in README
        for option in re.findall(rf"clipsearch {name}[^|\n`]*?(--[a-z0-9-]+)", README):
            assert option in text, (name, option)
    for option in set(re.findall(r"`(--[a-z-]+)", README + USING)):
        assert any(option in text for text in helps.values()), option


def test_every_exit_code_of_the_errors_is_named():
    from clipsearch import errors

    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    for code in codes | {0, 1, 130}:
        assert f"| {code} |" in USING


def test_the_python_example_runs_as_written(tmp_path):
    (example,) = blocks("python")
    photos = tmp_path / "photos"
    photos.mkdir()
    for source in sorted((ROOT / "examples" / "photos" / "animals").glob("*.jpg"))[:3]:
        shutil.copy(source, photos)
    shutil.copy(
        ROOT / "examples" / "photos" / "landscape" / "mont-saint-michel.jpg", tmp_path / "beach.jpg"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    script = f"{example}\nprint(scores.shape, ids.shape)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[3] == "()"  # nothing was left out
    assert len(done.stdout.splitlines()) == 3 + 2
    assert done.stdout.splitlines()[-1] == "(1, 10) (1, 10)"


def test_the_zero_shot_figures_are_those_of_the_card_and_of_the_benchmarks():
    models = (ROOT / "docs" / "models.md").read_text()
    (sentence,) = re.findall(r"Among the 1,000 class names.*?zero_shot", models)
    top1, top5, low1, high1, low5, high5 = re.findall(r"\d+\.\d", sentence)
    cells = f"| {top1} ({low1} to {high1}) | {top5} ({low5} to {high5}) |"
    assert cells in (ROOT / "clipsearch" / "builtin_model" / "MODEL_CARD.md").read_text()
    assert f"| single prompt {cells}" in (ROOT / "benchmarks" / "RESULTS.md").read_text()


@pytest.mark.parametrize("page", [ROOT / "README.md", *(ROOT / "docs").glob("*.md")], ids=str)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_picture_shows_what_is_found(demo_library):
    with Image.open(ROOT / "docs" / "gallery.jpg") as picture:
        ((asked, shown),) = json.loads(picture.info["comment"]).items()
        assert picture.width > 700
    assert len(shown) >= 3
    found = clipsearch("--library", demo_library, "query", asked, "--top", "50", "--paths")
    assert [Path(line).name for line in found.lines] == shown
