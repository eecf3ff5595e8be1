"""Two processes that train together, against one with all of the batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from places import TESTS
from tiny_training import run, tiny_config

from clipsearch.errors import InvalidInput
from clipsearch.training import checkpoints
from clipsearch.training.config_file import to_toml
from clipsearch.training.learning.distributed import Processes, joined

PROGRAM = TESTS / "trained_program.py"


def losses(path: Path) -> list[float]:
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoints.load(path / "checkpoints" / "last.pt").state["network"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_equal_one_with_the_doubled_batch(tmp_path):
    # A large epsilon: beside it the noise of adding up in another order is nothing. Else Adam
    # makes a full step of any gradient, however small.
    config = tiny_config(tmp_path, steps=4, batch_size=24, micro_batch=8, epsilon=1e-2)
    (tmp_path / "config.toml").write_text(to_toml(config))
    subprocess.run(
        [sys.executable, PROGRAM, tmp_path, tmp_path / "two", "2"], check=True, timeout=300
    )
    run(config, tmp_path / "one")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    assert losses(tmp_path / "one")[-1] < losses(tmp_path / "one")[0] - 0.01  # it has learned
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, weight in one.items():
        assert torch.allclose(two[name], weight, atol=1e-5), name


def test_one_process_needs_no_group():
    with joined("cpu") as processes:
        assert processes == Processes(0, 1, torch.device("cpu"))
        rows = torch.randn(3, 2)
        assert torch.equal(processes.gather(rows), rows) and processes.rows(3) == range(3)
        assert processes.any(True) and not processes.any(False)
        assert processes.all_of("a") == ["a"]


def test_a_strange_environment_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(InvalidInput, match="WORLD_SIZE"), joined("cpu"):
        pass
