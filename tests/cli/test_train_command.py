"""`clipsearch train`: from photos to a model that indexes, stopped, gone on with, and refused."""

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import PROGRAM, clean_environment, clipsearch
from PIL import Image

from clipsearch import Library
from clipsearch.cli import main
from clipsearch.cli.train_command import _new_folder
from clipsearch.training.config_file import RECIPES, check_together, find_config, read_config
from clipsearch.training.progress import _Bar, _Lines, news
from clipsearch.training.trainer import StepReport

TINY = (
    *("--batch-size", "4", "--device", "cpu", "--set", "optimization.warmup_steps=1"),
    *("--set", "data.workers=0"),
    *("--set", "output.evaluate_every=1000", "--set", "output.checkpoint_every=1000"),
)


@pytest.fixture(scope="module")
def captions(sample_photos, tmp_path_factory) -> Path:
    """Return a table of real photos with captions."""
    path = tmp_path_factory.mktemp("data") / "captions.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption"])
        rows.writerows([photo, f"photo number {i}"] for i, photo in enumerate(sample_photos))
    return path


@pytest.fixture
def train(monkeypatch, capfd, tiny_model_folder, captions):
    """Return the function that runs the command here: exit code, output, errors."""

    def run(*arguments: object, data: object = captions) -> tuple[int, str, str]:
        given = [str(argument) for argument in arguments]
        if "--resume" not in given:
            given = ["--model", str(tiny_model_folder), *given]
            given = ["--data", str(data), *TINY, *given] if data else given
        monkeypatch.setattr(sys, "argv", ["clipsearch", "train", *given])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


def test_photos_with_captions_become_a_model_that_indexes(
    train, tmp_path, sample_photos, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    out = Path("runs") / "fine-tune"  # where nothing else is asked for
    code, said, errors = train("--steps", "3")
    assert code == 0, errors
    assert "3 of 3 steps" in said
    assert f"clipsearch index --model {out}" in said
    assert "step 1 of 3: loss" in errors
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    wanted = {"config.toml", "git.json", "metrics.jsonl", "curves.png", "samples/step-000003.png"}
    assert names >= wanted | {"open_clip_config.json", "open_clip_model.safetensors"}
    assert any(name.startswith("checkpoints/") for name in names)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 3
    assert {"loss", "learning_rate", "logit_scale", "val/text_to_image_R@10"} <= lines[-1].keys()
    for picture in (out / "curves.png", out / "samples" / "step-000003.png"):
        with Image.open(picture) as image:
            assert image.width > 500
    with Library(tmp_path / "library", device="cpu") as library:
        assert library.index(sample_photos[:2], model=str(out)).added == 2
    assert _new_folder("fine-tune") == Path("runs") / "fine-tune-2"

    config = out / "config.toml"
    config.write_text(config.read_text().replace("weight_decay = 0.05", "weight_decay = 0.5"))
    code, said, errors = train("--resume", "--out", out)
    assert (code, said) == (2, "")
    (line,) = errors.splitlines()
    assert "weight_decay = 0.05" in line  # that of the checkpoint


def test_a_stopped_run_says_how_to_go_on_and_does(tiny_model_folder, captions, train, tmp_path):
    out = tmp_path / "run"
    command = [*PROGRAM, "train", "--data", captions, "--model", tiny_model_folder, "--out", out]
    program = subprocess.Popen(
        [*map(str, command), *TINY, "--steps", "60"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    while "step" not in (line := program.stderr.readline()):
        assert line, "ended before its first step"
    program.send_signal(signal.SIGINT)
    said, errors = program.communicate(timeout=100)
    assert program.returncode == 130, errors
    assert f"interrupted: `clipsearch train --resume --out {out}` goes on" in errors
    done = int(said.split()[0])
    assert 1 <= done < 60
    code, said, errors = train("--out", out)
    assert (code, said) == (2, "")
    assert "holds a run already: --resume goes on" in errors
    code, said, errors = train("--out", out, "--resume", "--steps", "6000")
    assert (code, said) == (2, "")
    assert "had another configuration: optimization.steps differ" in errors
    code, said, errors = train("--out", out, "--resume")
    assert code == 0, errors
    assert "60 of 60 steps" in said
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 60


BAD = {
    "no data": ((), "no data is named"),
    "an absent file": (("--data", "none.tar"), "there is no"),
    "one-sample batches": (("--batch-size", "1"), "batch_size must be a whole number of at least"),
    "fewer photos than a batch": (("--batch-size", "100"), "fewer than one batch of 100"),
    "an unknown setting": (("--set", "model.size=3"), "there is no setting model.size"),
    "an unknown model": (("--model", "no-such"), "no model is called 'no-such'"),
    "an unknown metric": (("--set", "output.metric=beauty"), "output.metric must be one of"),
    "a validation file that is absent": (("--validation", "none.csv"), "there is no"),
    "no run to go on with": (("--resume",), "holds no run to go on with"),
}


@pytest.mark.parametrize(("arguments", "complaint"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_before_the_work_starts(
    train, tmp_path, monkeypatch, arguments, complaint
):
    monkeypatch.chdir(tmp_path)
    own_data = not arguments or "--data" in arguments
    more = {"data": None} if own_data else {}
    code, said, errors = train("--out", "run", "--steps", "2", *arguments, **more)
    assert (code, said) == (2, "")
    (line,) = errors.splitlines()
    assert line.startswith("clipsearch: ")
    assert complaint in line
    assert list(tmp_path.iterdir()) == []


TABLES = {
    "image,caption\n": "has no rows",
    "image,caption\nPHOTO,\nPHOTO,   \n": "no caption",
    "image,words\nPHOTO,a dog\n": "no column of captions",
    "image,caption\nnone.jpg,a dog\n": "the picture can't be read: No such file",
    "image,caption\nPHOTO,a dog\n": "1 photo",
}


@pytest.mark.parametrize(("table", "complaint"), TABLES.items())
def test_captions_that_lack_are_named(train, tmp_path, sample_photos, table, complaint):
    (tmp_path / "bad.csv").write_text(table.replace("PHOTO", str(sample_photos[0])))
    code, said, errors = train("--out", tmp_path / "run", data=tmp_path / "bad.csv")
    assert (code, said) == (2, "")
    (line,) = errors.splitlines()
    assert complaint in line
    assert not (tmp_path / "run").exists()


def test_a_dry_run_says_what_it_takes_and_writes_nothing(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said, errors = train("--dry-run", "--epochs", "2", "--set", "optimization.micro_batch=1")
    assert code == 0, errors
    rows = {line[:11].strip(): line[11:] for line in said.splitlines()}
    assert {"model", "data", "a step", "the run", "measuring", "memory", "disk"} <= rows.keys()
    assert rows["the run"].startswith("10 steps")  # 22 photos are 5 batches of 4
    assert list(tmp_path.iterdir()) == []


def test_every_recipe_is_a_configuration_and_is_named_in_the_help():
    help_text = " ".join(clipsearch("train", "--help").text.split()).replace("- ", "-")
    for path in RECIPES.glob("*.toml"):
        assert find_config(path.stem) == path
        check_together(read_config(path), said_by=path.stem)
        assert path.stem in help_text
        assert f" {path.stem} " in path.read_text()  # the command that runs it


@pytest.mark.slow
def test_under_torchrun_the_first_process_alone_speaks_and_writes(
    tiny_model_folder, captions, tmp_path
):
    out = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [
            *(*torchrun, "--nproc-per-node", "2", "-m", "clipsearch.training"),
            *("--data", captions, "--model", tiny_model_folder, "--out", out, "--steps", "3"),
            *TINY,
        ],
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("3 of 3 steps") == 1
    assert done.stderr.count("step 1 of 3") == 1
    assert json.loads((out / "git.json").read_text())["processes"] == 2


def test_the_module_is_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "clipsearch.training", "--resume"],
        capture_output=True,
        text=True,
        env=clean_environment(),
    )
    assert done.returncode == 2
    assert done.stderr == "clipsearch: --resume needs --out with the folder of the run\n"


def report(step: int, **more: object) -> StepReport:
    facts: dict[str, object] = {
        "step": step,
        "steps": 100,
        "epoch": 0.5,
        "loss": 2.5,
        "logit_scale": 14.3,
        "learning_rate": 1e-3,
        "gradient_norm": 1.0,
        "samples_per_second": 61.04,
        "seconds_left": 75.0,
        "skipped": 0,
    }
    return StepReport(**{**facts, **more})  # type: ignore[arg-type]


def test_piped_progress_is_a_line_every_ten_seconds_and_what_was_measured():
    said: list[str] = []
    now = 0.0
    lines = _Lines(said.append, lambda: now)
    for step in range(1, 25):
        now = step
        lines.update(report(step))
    assert said == [
        f"step {step} of 100: loss 2.500, 61.0 photos/s, 75 s left" for step in (1, 11, 21)
    ]
    metrics = {"loss": 2.0, "text_to_image_R@1": 0.5, "text_to_image_R@10": 0.75}
    lines.update(report(25, validation=metrics, warning="stuck"))
    assert said[3:] == [
        "stuck",
        "step 25: on validation loss 2.000, text to image R@1 50.0 %, R@10 75.0 %",
    ]
    assert news(report(26)) == []
    (last,) = news(report(100))
    assert "choosing the weights" in last


def test_the_bar_shows_rate_loss_and_time_left(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("FORCE_COLOR", "1")
    bar = _Bar()
    bar.update(report(50, skipped=3))
    bar._progress.refresh()
    bar.stop()
    shown = capsys.readouterr().err
    assert "50/100" in shown
    assert "loss 2.500, 61.0 photos/s, 3 skipped, 75 s left" in shown
