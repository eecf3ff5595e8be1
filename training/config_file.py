"""A run's settings as TOML: read with every mistake named in one line, changed, written."""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from clipsearch.errors import InvalidInput, shortened
from clipsearch.near_names import did_you_mean, near_name
from clipsearch.settings import absolute, expanded, from_here, given_path
from clipsearch.training.run_config import ABOVE_0, Range, RunConfig

_ANY = Range(-math.inf)
_LARGEST = {int: 2**31 - 1, float: 1e300}  # where a range has no end: nobody counts further
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
        near = did_you_mean(near_name(name, recipes))
        raise InvalidInput(f"there is no file {name}{near or ';'} recipes are {', '.join(recipes)}")
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
    hints = _hints(RunConfig)
    return {name: _hints(kind) if is_dataclass(kind) else kind for name, kind in hints.items()}


def _hints(table: Any) -> dict[str, Any]:
    return get_type_hints(table, include_extras=True)


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
    without_label = key == "data.labels" and isinstance(value, (list, tuple)) and "" in value
    if without_label:  # the one text that may be blank
        value = [label for label in value if label != ""]
    try:
        taken = _as(kinds[name], value)
    except ValueError as error:
        _fail(said_by, f"{key} must be {error}, not {_short(value)}")
    if without_label:
        return ("", *taken)
    if key in DATA_KEYS:
        return tuple(_located(spec, folder) for spec in taken)
    if key == "model.name":
        return _located_model(taken, folder)
    return taken


def _as(kind: Any, value: Any, allowed: Range = _ANY) -> Any:
    """Return the value as of this kind; raise ValueError with what is allowed."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _as(parts[0], value, parts[1])
    if origin in (Union, UnionType):  # ... | None
        return None if value is None else _as(parts[0], value)
    if origin is Literal:
        if value not in parts:
            raise ValueError(" or ".join(repr(choice) for choice in parts))
        return value
    if origin is tuple:
        return _as_texts(value) if parts[-1] is Ellipsis else _as_pair(value, allowed)
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError("true or false")
        return value
    if kind in (int, float):
        return _as_number(kind, value, allowed)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("a text in quotes")
    return value


def _as_texts(value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value  # one needs no brackets
    try:
        if not isinstance(values, (list, tuple)):
            raise ValueError
        return tuple(_as(str, one) for one in values)
    except ValueError:
        raise ValueError("a list of texts in quotes") from None


def _as_pair(value: Any, allowed: Range) -> tuple[float, float]:
    with suppress(ValueError):
        if isinstance(value, (list, tuple)) and len(value) == 2:
            low, high = (_as_number(float, one, allowed) for one in value)
            if low <= high:
                return low, high
    least, most = allowed
    raise ValueError(f"two numbers from {least:g} to {most:g}, the smaller one first")


def _as_number(kind: type, value: Any, allowed: Range) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    whole = kind is int
    endless = allowed.most == math.inf
    most = _LARGEST[kind] if endless else allowed.most
    if endless and isinstance(value, int) and value > most:
        raise ValueError(f"at most {most:.10g}")
    if not is_number or not allowed.least <= value <= most or (whole and value != int(value)):
        raise ValueError(f"a {'whole ' if whole else ''}number{_in_words(allowed)}")
    return kind(value)  # type: ignore[no-any-return]


def _in_words(allowed: Range) -> str:
    least, most = allowed
    if least == ABOVE_0:
        return " above 0" if most == math.inf else f" above 0 and at most {most:g}"
    return f" of at least {least:g}" if most == math.inf else f" from {least:g} to {most:g}"


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
