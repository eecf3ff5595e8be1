"""Runs that are killed, stopped or continued with something changed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from places import TESTS
from tiny_training import run, tiny_config, with_model, with_output

from clipsearch.errors import InvalidInput
from clipsearch.training import checkpoints
from clipsearch.training.config_file import to_toml

PROGRAM = TESTS / "trained_program.py"


def curve(path: Path) -> list[dict[str, float]]:
    """Return what was logged, without what depends on the clock."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "samples_per_second"} for line in lines]


def final_weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoints.load(path / "checkpoints" / "last.pt").state["network"]


def same_weights(one: Path, other: Path) -> bool:
    a, b = final_weights(one), final_weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def one_thread():
    """Let torch add up in one order, as the program does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_killed_run_goes_on_to_the_same_curve_bit_for_bit(tmp_path):
    config = tiny_config(tmp_path, steps=24, ema=0.9)
    config = with_output(config, log_every=3, evaluate_every=8, checkpoint_every=4)
    (tmp_path / "config.toml").write_text(to_toml(config))
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, PROGRAM, tmp_path, killed])
    alive = killed / "alive"
    deadline = time.monotonic() + 300
    while not alive.exists() or int(alive.read_text() or 0) < 10:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = checkpoints.load(killed / "checkpoints" / "last.pt").step
    assert 8 <= done < 24 and done % 4 == 0

    resumed, steps = run(config, killed)
    assert steps[0].step == done + 1 and resumed.finished
    expected, _ = run(config, whole)
    assert curve(killed) == curve(whole) and len(curve(whole)) >= 8
    assert same_weights(killed, whole)
    assert resumed.best_step == expected.best_step
    one, other = (p / "open_clip_model.safetensors" for p in (killed, whole))
    assert one.read_bytes() == other.read_bytes()


def test_a_stopped_run_goes_on_in_the_last_phase_too(tmp_path):
    config = tiny_config(tmp_path, steps=1, final_image_size=32, final_epochs=0.7)
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    first, steps = run(config, stopped, stop_after=2)
    assert not first.finished and first.step == len(steps) == 2
    assert (stopped / "open_clip_model.safetensors").exists()  # what there is so far
    last, _ = run(config, stopped)
    assert last.finished and last.steps == 3
    run(config, whole)
    assert curve(stopped) == curve(whole) and same_weights(stopped, whole)


def test_a_checkpoint_of_other_settings_is_refused_in_one_line(tmp_path):
    config, path = tiny_config(tmp_path), tmp_path / "last.pt"
    settings = checkpoints.settings_of(config)
    written = checkpoints.Checkpoint(1, settings, 3, None, None, [], {"random": [{}]})
    checkpoints.save(path, written)
    saved = checkpoints.load(path)
    assert saved == written
    checkpoints.check_fits(saved, path, replace(config, device="auto"), 3, 1)
    others = {
        r"learning_rate = 0.003, this run has 0.5": replace(
            config, optimization=replace(config.optimization, learning_rate=0.5)
        ),
        r"model.text_tower = 'own', this run has 'cbow'": with_model(config, text_tower="cbow"),
    }
    for message, other in others.items():
        with pytest.raises(InvalidInput, match=message) as caught:
            checkpoints.check_fits(saved, path, other, 3, 1)
        assert "\n" not in str(caught.value)
    with pytest.raises(InvalidInput, match="training data has changed"):
        checkpoints.check_fits(saved, path, config, 4, 1)
    with pytest.raises(InvalidInput, match="made by 1 processes"):
        checkpoints.check_fits(saved, path, config, 3, 2)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no checkpoint", b"\x80\x02}q\x00."])
def test_damaged_checkpoints_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="checkpoint") as caught:
        checkpoints.load(path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_with_code_in_it_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    torch.save({"format": 1, "step": Evil()}, tmp_path / "last.pt")
    with pytest.raises(InvalidInput, match="damaged or none of ours"):
        checkpoints.load(tmp_path / "last.pt")
    assert not (tmp_path / "ran").exists()


def test_all_random_numbers_go_on_where_they_were(tmp_path):
    def draw():
        return float(torch.rand(1)), float(np.random.rand()), random.random()

    state = checkpoints.random_state()
    torch.save(state, tmp_path / "state.pt")
    expected = draw()
    assert draw() != expected
    checkpoints.restore_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draw() == expected
