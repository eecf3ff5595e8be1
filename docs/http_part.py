"""The part of docs/api.md that speaks of HTTP, made of the OpenAPI description alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from clipsearch.serving.web.openapi import description

_HEAD = """## The HTTP API

`clipsearch serve --web` answers it at the address that it says ([serving.md](serving.md)); \
`Library.open("http://…")` is its client in Python. Made from the description in OpenAPI 3.1 that \
the server gives at `/api/openapi.json`; a test asks every example.

```sh
curl 'http://127.0.0.1:8000/api/search?q=a+dog+in:holidays&after=2021&k=5'
curl 'http://127.0.0.1:8000/api/search?k=5' -H 'Content-Type: image/jpeg' --data-binary @beach.jpg
curl http://127.0.0.1:8000/api/search -d '{"terms": [{"photo": 12}, {"text": "snow", "weight": 2}]}'
```

- Answers are JSON, errors too: `{"error": {"kind": "InvalidInput", "message": "one line"}}`, the \
kind by its name in [Errors](#errors). A parameter that there is not, or twice where it can be \
given once, is an error.
- Where the server has a token: `Authorization: Bearer TOKEN`.
- Words are never the name of a file or an address. `where` and `model` are for who has the library.
- `k` and `offset` of a question are 10,000 together; without a question any page may be asked for.
"""
_FIRST = "/api/search"
_LONGEST = 60  # characters of a text in an example


def part() -> str:
    """Return the part as Markdown."""
    said = description()
    parts = [_HEAD, "### Parameters\n", *_table(said), *_statuses(said)]
    for path, operations in said["paths"].items():
        for method, operation in operations.items():
            parts += _of_operation(method.upper(), path, operation, said)
    parts += _of_terms(said)
    return "\n".join(parts)


def _table(said: dict[str, Any]) -> Iterator[str]:
    """Yield a table of all parameters, each once; those of queries, which have the usual values."""
    yield "| name | takes | usual | |\n| --- | --- | --- | --- |"
    known: dict[str, str] = {}
    for operations in said["paths"].values():
        for operation in operations.values():
            for one in operation.get("parameters", []):
                if one["in"] == "query":
                    known.setdefault(one["name"], _row(one))
    yield from known.values()
    tree = said["components"]["schemas"]["Search"]["properties"]["filters"]
    yield f"| `filters` | object, in a body | | {tree['description']} |"
    yield (
        "\n`_` may stand for `-`. A list may be given several times in an address. Batches find 10 "
        "photos a question, and leave none out for being weak or a copy, if nothing is said.\n"
    )


def _row(one: dict[str, Any]) -> str:
    usual = one["schema"].get("default")
    shown = "" if usual is None else f"`{json.dumps(usual)}`"
    cells = (f"`{one['name']}`", _takes(one["schema"]), shown, one["description"])
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _takes(schema: dict[str, Any]) -> str:
    if schema.get("type") == "array":
        return f"list of {_takes(schema['items'])}"
    if "enum" in schema:
        return ", ".join(schema["enum"])
    least, most = schema.get("minimum"), schema.get("maximum")
    limits = "" if least is None else f", from {least}" + ("" if most is None else f" to {most}")
    kind: str = schema.get("type", "")
    return kind + limits


def _statuses(said: dict[str, Any]) -> Iterator[str]:
    """Yield what the statuses of errors mean."""
    told: dict[str, str] = {}
    for operations in said["paths"].values():
        for operation in operations.values():
            told |= {
                status: one["description"]
                for status, one in operation["responses"].items()
                if status != "200"
            }
    listed = "; ".join(f"{status}: {why}" for status, why in sorted(told.items()))
    yield f"Errors have these statuses: {listed}.\n"


def _of_operation(
    method: str, path: str, operation: dict[str, Any], said: dict[str, Any]
) -> Iterator[str]:
    yield f"### {method} {path}\n\n{operation['summary']}\n"
    named = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
    content = operation.get("requestBody", {}).get("content", {})
    is_first = (method, path) == ("GET", _FIRST)
    if named:
        where = "Parameters beside a file, in the address" if content else "Parameters"
        yield f"{where}: {_names(named, said, whole=is_first)}.\n"
    if "image/*" in content:
        yield "The body is a picture's file (`Content-Type: image/…`), or JSON with all in it.\n"
    of_json = content.get("application/json", {})
    schema = _resolved(of_json.get("schema", {}), said)
    for one in schema.get("oneOf", [schema]):
        if fields := list(one.get("properties", {})):
            yield f"JSON: {_names(fields, said)}.\n"
    for example in of_json.get("examples", {}).values():
        yield f"```json\n{json.dumps(_short(example['value']), ensure_ascii=False)}\n```\n"
    answered = operation["responses"]["200"]["content"]
    of_json = answered.get("application/json")
    kinds = ", ".join(f"`{kind}`" for kind in answered)
    yield f"Answer: {_fields(of_json['schema'], said) if of_json else kinds}.\n"


def _names(names: list[str], said: dict[str, Any], *, whole: bool = False) -> str:
    """Return names, in place of all that a search takes where these are."""
    of_search = said["paths"][_FIRST]["get"]["parameters"]
    usual = [one["name"] for one in of_search]
    lacking = [name for name in usual if name not in names]
    if whole or len(lacking) > 3:
        return ", ".join(f"`{name}`" for name in names)
    own = "".join(f"`{name}`, " for name in names if name not in usual)
    but = f" but {', '.join(f'`{name}`' for name in lacking)}" if lacking else ""
    return f"{own}those of `GET {_FIRST}`{but}"


def _fields(schema: dict[str, Any], said: dict[str, Any]) -> str:
    """Return the names in an object, those of objects in it in brackets."""
    schema = _resolved(schema, said)
    if "oneOf" in schema:
        return " or ".join(_fields(one, said) for one in schema["oneOf"])
    return ", ".join(
        f"`{name}`{_inside(one, said)}" for name, one in schema.get("properties", {}).items()
    )


def _inside(schema: dict[str, Any], said: dict[str, Any]) -> str:
    schema = _resolved(schema, said)
    items = _resolved(schema.get("items", {}), said)
    listed = items if schema.get("type") == "array" else schema
    if "properties" not in listed or len(listed["properties"]) > 5:
        return ""
    names = ", ".join(f"`{name}`" for name in listed["properties"])
    return f" (each {names})" if listed is items else f" ({names})"


def _of_terms(said: dict[str, Any]) -> Iterator[str]:
    """Yield what a term and a hit are."""
    schemas = said["components"]["schemas"]
    yield "### Terms\n\nA term of a question has one of these, and may have a `weight`:\n"
    for name, one in schemas["Term"]["properties"].items():
        why = one.get("description", "words")
        yield f"- `{name}`: {why}."
    hit = ", ".join(f"`{name}`" for name in schemas["Hit"]["properties"])
    yield (
        f"\n### Hits\n\nA hit has {hit}; as [Hit](#hit) has them, `path` for `source` and "
        "`taken_at` for `taken_text`. `path_bytes` is there if the name is not UTF-8.\n"
    )


def _resolved(schema: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return said["components"]["schemas"][name] if name else schema


def _short(value: Any) -> Any:
    """Return a value with long texts cut, as of pictures in base64."""
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{value[:20]}…"
    if isinstance(value, dict):
        return {name: _short(one) for name, one in value.items()}
    return [_short(one) for one in value] if isinstance(value, list) else value
