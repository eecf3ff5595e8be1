"""The folder of one training run: what was asked, what was measured, what came out.

```
config.toml                  every setting, as `clipsearch train` reads it
git.json                     the code it ran with: commit, versions, machine, command
metrics.jsonl                one line of numbers a logged step
wise_ft.json                 how good each mixture with the start was, where that was asked for
curves.png                   the same drawn
samples/step-000500.png      what some captions of the validation data find
tensorboard/                 the same for TensorBoard, where it was asked for
checkpoints/                 to go on from, and the best (checkpoints.py)
open_clip_config.json, open_clip_model.safetensors   the model: `--model RUN_FOLDER`
```
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.errors import InvalidInput
from clipsearch.training.config_file import differences, read_config, to_toml
from clipsearch.training.run_config import RunConfig

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from clipsearch.training.towers.averaging import MixResult

_DRAWING_SHARE = 50  # curves are drawn again after so many times what it took
CONFIG_NAME = "config.toml"
METRICS_NAME = "metrics.jsonl"
_INSTALL = "pip install 'clipsearch[train]'"
# What may change between a run and its continuation: none of it changes what is learned.
FREE_TO_CHANGE = ("device", "data.workers", "output.log_every", "output.tensorboard")


class RunFolder:
    """The folder of a run.

    Of several processes only the first writes (`writes`); for the others every method that
    writes does nothing.
    """

    def __init__(self, path: Path, config: RunConfig, *, writes: bool = True) -> None:
        self.path = path
        self.config = config
        self.writes = writes
        self._board: SummaryWriter | None = None
        self._unsaved: list[str] = []
        self._undrawn = False  # whether anything was logged since the curves were drawn
        self._drawn_at = -math.inf
        self._drawing_seconds = 0.0
        self._made: list[Path] = []  # folders that were not there before, the innermost first

    @classmethod
    def create(cls, path: Path, config: RunConfig, *, writes: bool = True) -> RunFolder:
        """Make the folder of a new run; raise InvalidInput where there is something already.

        And for settings that TOML can't hold, such as a file's name that is not UTF-8.
        """
        folder = cls(path, config, writes=writes)
        if not writes:
            return folder
        if (path / CONFIG_NAME).exists():
            raise InvalidInput(
                f"{path} holds a run already: --resume goes on with it, another --out begins anew"
            )
        settings = to_toml(config)  # before the folder is there: not everything can be written
        try:
            if path.exists() and any(path.iterdir()):
                raise InvalidInput(f"{path} is not empty and holds no run; name another --out")
            folder._made = [place for place in (path, *path.parents) if not place.exists()]
            folder.checkpoints.mkdir(parents=True)
        except OSError as error:
            raise InvalidInput(f"can't make the folder {path}: {error.strerror}") from error
        folder._describe(settings)
        return folder

    @classmethod
    def resume(cls, path: Path, config: RunConfig | None, *, writes: bool = True) -> RunFolder:
        """Open the folder of a run to go on with it, with its own configuration if none is given.

        Raises InvalidInput where there is no run, or where it had another configuration.
        """
        if not (path / CONFIG_NAME).is_file():
            raise InvalidInput(f"{path} holds no run to go on with (it has no {CONFIG_NAME})")
        earlier = read_config(path / CONFIG_NAME)
        config = config or earlier
        changed = [key for key in differences(earlier, config) if key not in FREE_TO_CHANGE]
        if changed:
            raise InvalidInput(
                f"the run in {path} had another configuration: {', '.join(changed)} differ; go on "
                "without naming them, or begin anew with another --out"
            )
        return cls(path, config, writes=writes)

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics_path(self) -> Path:
        """Return the file with a line of numbers a logged step."""
        return self.path / METRICS_NAME

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one line of numbers; call `flush` before a checkpoint of this step is written."""
        if not self.writes:
            return
        numbers = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._unsaved.append(json.dumps({"step": step, **numbers}, allow_nan=False))
        self._undrawn = True
        if self.config.output.tensorboard:
            self._log_to_tensorboard(step, values)

    def flush(self) -> None:
        """Bring every line to the disk."""
        if not self._unsaved:
            return
        with self.metrics_path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in self._unsaved))
            file.flush()
            os.fsync(file.fileno())
        self._unsaved.clear()
        if self._board is not None:
            self._board.flush()

    def cut_after(self, step: int) -> None:
        """Forget what was measured after this step: the run goes on from its checkpoint."""
        self._unsaved.clear()
        if not self.writes or not self.metrics_path.exists():
            return
        kept = [line for line in self.metrics() if line["step"] <= step]
        aside = self.metrics_path.with_suffix(".part")
        aside.write_text("".join(f"{json.dumps(line)}\n" for line in kept), encoding="utf-8")
        aside.replace(self.metrics_path)

    def metrics(self) -> list[dict[str, Any]]:
        """Return what was logged, a line each with its `step`; None was no finite number."""
        lines = []
        if self.metrics_path.exists():
            lines = self.metrics_path.read_text(encoding="utf-8").split("\n")
        # What stands behind the last line's end is half a line of a run that was killed.
        return [json.loads(line) for line in [*lines[:-1], *self._unsaved]]

    def draw_curves(self) -> None:
        """Draw what was measured so far; now and then, and by `close` at the end.

        Runs of many short epochs would otherwise spend their time on it.
        """
        now = time.monotonic()
        if now - self._drawn_at > _DRAWING_SHARE * self._drawing_seconds:
            self._draw()
            self._drawn_at = time.monotonic()
            self._drawing_seconds = self._drawn_at - now

    def _draw(self) -> None:
        from clipsearch.training.curves import draw_curves
        from clipsearch.training.learning.objective import Objective

        if self.writes and self._undrawn and (metrics := self.metrics()):
            self._undrawn = False
            objective = Objective(self.config.objective)
            guessing = objective.chance_loss(self.config.optimization.batch_size)
            path = self.path / "curves.png"
            draw_curves(metrics, path, title=self.path.name, guessing=guessing)

    def write_mix(self, mix: MixResult) -> None:
        """Write what was measured to choose the mixture with the weights at the start."""
        measured = {
            "share": mix.share,
            self.config.output.metric: mix.scores,
            "kept_recall_at_10": mix.kept,  # text to image, image to text
        }
        (self.path / "wise_ft.json").write_text(json.dumps(measured, indent=2) + "\n")

    def sample_path(self, step: int) -> Path:
        """Return where the picture of retrievals at this step goes; its folder is made."""
        folder = self.path / "samples"
        folder.mkdir(exist_ok=True)
        return folder / f"step-{step:06d}.png"

    def discard_if_unbegun(self) -> None:
        """Take a new run's folder away again if nothing was learned: its start has failed."""
        if not self.writes or self.metrics_path.exists() or any(self.checkpoints.glob("*")):
            return
        for name in (CONFIG_NAME, "git.json"):
            (self.path / name).unlink(missing_ok=True)
        for folder in (self.checkpoints, *self._made):
            with suppress(OSError):  # somebody put something there meanwhile
                folder.rmdir()

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        self._draw()
        if self._board is not None:
            self._board.close()

    def _describe(self, settings: str) -> None:
        facts = json.dumps(surroundings(), indent=2)
        (self.path / "git.json").write_text(facts + "\n", encoding="utf-8")
        # Last and at once: a folder with a config.toml is a run.
        aside = self.path / f"{CONFIG_NAME}.part"
        aside.write_text(settings, encoding="utf-8")
        aside.replace(self.path / CONFIG_NAME)

    def _log_to_tensorboard(self, step: int, values: Mapping[str, float]) -> None:
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            # What an interrupted run wrote after its checkpoint is hidden by purge_step.
            self._board = SummaryWriter(str(self.path / "tensorboard"), purge_step=step)
        for name, value in values.items():
            self._board.add_scalar(name, value, step)


def is_first_process() -> bool:
    """Say whether this is the process, of those that torchrun started, that writes and reports."""
    return os.environ.get("RANK", "0") == "0"


def require_packages(config: RunConfig, say: Callable[[str], None]) -> RunConfig:
    """Raise InvalidInput where a package is missing that a run can't do without.

    Returns the configuration without TensorBoard, and says so, where only that is missing.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise InvalidInput("training draws its curves with matplotlib: " + _INSTALL)
    if config.output.tensorboard and importlib.util.find_spec("tensorboard") is None:
        say(f"no log for TensorBoard, which is not installed: {_INSTALL}")
        return replace(config, output=replace(config.output, tensorboard=False))
    return config


def surroundings() -> dict[str, Any]:
    """Return what a run depends on beside its settings: code, versions, machine, command."""
    return {
        **git_state(Path(__file__).resolve().parent),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("clipsearch", "torch", "open_clip_torch", "timm")},
        },
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "gpus": _gpus(),
        },
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "command": sys.argv,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def git_state(folder: Path) -> dict[str, Any]:
    """Return the commit of the code in `folder` and whether it differs; null where git has none."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "--no-optional-locks", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                timeout=20,
            )
        except (OSError, subprocess.TimeoutExpired):  # no git on this machine
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An environment inside somebody else's repository is no part of it.
    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {"commit": None, "dirty": None}
    changes = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
