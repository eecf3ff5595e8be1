"""The folder of a run: made, refused, gone on with; its metrics, curves and sheets."""

import json
import os
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from places import ROOT

from clipsearch.errors import InvalidInput
from clipsearch.training.config_file import read_config
from clipsearch.training.curves import draw_curves
from clipsearch.training.retrieval_metrics import text_to_image
from clipsearch.training.retrieval_sheet import choose_retrievals, draw_retrievals
from clipsearch.training.run_config import DataConfig, OptimizationConfig, OutputConfig, RunConfig
from clipsearch.training.run_folder import RunFolder, git_state, require_packages

CONFIG = RunConfig(optimization=OptimizationConfig(batch_size=8, steps=20), seed=5)


def test_a_new_folder_says_what_was_asked_and_with_what_code(tmp_path):
    folder = RunFolder.create(tmp_path / "runs" / "one", CONFIG)
    assert read_config(folder.path / "config.toml") == CONFIG
    facts = json.loads((folder.path / "git.json").read_text())
    assert {"commit", "dirty", "versions", "machine", "command"} <= facts.keys()
    assert facts["versions"]["torch"]
    assert folder.checkpoints.is_dir()


def test_a_name_that_settings_cannot_hold_is_refused_and_leaves_no_folder(tmp_path):
    config = replace(CONFIG, data=DataConfig(train=(os.fsdecode(b"caf\xe9.csv"),)))
    with pytest.raises(InvalidInput, match="name it in UTF-8"):
        RunFolder.create(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_the_commit_is_that_of_the_code_and_of_no_repository_around_it(tmp_path):
    here = ROOT / "training"
    said = git_state(here)
    if said["commit"] is None:
        pytest.skip("this copy of the code is not in git")
    head = subprocess.run(["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True)
    assert said["commit"] == head.stdout.strip()
    assert isinstance(said["dirty"], bool)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert git_state(tmp_path) == {"commit": None, "dirty": None}


def test_what_is_there_already_is_not_overwritten(tmp_path):
    RunFolder.create(tmp_path / "run", CONFIG)
    with pytest.raises(InvalidInput, match="holds a run already: --resume"):
        RunFolder.create(tmp_path / "run", CONFIG)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(InvalidInput, match="is not empty and holds no run"):
        RunFolder.create(tmp_path / "mine", CONFIG)
    with pytest.raises(InvalidInput, match="can't make the folder"):
        RunFolder.create(tmp_path / "mine" / "letter.txt" / "run", CONFIG)


def test_a_run_goes_on_only_with_its_own_configuration(tmp_path):
    RunFolder.create(tmp_path / "run", CONFIG)
    assert RunFolder.resume(tmp_path / "run", None).config == CONFIG
    other = replace(
        CONFIG, seed=6, optimization=replace(CONFIG.optimization, learning_rate=1.0), device="cpu"
    )
    with pytest.raises(InvalidInput) as caught:
        RunFolder.resume(tmp_path / "run", other)
    assert "optimization.learning_rate, seed differ" in str(caught.value)
    assert "device" not in str(caught.value)
    moved = replace(CONFIG, device="cpu")
    assert RunFolder.resume(tmp_path / "run", moved).config.device == "cpu"
    with pytest.raises(InvalidInput, match="holds no run to go on with"):
        RunFolder.resume(tmp_path / "none", None)


def test_metrics_are_kept_by_line_and_cut_back_to_the_checkpoint(tmp_path):
    folder = RunFolder.create(tmp_path / "run", CONFIG)
    for step in range(1, 6):
        folder.log(step, {"loss": 1 / step, "odd": float("nan")})
        if step == 3:
            folder.flush()
    assert len(folder.metrics_path.read_text().splitlines()) == 3
    assert [line["step"] for line in folder.metrics()] == [1, 2, 3, 4, 5]
    folder.close()
    with folder.metrics_path.open("a") as file:
        file.write('{"step": 6, "lo')  # killed in the middle of a line
    again = RunFolder.resume(tmp_path / "run", None)
    assert [line["step"] for line in again.metrics()] == [1, 2, 3, 4, 5]
    again.cut_after(2)
    again.log(3, {"loss": 0.25})
    again.close()
    lines = [json.loads(line) for line in folder.metrics_path.read_text().splitlines()]
    assert lines == [
        {"step": 1, "loss": 1.0, "odd": None},
        {"step": 2, "loss": 0.5, "odd": None},
        {"step": 3, "loss": 0.25},
    ]


def test_only_the_first_process_writes(tmp_path):
    folder = RunFolder.create(tmp_path / "run", CONFIG, writes=False)
    folder.log(1, {"loss": 1.0})
    folder.flush()
    folder.cut_after(0)
    folder.draw_curves()
    folder.close()
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_gets_the_same_numbers(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = replace(CONFIG, output=OutputConfig(tensorboard=True))
    folder = RunFolder.create(tmp_path / "run", config)
    for step in (1, 2):
        folder.log(step, {"loss": 4.0 / step})
    folder.close()
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 4.0), (2, 2.0)]


def test_a_missing_package_is_named_with_the_extra(monkeypatch):
    said: list[str] = []
    config = replace(CONFIG, output=OutputConfig(tensorboard=True))
    assert require_packages(config, said.append) == config
    import importlib.util

    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorboard" else there(name)
    )
    assert not require_packages(config, said.append).output.tensorboard
    (line,) = said
    assert "clipsearch[train]" in line
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"clipsearch\[train\]"):
        require_packages(config, said.append)


def measured(steps: int) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = []
    for step in range(1, steps + 1):
        line = {"step": step, "loss": 3.0 / step, "learning_rate": 1e-3, "logit_scale": 14.3}
        if step % 5 == 0:
            line |= {"val/text_to_image_R@10": step / 100, "val/image_to_text_R@10": step / 90}
        lines.append(line)
    return lines


def test_curves_show_what_was_measured(tmp_path):
    sizes = []
    for metrics in (measured(2), measured(40)):
        path = tmp_path / f"{len(metrics)}.png"
        draw_curves(metrics, path, title="a run", guessing=2.0)
        with Image.open(path) as image:
            sizes.append(image.size)
            colours = {pixel for _, pixel in image.convert("RGB").getcolors(2**24)}
        assert (0x00, 0x72, 0xB2) in colours  # the line of the loss
        assert ((0xD5, 0x5E, 0x00) in colours) == (len(metrics) == 40)  # that of the recall
    assert sizes[1][1] >= sizes[0][1]
    assert [path.suffix for path in tmp_path.iterdir()] == [".png"] * 2


def test_curves_leave_out_what_is_no_number(tmp_path):
    draw_curves([{"step": 1, "loss": None}], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    draw_curves([{"step": 1, "loss": None}, {"step": 2, "loss": 1.0}], tmp_path / "one.png")
    assert (tmp_path / "one.png").exists()


SIMILARITY = np.array(  # photos x texts
    [
        [0.9, 0.2, 0.3, 0.8],
        [0.1, 0.7, 0.9, 0.9],
        [0.5, 0.8, 0.5, 0.1],
    ]
)
CAPTIONS = ["a dog", "a cat", "a bird", "a dog"]
OWNERS = [0, 1, 2, 1]


def test_what_captions_find_is_ranked_as_in_the_metrics():
    dog, cat, bird, other_dog = choose_retrievals(SIMILARITY, CAPTIONS, OWNERS, top=2)
    assert (dog.found, dog.right, dog.rank) == ((0, 2), {0, 1}, 1)
    assert (cat.found, cat.right, cat.rank) == ((2, 1), {1}, 2)
    assert (bird.found, bird.right, bird.rank) == ((1, 2), {2}, 2)
    assert (other_dog.found, other_dog.best, other_dog.rank) == ((1, 0), 1, 1)
    alone = [r.rank for r in choose_retrievals(SIMILARITY, ["a", "b", "c", "d"], OWNERS)]
    assert np.median(alone) == text_to_image(SIMILARITY, OWNERS).median_rank


def test_the_sheet_frames_the_right_photo_and_shows_a_missed_one_aside(tmp_path):
    colours = [(200, 0, 0), (0, 0, 200), (200, 200, 0)]

    def photo(number: int) -> Image.Image:
        return Image.new("RGB", (300, 200), colours[number])

    retrievals = choose_retrievals(SIMILARITY, CAPTIONS, OWNERS, count=3, top=1)
    draw_retrievals(retrievals, photo, tmp_path / "sheet.png", title="a step")
    sheet = Image.open(tmp_path / "sheet.png")
    found = {pixel for _, pixel in sheet.getcolors(2**24)}
    assert set(colours) <= found
    assert (0x00, 0x9E, 0x73) in found
    missed = choose_retrievals(SIMILARITY, ["a", "b", "c", "d"], OWNERS, count=4, top=1)[1:3]
    draw_retrievals(missed, photo, tmp_path / "missed.png")
    found = {pixel for _, pixel in Image.open(tmp_path / "missed.png").getcolors(2**24)}
    assert (0x00, 0x9E, 0x73) not in found
    assert set(colours[1:]) <= found
