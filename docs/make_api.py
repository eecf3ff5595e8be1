"""Make docs/api.md of the docstrings: `python docs/make_api.py`; a test says when it is due."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import http_part

import clipsearch

PAGE = Path(__file__).with_name("api.md")
_HEAD = """# The Python API, and the same over HTTP

Everything that `import clipsearch` offers, made from the docstrings by `python docs/make_api.py`; \
and at the end [the HTTP API](#the-http-api), made from its OpenAPI description.
"""


def page() -> str:
    """Return the page as Markdown."""
    names = [name for name in clipsearch.__all__ if not name.startswith("_")]
    values = {name: getattr(clipsearch, name) for name in names}
    errors = [name for name, value in values.items() if _is_error(value)]
    functions = [name for name, value in values.items() if inspect.isfunction(value)]
    apart = (*errors, *functions, "Library", "filters")
    others = [name for name in names if name not in apart]
    parts = [_HEAD, *_of_class("Library", values["Library"])]
    for name in functions:
        parts += _entry("##", name, values[name])
    for name in others:
        parts += _of_class(name, values[name])
    parts += _of_filters(values["filters"])
    parts.append("## Errors\n\nAll are `ClipsearchError`s; their messages are one line.\n")
    for name in errors:
        base = values[name].__mro__[1].__name__
        parts.append(f"- `{name}({base})`: {_text(values[name]).splitlines()[0]}")
    parts.append(f"\n{http_part.part()}")
    return "\n".join(parts).rstrip() + "\n"


def _of_filters(module: Any) -> Iterator[str]:
    yield f"## filters\n\n{_text(module)}\n"
    yield "Parts combine with `&`, `|` and `~`. All raise InvalidInput for what can't be meant.\n"
    for kind in get_args(module.Filter):
        yield f"### filters.{kind.__name__}\n\n```python\n{_made(kind)}\n```\n\n{_text(kind)}\n"
    fields = ", ".join(f"`{field}`" for field in get_args(module.Field))
    yield f"Field is one of {fields}.\n"


def _made(kind: type) -> str:
    """Return how a filter is made, its fields with their types."""
    described = kind if inspect.get_annotations(kind) else kind.__base__
    given = (f"{name}: {said}" for name, said in inspect.get_annotations(described).items())
    return f"filters.{kind.__name__}({', '.join(given)})"


def _is_error(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseException)


def _of_class(name: str, value: type) -> Iterator[str]:
    yield f"## {name}\n\n{_text(value)}\n"
    if is_dataclass(value):
        yield "| field | type | usual | |\n| --- | --- | --- | --- |"
        said = _comments(value)
        yield from (_field_row(one, said.get(one.name, "")) for one in fields(value))
        yield ""
    for method, function in _members(value):
        plain = function.__func__ if isinstance(function, classmethod) else function
        if isinstance(plain, property) and _is_public(method):
            yield f"### {name}.{method}\n\n{_text(plain)}\n"
        elif inspect.isfunction(plain) and plain.__doc__ and _is_public(method):
            shown = name if method == "__init__" else f"{name}.{method}"
            yield from _entry("###", shown, plain)


def _members(value: type) -> Iterator[tuple[str, object]]:
    """Yield what a class defines, and what it takes from classes of ours that have no page."""
    yield from vars(value).items()
    for base in value.__mro__[1:]:
        if base.__module__.startswith("clipsearch.") and base.__name__ not in clipsearch.__all__:
            yield from ((name, one) for name, one in vars(base).items() if name not in vars(value))


def _is_public(method: str) -> bool:
    return method == "__init__" or not method.startswith("_")


def _comments(value: type) -> dict[str, str]:
    """Return what the source says of each field: behind it, or in the lines above."""
    said: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getsource(value).splitlines():
        if found := re.match(r"    (\w+): [^#]*(?:  # (.*))?$", line):
            said[found[1]] = found[2] or " ".join(above)
        comment = re.match(r"    # (.*)", line)
        above = [*above, comment[1]] if comment else []
    return said


def _field_row(one: object, said: str) -> str:
    from dataclasses import MISSING, Field

    assert isinstance(one, Field)
    given = one.default if one.default_factory is MISSING else one.default_factory()
    usual = "" if given is MISSING else f"`{given!r}`"
    kind, said = (text.replace("|", "\\|") for text in (str(one.type), said))
    return f"| `{one.name}` | `{kind}` | {usual} | {said} |"


def _entry(level: str, name: str, function: object) -> Iterator[str]:
    yield f"{level} {name}\n\n```python\n{name}{_signature(function)}\n```\n\n{_text(function)}\n"


def _signature(function: object) -> str:
    """Return the signature as it is written, without `self`."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    given = [one for one in signature.parameters.values() if one.name not in ("self", "cls")]
    shown = [_parameter(one) for one in given]
    named = [number for number, one in enumerate(given) if one.kind is one.KEYWORD_ONLY]
    if named:
        shown.insert(named[0], "*")
    return f"({', '.join(shown)}) -> {str(signature.return_annotation).removeprefix('builtins.')}"


def _parameter(one: inspect.Parameter) -> str:
    stars = "**" if one.kind is one.VAR_KEYWORD else ""
    usual = "" if one.default is one.empty else f" = {one.default!r}"
    return f"{stars}{one.name}: {one.annotation}{usual}"


def _text(value: object) -> str:
    """Return a docstring, its sections as lists."""
    lines = inspect.cleandoc(getattr(value, "__doc__", None) or "").splitlines()
    return "\n".join(map(_in_list, lines))


def _in_list(line: str) -> str:
    """Return a line of a docstring; of a section, as an item of a list or what goes on in one."""
    if line.startswith(" " * 8):
        return f"  {line.strip()}"
    return f"- {line.strip()}" if line.startswith(" " * 4) else line


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
