"""The file of a run's settings: what it takes, what it refuses and in which words."""

from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest

from clipsearch.errors import InvalidInput
from clipsearch.training.config_file import (
    differences,
    read_config,
    to_toml,
    with_settings,
)
from clipsearch.training.run_config import Range, RunConfig


def read(folder: Path, text: str) -> RunConfig:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def test_an_empty_file_is_all_defaults(tmp_path):
    assert read(tmp_path, "") == RunConfig()


def test_settings_are_taken_and_the_rest_has_its_default(tmp_path):
    config = read(
        tmp_path,
        "seed = 3\n[optimization]\nlearning_rate = 1\nsteps = 20\n"
        "[augmentation]\ncrop_scale = [0.5, 1]\n[objective]\nloss = 'sigmoid'\n",
    )
    assert config.seed == 3
    assert config.optimization == replace(RunConfig().optimization, learning_rate=1.0, steps=20)
    assert isinstance(config.optimization.learning_rate, float)
    assert config.augmentation.crop_scale == (0.5, 1.0)
    assert config.objective.loss == "sigmoid"
    assert config.model == RunConfig().model


def test_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    config = read(
        tmp_path,
        "[data]\ntrain = ['photos', '../more/{0..3}.tar', '/elsewhere']\n"
        "validation = 'library:my library'\n[model]\nname = './start'\n",
    )
    assert config.data.train == (
        str(tmp_path / "photos"),
        str(tmp_path.parent / "more" / "{0..3}.tar"),
        str(Path("/elsewhere").absolute()),
    )
    assert config.data.validation == (f"library:{tmp_path / 'my library'}",)
    assert config.model.name == str(tmp_path / "start")
    assert read(tmp_path, "[model]\nname = 'ViT-B-32/openai'").model.name == "ViT-B-32/openai"


MISTAKES = {
    "[optimisation]\nsteps = 3": "there is no table [optimisation]; did you mean optimization?",
    "[optimization]\nlearningrate = 3": "did you mean learning_rate?",
    "[model]\nbatch_size = 3": "batch_size belongs into the table [optimization]",
    "batch_size = 3": "batch_size belongs into the table [optimization]",
    "speed = 3": "there is no setting speed; did you mean seed?",
    "model = 'builtin'": "model is a table: write [model]",
    "[optimization]\nbatch_size = 1": "batch_size must be a whole number of at least 2, not 1",
    "[optimization]\nbatch_size = 2.5": "whole number of at least 2, not 2.5",
    "[optimization]\nbatch_size = true": "whole number of at least 2, not true",
    "[optimization]\nbatch_size = '64'": "whole number of at least 2, not '64'",
    "[optimization]\nlearning_rate = nan": "a number above 0 and at most 10, not nan",
    "[optimization]\nlearning_rate = 0": "a number above 0 and at most 10, not 0",
    "[optimization]\nepochs = 0": "a number above 0, not 0",
    "[optimization]\nweight_decay = -0.1": "a number from 0 to 10, not -0.1",
    "[optimization]\nprecision = 'fp8'": "'fp32' or 'bf16' or 'fp16', not 'fp8'",
    "[augmentation]\ncrop_scale = [1, 0.5]": "two numbers from 0.01 to 1, the smaller one first",
    "[augmentation]\ncrop_scale = 0.5": "two numbers from 0.01 to 1",
    "[data]\ntrain = [3]": "data.train must be a list of texts in quotes, not [3]",
    "[data]\ntrain = ['']": "a list of texts",
    "[model]\nname = ''": "model.name must be a text in quotes, not ''",
    "[model]\nscratch = 'yes'": "true or false, not 'yes'",
    "[model]\nlora_layers = '('": "no regular expression",
    "[model]\nfreeze_image = true\nfreeze_text = true": "leave nothing to train",
    "[model]\nscratch = true\n[output]\nwise_ft = true": "output.wise_ft mixes with the weights",
    "[output]\nwise_ft_keep = 'x.tar'": "asks for output.wise_ft = true",
    "[optimization]\nbatch_size = 8\nmicro_batch = 16": "must not be larger than",
    "[optimization\n": "is no valid TOML",
    "[model]\nname = 'a'\nname = 'b'": "is no valid TOML",
}


@pytest.mark.parametrize(("text", "complaint"), MISTAKES.items())
def test_a_mistake_is_one_line_with_the_file_and_what_is_allowed(tmp_path, text, complaint):
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert complaint in message
    assert str(tmp_path / "run.toml") in message
    assert "\n" not in message


def test_a_file_that_is_absent_or_no_text_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="there is no configuration"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="can't read the configuration"):
        read_config(tmp_path / "bytes.toml")
    with pytest.raises(InvalidInput, match="can't read the configuration"):
        read_config(tmp_path)


def range_of(kind: object) -> Range | None:
    """Return the range of a number's type, also where it may be None."""
    if get_origin(kind) is Annotated:
        return get_args(kind)[1]
    return next(filter(None, map(range_of, get_args(kind))), None)


def other_value(value: object, kind: object) -> object:
    """Return a value that is allowed and not the default."""
    low, high = range_of(kind) or (0, 1)
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        choices = [choice for choice in get_args(kind) if choice != value]
        return choices[0] if choices else "attention"
    if isinstance(value, tuple):
        strange = 'a "b" \\ \t é 🐈 \x7f'
        return (low, (low + high) / 2) if value and isinstance(value[0], float) else (strange, "b")
    number = low + (min(high, low + 12) - low) / 4
    return int(number) if value is None or isinstance(value, int) else number


def keys() -> list[str]:
    flat = []
    for name, value in asdict(RunConfig()).items():
        flat += [f"{name}.{key}" for key in value] if isinstance(value, dict) else [name]
    return flat


def test_every_setting_comes_back_from_toml(tmp_path):
    config = RunConfig()
    for table, kind in get_type_hints(RunConfig, include_extras=True).items():
        value = getattr(config, table)
        if not is_dataclass(kind):
            config = replace(config, **{table: other_value(value, kind)})
            continue
        hints = get_type_hints(kind, include_extras=True)
        changed = {name: other_value(old, hints[name]) for name, old in asdict(value).items()}
        config = replace(config, **{table: kind(**changed)})
    assert set(differences(config, RunConfig())) == set(keys())
    # What contradicts itself can't be read back, so one of each pair goes.
    config = replace(
        config,
        model=replace(config.model, scratch=False, freeze_text=False, name=str(tmp_path)),
        optimization=replace(config.optimization, micro_batch=2, batch_size=4),
        data=replace(config.data, train=(str(tmp_path / "a"),), validation=()),
        output=replace(config.output, wise_ft_keep=(str(tmp_path / 'b "c" \x7f 🐈'),)),
    )
    assert read(tmp_path, to_toml(config)) == config
    assert read(tmp_path, to_toml(RunConfig())) == RunConfig()


def test_every_number_has_a_range_that_holds_its_default():
    for table, kind in get_type_hints(RunConfig, include_extras=True).items():
        names = [field.name for field in fields(kind)] if is_dataclass(kind) else [""]
        for name in names:
            key = f"{table}.{name}".rstrip(".")
            value = getattr(RunConfig(), table)
            value = getattr(value, name) if name else value
            hint = get_type_hints(kind, include_extras=True)[name] if name else kind
            if "int" in str(hint) or "float" in str(hint):
                allowed = range_of(hint)
                assert allowed, key
                low, high = allowed
                for number in value if isinstance(value, tuple) else (value,):
                    assert number is None or low <= number <= high, key


def test_settings_of_the_command_line_win(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = read(tmp_path, "[optimization]\nsteps = 20\nbatch_size = 8\n")
    changed = with_settings(
        config,
        [
            "optimization.batch_size=16",
            "optimization.steps=",
            "data.train=photos",
            "model.name=ViT-B-32/openai",
            "output.wise_ft=true",
            "augmentation.crop_scale=[0.4, 1.0]",
            "seed=7",
        ],
    )
    assert (changed.optimization.batch_size, changed.optimization.steps) == (16, None)
    assert changed.data.train == (str(tmp_path / "photos"),)
    assert changed.model.name == "ViT-B-32/openai"
    assert changed.output.wise_ft
    assert changed.augmentation.crop_scale == (0.4, 1.0)
    assert differences(config, changed) == [
        "model.name",
        "data.train",
        "augmentation.crop_scale",
        "optimization.steps",
        "optimization.batch_size",
        "output.wise_ft",
        "seed",
    ]


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("steps", "--set: write table.key=value, not 'steps'"),
        ("optimization.step=3", "did you mean steps?"),
        ("optimization.steps=many", "a whole number of at least 1, not 'many'"),
        ("a.b.c=3", "there is no table [a.b]"),
    ],
)
def test_a_wrong_setting_of_the_command_line_is_named(setting, complaint):
    with pytest.raises(InvalidInput) as caught:
        with_settings(RunConfig(), [setting])
    assert complaint in str(caught.value)
