"""A run's settings as TOML: read with every mistake named in one line, changed, written."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from clipsearch.errors import InvalidInput, shortened
from clipsearch.settings import absolute, expanded, from_here, given_path
from clipsearch.training.run_config import RunConfig

_MOST = float("inf")
# What each number may be, ends included; a number that may not reach its end says so by a tiny one.
_TINY = 1e-12
_LARGEST = {int: 2**31 - 1, float: 1e300}  # whatever the range: nobody counts further
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "model.image_size": (8, 4096),
    "model.unlocked_image_groups": (0, _MOST),
    "model.lora_rank": (0, 4096),
    "model.lora_alpha": (_TINY, _MOST),
    "model.initial_logit_scale": (_TINY, 1000),
    "data.held_out": (0, 0.9),
    "data.workers": (0, 512),
    "data.seed": (0, 2**32 - 1),
    "augmentation.crop_scale": (0.01, 1),
    "augmentation.crop_ratio": (0.1, 10),
    "augmentation.flip": (0, 1),
    "augmentation.color_jitter": (0, 1),
    "augmentation.grayscale": (0, 1),
    "augmentation.blur": (0, 1),
    "augmentation.erase": (0, 1),
    "objective.label_smoothing": (0, 0.9),
    "objective.max_logit_scale": (1, 1e6),
    "optimization.epochs": (_TINY, _MOST),
    "optimization.steps": (1, _MOST),
    "optimization.batch_size": (2, _MOST),
    "optimization.micro_batch": (1, _MOST),
    "optimization.learning_rate": (_TINY, 10),
    "optimization.text_learning_rate": (_TINY, 10),
    "optimization.weight_decay": (0, 10),
    "optimization.beta1": (0, 0.999999),
    "optimization.beta2": (0, 0.999999),
    "optimization.epsilon": (_TINY, 1),
    "optimization.warmup_steps": (0, _MOST),
    "optimization.max_gradient_norm": (0, _MOST),
    "optimization.layer_decay": (_TINY, 1),
    "optimization.ema": (0, 0.999999),
    "optimization.final_image_size": (8, 4096),
    "optimization.final_epochs": (_TINY, _MOST),
    "output.evaluate_every": (1, _MOST),
    "output.checkpoint_every": (1, _MOST),
    "output.log_every": (1, _MOST),
    "output.wise_ft_loss": (0, 1),
}
RECIPES = Path(__file__).parent / "recipes"
# Data: paths, patterns of paths, library:PATH; relative to where they are written down.
DATA_KEYS = ("data.train", "data.validation", "output.wise_ft_keep")


def read_config(path: Path) -> RunConfig:
    """Read a file of settings; what it leaves out has its default.

    Paths in it are taken relative to the file. Raises InvalidInput, one line with the file, the
    key and what is allowed.
    """
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except FileNotFoundError:
        raise InvalidInput(f"there is no configuration {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"can't read the configuration {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{path} is no valid TOML: {error}") from error
    folder = from_here(path).parent
    config = with_values(RunConfig(), values, said_by=str(path), folder=folder)
    check_together(config, said_by=str(path))
    return config


def find_config(name: str) -> Path:
    """Return the file of that name, or the recipe that comes with clipsearch; else InvalidInput."""
    recipes = {recipe.stem: recipe for recipe in sorted(RECIPES.glob("*.toml"))}
    if name in recipes:  # ./lit is the file of that name
        return recipes[name]
    path = expanded(name)
    if not path.is_file():
        raise InvalidInput(f"there is no file {name}; recipes are {', '.join(recipes)}")
    return path


def with_values(
    config: RunConfig, values: Mapping[str, Any], *, said_by: str, folder: Path
) -> RunConfig:
    """Return the configuration with some values replaced, nested as in TOML.

    `said_by` begins the message of every error; `folder` is what paths are relative to.
    """
    tables: dict[str, Any] = {}
    for name, value in values.items():
        if name not in _keys():
            _unknown_table(name, value, said_by)
        if isinstance(_keys()[name], Mapping):
            if not isinstance(value, Mapping):
                _fail(said_by, f"{name} is a table: write [{name}] and its settings below")
            changed = {
                key: _value(f"{name}.{key}", given, said_by, folder) for key, given in value.items()
            }
            tables[name] = replace(getattr(config, name), **changed)
        else:
            tables[name] = _value(name, value, said_by, folder)
    return replace(config, **tables)


def with_settings(config: RunConfig, settings: Iterable[str]) -> RunConfig:
    """Return the configuration with `table.key=value` settings of the command line applied.

    A value is read as TOML; what is none (a word, a path) is text. `key=` goes back to the default.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = (part.strip() for part in setting.partition("="))
        if not equals or not key:
            _fail("--set", f"write table.key=value, not {setting!r}")
        table, dot, name = key.rpartition(".")
        value = _toml_value(text) if text else _default(key)
        if dot:
            values.setdefault(table, {})[name] = value
        else:
            values[name] = value
    return with_values(config, values, said_by="--set", folder=Path())


def differences(one: RunConfig, other: RunConfig) -> list[str]:
    """Return the keys in which two configurations differ, in the order of the file."""
    first, second = _flat(one), _flat(other)
    return [key for key in first if first[key] != second[key]]


def to_toml(config: RunConfig) -> str:
    """Return the configuration as TOML, with every setting that is not None.

    Raises InvalidInput for a file whose name is not UTF-8, which TOML can't hold.
    """
    lines = ["# All settings of this run; `clipsearch train` reads them back."]
    for key, value in asdict(config).items():
        if not isinstance(value, Mapping):
            lines.append(f"{key} = {_literal(value)}")
    for table, settings in asdict(config).items():
        if isinstance(settings, Mapping):
            lines += ["", f"[{table}]"]
            kept = {key: value for key, value in settings.items() if value is not None}
            lines += [f"{key} = {_literal(value)}" for key, value in kept.items()]
    return "\n".join(lines) + "\n"


@cache
def _keys() -> dict[str, Any]:
    """Return the type of each key, a mapping of key to type for a table."""
    hints = get_type_hints(RunConfig)
    return {
        name: get_type_hints(kind) if is_dataclass(kind) else kind for name, kind in hints.items()
    }


def _flat(config: RunConfig) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in asdict(config).items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat


def _default(key: str) -> Any:
    return _flat(RunConfig()).get(key)


def _unknown_table(name: str, value: Any, said_by: str) -> NoReturn:
    if not isinstance(value, Mapping) and (table := _table_of(name)):
        _fail(said_by, f"{name} belongs into the table [{table}]")
    what = f"table [{name}]" if isinstance(value, Mapping) else f"setting {name}"
    _fail(said_by, f"there is no {what}{_nearest(name, _keys())}")


def _unknown_key(key: str, said_by: str) -> NoReturn:
    table, _, name = key.rpartition(".")
    if other := _table_of(name):
        _fail(said_by, f"there is no setting {key}; {name} belongs into the table [{other}]")
    near = _nearest(name, _keys()[table]) or f"; [{table}] takes {', '.join(_keys()[table])}"
    _fail(said_by, f"there is no setting {key}{near}")


def _table_of(name: str) -> str | None:
    tables = ((table, keys) for table, keys in _keys().items() if isinstance(keys, Mapping))
    return next((table for table, keys in tables if name in keys), None)


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _value(key: str, value: Any, said_by: str, folder: Path) -> Any:
    """Return the value as the dataclass wants it, or raise InvalidInput."""
    table, _, name = key.rpartition(".")
    kinds = _keys()[table] if table else _keys()
    if name not in kinds:
        _unknown_key(key, said_by)
    kind = kinds[name]
    if get_origin(kind) in (Union, UnionType):  # ... | None
        if value is None:
            return None
        (kind,) = (part for part in get_args(kind) if part is not type(None))
    without_label = key == "data.labels" and isinstance(value, (list, tuple)) and "" in value
    if without_label:  # the one text that may be blank
        value = [label for label in value if label != ""]
    try:
        taken = _as(kind, value, RANGES.get(key, (-_MOST, _MOST)))
    except ValueError as error:
        _fail(said_by, f"{key} must be {error}, not {_short(value)}")
    if without_label:
        return ("", *taken)
    if key in DATA_KEYS:
        return tuple(_located(spec, folder) for spec in taken)
    if key == "model.name":
        return _located_model(taken, folder)
    return taken


def _as(kind: Any, value: Any, limits: tuple[float, float]) -> Any:
    """Return the value as of this kind; raise ValueError with what is allowed."""
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if value not in choices:
            raise ValueError(" or ".join(repr(choice) for choice in choices))
        return value
    if get_origin(kind) is tuple:
        return _as_tuple(get_args(kind), value, limits)
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError("true or false")
        return value
    if kind in (int, float):
        return _as_number(kind, value, limits)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("a text in quotes")
    return value


def _as_tuple(parts: tuple[Any, ...], value: Any, limits: tuple[float, float]) -> tuple[Any, ...]:
    if parts[-1] is Ellipsis:
        values = [value] if isinstance(value, str) else value  # one needs no brackets
        try:
            if not isinstance(values, (list, tuple)):
                raise ValueError
            return tuple(_as(parts[0], one, limits) for one in values)
        except ValueError:
            raise ValueError("a list of texts in quotes") from None
    lowest, highest = limits
    wanted = f"two numbers from {lowest:g} to {highest:g}, the smaller one first"
    if not isinstance(value, (list, tuple)) or len(value) != len(parts):
        raise ValueError(wanted)
    try:
        low, high = (_as_number(float, one, limits) for one in value)
    except ValueError:
        raise ValueError(wanted) from None
    if low > high:
        raise ValueError(wanted)
    return low, high


def _as_number(kind: type, value: Any, limits: tuple[float, float]) -> float:
    lowest, highest = limits
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    whole = kind is int
    most = _LARGEST[kind] if highest == _MOST else highest
    if highest == _MOST and isinstance(value, int) and value > most:
        raise ValueError(f"at most {most:.10g}")
    if not is_number or not lowest <= value <= most or (whole and value != int(value)):
        raise ValueError(_allowed(whole, lowest, highest))
    return kind(value)  # type: ignore[no-any-return]


def _allowed(whole: bool, lowest: float, highest: float) -> str:
    number = "a whole number" if whole else "a number"
    least = "above 0" if lowest == _TINY else f"of at least {lowest:g}"
    if highest == _MOST:
        return number if lowest == -_MOST else f"{number} {least}"
    if lowest == _TINY:
        return f"{number} above 0 and at most {highest:g}"
    return f"{number} from {lowest:g} to {highest:g}"


def _located(spec: str, folder: Path) -> str:
    """Return what names data with its path made absolute."""
    scheme, colon, path = spec.partition(":")
    if colon and re.fullmatch("[a-z]{2,}", scheme):  # library:PATH; not C:\photos
        return f"{scheme}:{_absolute(path, folder)}" if path else spec
    return _absolute(spec, folder)


def _absolute(path: str, folder: Path) -> str:
    return str(absolute(folder / given_path(path)))


def _located_model(name: str, folder: Path) -> str:
    """Return a model's name; where it is a path that exists, seen from `folder`, that path."""
    path = folder / expanded(name.removeprefix("local-dir:"))
    if name.startswith(("local-dir:", ".", "~")) or (path.exists() and "/" in name):
        return str(absolute(path).resolve())
    is_model = path.is_dir() and (path / "open_clip_config.json").exists()
    return str(absolute(path)) if is_model else name


def check_together(config: RunConfig, *, said_by: str) -> None:
    """Raise InvalidInput for settings that contradict each other."""
    model, optimization = config.model, config.optimization
    trains_part = model.lora_rank or model.unlocked_image_groups
    if model.freeze_image and model.freeze_text and not trains_part:
        _fail(said_by, "model.freeze_image and model.freeze_text together leave nothing to train")
    if model.scratch and model.lora_rank:
        _fail(said_by, "model.lora_rank changes weights that are there; model.scratch has none")
    if model.scratch and config.output.wise_ft:
        _fail(said_by, "output.wise_ft mixes with the weights at the start; model.scratch has none")
    if config.output.wise_ft_keep and not config.output.wise_ft:
        _fail(said_by, "output.wise_ft_keep asks for output.wise_ft = true")
    if (optimization.micro_batch or 1) > optimization.batch_size:
        _fail(
            said_by,
            f"optimization.micro_batch ({optimization.micro_batch}) must not be larger than "
            f"optimization.batch_size ({optimization.batch_size})",
        )
    try:
        re.compile(model.lora_layers)
    except re.error as error:
        _fail(said_by, f"model.lora_layers is no regular expression: {error}")


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _literal(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_literal(one) for one in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise InvalidInput(f"{value} can't be written into a run's settings: name it in UTF-8")
        # JSON's escapes are TOML's; of the control characters JSON leaves one alone.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _short(value: Any) -> str:
    text = "false" if value is False else "true" if value is True else repr(value)
    return shortened(text, 60)


def _fail(said_by: str, what: str) -> NoReturn:
    raise InvalidInput(f"{said_by}: {what}")
