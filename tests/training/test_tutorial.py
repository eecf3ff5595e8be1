"""The tutorial of training/README.md runs as it is written, here with few photos and steps."""

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

from clipsearch.cli import main
from clipsearch.training.config_file import read_config, with_settings
from clipsearch.training.run_config import RunConfig

README = (ROOT / "training" / "README.md").read_text(encoding="utf-8")
PHOTOS = 24
FEW = ("--steps", "2", "--batch-size", "8", "--device", "cpu")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def tutorial_blocks() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", section("Tutorial"), flags=re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder like the root of the repository, with few photos, and few shared data."""
    place = tmp_path_factory.mktemp("tutorial") / "clipsearch"
    photos = sorted((ROOT / "examples" / "photos").rglob("*.jpg"))[::2][:PHOTOS]
    for photo in photos:
        copy = place / photo.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, copy)
    for name in ("train/train-00000.tar", "val/val.tar"):
        shard = place.parent / "shared" / "data" / name
        shard.parent.mkdir(parents=True)
        with tarfile.open(shard, "w") as tar:
            for photo in photos:
                caption = json.dumps({"captions": [photo.stem.replace("-", " ")]}).encode()
                for suffix, content in ((".jpg", photo.read_bytes()), (".json", caption)):
                    facts = tarfile.TarInfo(photo.stem + suffix)
                    facts.size = len(content)
                    tar.addfile(facts, io.BytesIO(content))
    return place


def commands(block: str) -> Iterator[list[str]]:
    """Yield the commands of a block as words; a script for python is its last word."""
    script = re.fullmatch(r"python - <<'END'\n(.*)END\n", block, flags=re.DOTALL)
    if script:
        yield ["python", script[1]]
        return
    for line in block.replace("\\\n", " ").splitlines():
        yield shlex.split(line)


def test_every_command_of_the_tutorial_is_understood(monkeypatch, capfd):
    for block in tutorial_blocks():
        for program, *arguments in commands(block):
            if program != "clipsearch":
                continue
            # Options are read before help is shown, so a wrong one is an error all the same.
            monkeypatch.setattr(sys, "argv", ["clipsearch", *arguments, "--help"])
            with pytest.raises(SystemExit) as ended:
                main()
            assert not ended.value.code, (arguments, capfd.readouterr().err)


@pytest.mark.slow
def test_the_tutorial_runs_as_written(place, monkeypatch, capfd):
    monkeypatch.chdir(place)
    outputs = {}
    for block in tutorial_blocks():
        for program, *arguments in commands(block):
            if program == "python":
                subprocess.run([sys.executable, "-c", *arguments], check=True)
                continue
            assert program == "clipsearch"
            asked = " ".join(arguments)
            if arguments[0] == "train" and "--resume" not in arguments:
                arguments = [*arguments, *FEW]
            monkeypatch.setattr(sys, "argv", ["clipsearch", *arguments])
            capfd.readouterr()
            try:
                main()
            except SystemExit as ended:
                assert not ended.code, (asked, capfd.readouterr().err)
            outputs[asked] = capfd.readouterr().out
    said = list(outputs.items())
    assert any("--dry-run" in asked and "memory" in out for asked, out in said)
    assert any("--resume" in asked and "2 of 2 steps" in out for asked, out in said)
    assert any(asked.startswith("eval compare") and "mean recall" in out for asked, out in said)
    (found,) = (out for asked, out in said if " query " in asked)
    assert len(found.splitlines()) == 3
    assert (place / "runs" / "mine" / "curves.png").exists()
    assert list((place / "runs" / "mine" / "samples").glob("*.png"))
    assert (place / "runs" / "small-vit" / "open_clip_model.safetensors").exists()


def test_every_setting_and_recipe_named_is_there():
    config = RunConfig()
    for setting in re.findall(r"`((?:model|data|objective|optimization|output)\.\w+)", README):
        table, name = setting.split(".")
        assert hasattr(getattr(config, table), name), setting
    for text in re.findall(r"`((?:\w+\.\w+) = [^`]+)`", README):
        with_settings(config, [text.replace(" = ", "=", 1)])
    recipes = {path.stem for path in (ROOT / "training" / "recipes").glob("*.toml")}
    assert set(re.findall(r"\[([a-z-]+)\]\(recipes/", section("Recipes"))) == recipes
    for recipe in recipes:
        read_config(ROOT / "training" / "recipes" / f"{recipe}.toml")


def test_links_lead_somewhere():
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", README, flags=re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("http"):
            assert (ROOT / "training" / target).exists(), target


def test_every_module_has_its_line():
    listed = section("Where things are")
    for path in (ROOT / "training").glob("*.py"):
        if not path.name.startswith("__"):
            assert path.name in listed, path.name
