"""Without torch, open_clip and onnx: all but training, measuring and another model's first use.

`make light` does the same in an environment that lacks them; here they only can't be imported.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cli_process import Ended, clipsearch
from places import ROOT

from clipsearch import Library, MissingPackages
from clipsearch.light import LEFT_OUT, light_requirements, need_torch

PHOTOS = ROOT / "examples" / "photos"


@pytest.fixture
def light(tmp_path: Path) -> dict[str, str]:
    """An environment in which a program finds none of the packages that a light install lacks."""
    folder = tmp_path / "without"
    folder.mkdir()
    absent = ("torch", "torchvision", "open_clip", "timm", "onnx")
    lines = ["import sys", *(f"sys.modules[{name!r}] = None" for name in absent)]
    (folder / "sitecustomize.py").write_text("\n".join(lines))
    environment = {"PYTHONPATH": os.fspath(folder), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    check = subprocess.run(
        [sys.executable, "-c", "import torch"],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )
    assert b"ModuleNotFoundError" in check.stderr
    return environment


def test_the_built_in_model_needs_none_of_them(light, tmp_path):
    def run(*arguments: object) -> Ended:
        ended = clipsearch(*map(str, arguments), "--library", str(library), environment=light)
        assert ended.code == 0, ended.err
        return ended

    library, photos = tmp_path / "library", tmp_path / "photos"
    shutil.copytree(PHOTOS / "animals", photos)
    new = next((PHOTOS / "food").glob("*.jpg"))
    run("index", photos, "--model", "builtin")
    assert "horses" in run("query", "horses", "--top", "2", "--paths").text
    hits = run("similar", new, "--top", "3", "--paths", "--all").lines
    assert len(hits) == 3
    shutil.copy(new, photos)
    run("index")
    assert str(photos / new.name) in run("similar", new, "--paths", "--all").text or len(hits) == 3
    run("check")
    labelled = run("classify", new, "--labels", "a plate of food,an airplane", "--json").text
    assert "a plate of food" in labelled
    run("info", "--verbose")
    for path in library.glob("models/*/text.onnx"):
        path.unlink()
    run("query", "horses")  # from where the tower ships
    assert "anew" in run("check", "--repair").text
    run("check")
    with Library(library) as ours:  # and with all of them
        assert ours.info().photos == len(list(photos.glob("*.jpg")))
        assert len(ours.similar(new)) == 10


def test_a_model_that_was_used_once_needs_none_of_them(light, tmp_path, tiny_model_folder):
    photos = shutil.copytree(PHOTOS / "food", tmp_path / "photos")
    full = {"XDG_CACHE_HOME": light["XDG_CACHE_HOME"]}
    model = ("--model", str(tiny_model_folder))
    first, second = tmp_path / "first", tmp_path / "second"
    ended = clipsearch("index", photos, *model, "--library", first, environment=light)
    assert (ended.code, first.exists()) == (2, False)
    assert "python -m pip install torch open_clip_torch onnx" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert clipsearch("index", photos, *model, "--library", first, environment=full).code == 0
    assert clipsearch("index", photos, *model, "--library", second, environment=light).code == 0
    asked = ("similar", PHOTOS / "animals" / "tabby-cat-face.jpg", "--json", "--library")
    answers = [
        clipsearch(*asked, library, environment=environment)
        for library, environment in ((first, full), (first, light), (second, light))
    ]
    assert [answer.code for answer in answers] == [0, 0, 0]
    paths = [re.findall(r'"path": "([^"]+)"', answer.text) for answer in answers]
    assert paths[0] == paths[1] == paths[2] and len(paths[0]) > 2


@pytest.mark.parametrize(
    "command",
    [
        ("train", "--data", "captions.csv", "--dry-run"),
        ("eval", "retrieval", "--model", "builtin", "--data", "captions.csv"),
        ("eval", "zeroshot", "--model", "builtin", "--data", "photos"),
        ("index", "photos", "--model", "ViT-B-32/openai"),
    ],
    ids=" ".join,
)
def test_what_needs_them_says_in_one_line_what_to_install(light, tmp_path, command):
    (tmp_path / "photos").mkdir()
    (tmp_path / "captions.csv").write_text("path,caption\n")
    ended = clipsearch(*command, cwd=tmp_path, environment=light)
    assert ended.code == 2
    assert re.fullmatch(
        r"clipsearch: .* needs torch, open_clip_torch, onnx, which a light install leaves out: "
        r"python -m pip install torch open_clip_torch onnx\n",
        ended.err,
    )


def test_python_callers_get_a_typed_error(monkeypatch):
    need_torch("nothing")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingPackages, match="this needs torch, which a light install leaves out"):
        need_torch("this")


def test_one_list_of_dependencies_serves_both():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    full = {line.partition(";")[0].strip() for line in project["dependencies"]}
    light = set(light_requirements())
    assert light <= full
    left_out = {re.split("[<>=]", line)[0] for line in full - light}
    assert left_out == {*LEFT_OUT}
    assert [line for line in light if "faiss" in line] == ["faiss-cpu>=1.11"]


def test_the_recipe_of_the_docs_is_the_one_that_ci_follows():
    recipe = [
        "python -m pip install $(python -m clipsearch.light)",
        "python -m pip install --no-deps .",
    ]
    made = (ROOT / "Makefile").read_text().replace("$(LIGHT)/bin/", "").replace("$$(", "$(")
    for text in ((ROOT / "README.md").read_text(), (ROOT / "docs" / "installing.md").read_text()):
        lines = [line.strip() for line in text.splitlines()]
        at = lines.index(recipe[0])
        assert lines[at : at + 2] == recipe
    for line in recipe:
        assert line in made.replace(" --quiet", "")
