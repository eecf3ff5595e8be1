"""The description of the HTTP API, OpenAPI 3.1, made of the table of operations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from clipsearch import __version__
from clipsearch.index.facets import Facets
from clipsearch.index.records import PhotoMetadata
from clipsearch.results import AwayFolder, Hit
from clipsearch.serving.web.operations import FILES, OPERATIONS, FileOperation, Operation
from clipsearch.serving.web.parameters import OPTIONS, SEARCH, VECTORS, Parameter

Json = dict[str, Any]
ERRORS = {
    "400": "what is asked can't be meant",
    "401": "the token is missing or wrong",
    "403": "this is not for whoever asks",
    "404": "there is no such photo",
    "413": "the request is too large",
    "422": "the picture can't be opened",
    "503": "too many ask, or the library can't be used now",
}
_TEXT, _WHOLE, _NUMBER, _YES = (
    {"type": kind} for kind in ("string", "integer", "number", "boolean")
)
_BASE64 = {"type": "string", "contentEncoding": "base64"}
_SHAPE: Json = {"type": "array", "items": _WHOLE}
_TYPES: dict[Any, Json] = {str: _TEXT, int: _WHOLE, float: _NUMBER, bool: _YES}


@cache
def description() -> Json:
    """Return the document, ready for JSON."""
    paths: dict[str, Json] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    paths |= {one.path: {"get": _of_file(one)} for one in FILES}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "clipsearch",
            "version": __version__,
            "summary": "Find photos by what is in them.",
            "description": "The HTTP API of `clipsearch serve --web`; docs/api.md has it in words.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def schema_of(parameter: Parameter) -> Json:
    """Return the schema of a parameter's value."""
    made: Json
    if parameter.kind == "filters":
        return {"type": "object", "description": parameter.help, "maxProperties": 1}
    if parameter.repeated:
        inside = {"enum": list(parameter.choices)} if parameter.choices else {}
        made = {"type": "array", "items": {**_TEXT, **inside}, "minItems": 1}
    else:
        kinds = {"whole": _WHOLE, "number": _NUMBER, "boolean": _YES}
        made = dict(kinds.get(parameter.kind, _TEXT))
        if parameter.choices:
            made["enum"] = list(parameter.choices)
    limits = {
        "minimum": parameter.least,
        "maximum": parameter.most,
        "default": parameter.usual or None if parameter.kind == "text" else parameter.usual,
    }
    return made | {name: value for name, value in limits.items() if value is not None}


def _operation(one: Operation) -> Json:
    made: Json = {
        "operationId": one.handler,
        "summary": one.summary,
        "responses": {"200": _answered(one.answer), **_errors(one)},
    }
    if parameters := [*_ids(one.path), *map(_parameter, one.in_address)]:
        made["parameters"] = parameters
    if one.body:
        made["requestBody"] = {"required": True, "content": _content(one)}
    if one.is_open:
        made["security"] = [{}]
    return made


def _of_file(one: FileOperation) -> Json:
    parameters = [*_ids(one.path), *map(_parameter, one.parameters)]
    told = {"401", "403", "503"} | ({"400", "404"} if parameters else set())
    answered = {"description": "the answer", "content": {kind: {} for kind in one.kinds}}
    return {
        "operationId": one.name,
        "summary": one.summary,
        "parameters": parameters,
        "responses": {
            "200": answered,
            **{status: _answered("Error", ERRORS[status]) for status in sorted(told)},
        },
    }


def _ids(path: str) -> list[Json]:
    """Return the parameters within a path."""
    return [
        {"name": name, "in": "path", "required": True, "schema": _WHOLE, "example": 1}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _parameter(one: Parameter) -> Json:
    return {
        "name": one.name,
        "in": "query",
        "description": one.help,
        "schema": schema_of(one),
        "example": one.example,
        **({"required": True} if one.required else {}),
    }


def _content(one: Operation) -> Json:
    of_json: Json = {"schema": _named(one.body)}
    if one.bodies:
        of_json["examples"] = {
            f"example {number}": {"value": body} for number, body in enumerate(one.bodies, 1)
        }
    files: Json = {"image/*": {"schema": {}}} if one.takes_file else {}
    return {"application/json": of_json, **files}


def _errors(one: Operation) -> Json:
    told = {"503"} if one.is_open else {"400", "401", "403", "503"}
    if "{" in one.path:
        told |= {"404"}
    if one.body:
        told |= {"413"} | ({"422"} if one.takes_file else set())
    return {status: _answered("Error", ERRORS[status]) for status in sorted(told)}


def _answered(schema: str, why: str = "the answer") -> Json:
    return {"description": why, "content": {"application/json": {"schema": _named(schema)}}}


def _named(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}


def _object(properties: Mapping[str, Json], *, optional: tuple[str, ...] = ()) -> Json:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _of_hint(hint: Any) -> Json:
    """Return the schema of what a field of ours may be."""
    if isinstance(hint, UnionType):
        kinds = [_of_hint(one)["type"] for one in get_args(hint) if one is not NoneType]
        return {"type": [*kinds, "null"]}
    if get_origin(hint) is tuple:
        return _list(_of_hint(get_args(hint)[0]))
    return dict(_TYPES.get(hint, _TEXT))


def _of_class(kind: type) -> dict[str, Json]:
    hints = get_type_hints(kind)
    return {one.name: _of_hint(hints[one.name]) for one in fields(kind)}


def _hit() -> dict[str, Json]:
    """Return the schemas of what `Hit.to_dict` has, and the address of a picture."""
    of_class = _of_class(Hit)
    names = {"source": "path", "taken_text": "taken_at"}
    named = {names.get(name, name): schema for name, schema in of_class.items()}
    more: Json = {"strength": {"type": ["string", "null"]}, "path_bytes": _BASE64, "thumb": _TEXT}
    return {**named, **more}


def _record() -> dict[str, Json]:
    maybe = {"type": ["string", "null"]}
    return {
        "id": _WHOLE,
        "path": _TEXT,
        "size": _WHOLE,
        "mtime_ns": _WHOLE,
        "content_hash": _TEXT,
        "indexed_at": _TEXT,
        "moment": maybe,
        "moment_from": maybe,
        **_of_class(PhotoMetadata),
    }


def _photo() -> Json:
    hit = _hit()
    without = ("rank", "score", "relevance", "strength", "why", "matched", "behind", "alike")
    kept = {name: schema for name, schema in hit.items() if name not in without}
    said = _object({"name": _TEXT, "value": _TEXT})
    more = {
        "mtime_ns": _WHOLE,
        "indexed_at": _TEXT,
        "orientation": _WHOLE,
        "folder": _TEXT,
        "words": _list(_object({"kind": _TEXT, "text": _TEXT})),
        "exif": _list(said),
        "preview": _TEXT,
        "original": _TEXT,
    }
    return _object({**kept, **more}, optional=("path_bytes",))


def _facets() -> Json:
    value = _list(_object({"value": _TEXT, "count": _WHOLE}))
    properties: dict[str, Json] = {one.name: value for one in fields(Facets)}
    properties |= {"total": _WHOLE, "undated": _WHOLE, "others": {"type": "object"}}
    properties["dates"] = _list(_object({"month": _TEXT, "count": _WHOLE}))
    properties["folders"] = _list(_object({"path": _TEXT, "name": _TEXT, "count": _WHOLE}))
    return _object(properties)


def _body(parameters: tuple[Parameter, ...], **more: Json) -> Json:
    properties = {one.name: schema_of(one) for one in parameters}
    required = [name for name in more if name != "terms"]
    made = {"type": "object", "properties": {**more, **properties}, "required": required}
    return made | {"additionalProperties": False}


def _term() -> Json:
    kinds: dict[str, Json] = {
        "text": _TEXT,
        "photo": {"type": "integer", "description": "the id of a photo of the library"},
        "picture": {**_BASE64, "description": "a picture's file"},
        "embedding": {
            "oneOf": [_list(_NUMBER), _BASE64],
            "description": "of unit length; in base64, of float32, little endian",
        },
        "url": {"type": "string", "description": "a picture on the web, where the server fetches"},
    }
    content = {**_TEXT, "description": "SHA-256 of the file of `photo`, which must not differ"}
    weight = {"type": "number", "default": 1, "description": "below 0: less of this"}
    return {
        "type": "object",
        "properties": {**kinds, "weight": weight, "content-hash": content},
        "oneOf": [{"required": [kind]} for kind in kinds],
        "additionalProperties": False,
    }


def _schemas() -> Json:
    hits = {
        "hits": _list(_named("Hit")),
        "weak": _WHOLE,
        "left_out": _list(_named("LeftOut")),
        "notes": _list(_TEXT),
    }
    understood = {"words": _TEXT, "minus": _list(_TEXT), "understood": _list(_TEXT)}
    answer = {"query": _object(understood), "total": {"type": ["integer", "null"]}, "more": _YES}
    run = _object({"phase": _TEXT, "done": _WHOLE, "total": _WHOLE, "process": _WHOLE})
    embeddings: Json = {"oneOf": [_list(_list(_NUMBER)), _BASE64]}
    indexing: Json = {"oneOf": [{"type": "null"}, run]}
    return {
        "Answer": _object({**answer, **hits, "facets": _named("Facets")}, optional=("facets",)),
        "Hit": _object(_hit(), optional=("path_bytes",)),
        "LeftOut": _object({name: _of_hint(kind) for name, kind in _of_away().items()}),
        "Answers": _object({"answers": _list(_object(hits))}),
        **_bodies(),
        "Found": _object({"scores": _BASE64, "ids": _BASE64, "shape": _SHAPE}),
        "VectorsOf": _object({"vectors": _BASE64, "shape": _SHAPE}),
        "Embeddings": _object(
            {"embeddings": embeddings, "width": _WHOLE, "shape": _SHAPE}, optional=("shape",)
        ),
        "Facets": _facets(),
        "Photo": _photo(),
        "Records": _object({"photos": _list(_object(_record()))}),
        "Library": _library(),
        "State": _object({"photos": _WHOLE, "revision": _TEXT, "indexing": indexing}),
        "Health": _object({"status": _TEXT}),
        "Error": _object({"error": _object({"kind": _TEXT, "message": _TEXT})}),
    }


def _bodies() -> dict[str, Json]:
    """Return the schemas of what is posted."""
    terms = {**_list(_named("Term")), "minItems": 1, "maxItems": 100}
    return {
        "Term": _term(),
        "Search": _body(SEARCH, terms=terms),
        "Batch": _body(OPTIONS, queries={**_list(terms), "maxItems": 256}),
        "Vectors": _body(VECTORS, vectors=_BASE64, shape=_SHAPE),
        "Ids": _body((), ids={**_list(_WHOLE), "minItems": 1, "maxItems": 10_000}),
        "Embed": {
            "oneOf": [_body((), texts=_list(_TEXT)), _body((), pictures=_list(_BASE64))],
        },
    }


def _library() -> Json:
    parts: dict[str, Json] = {
        "library": _TEXT,
        "photos": _WHOLE,
        "incomplete": _WHOLE,
        "folders": _list({"type": "object"}),
        "away": _list(_named("LeftOut")),
        "failures": _WHOLE,
        "model": {"type": ["object", "null"]},
        "models": _list({"type": "object"}),
        "index": {"type": ["object", "null"]},
        "disk_bytes": {"type": "object"},
        "left_out": {"type": "object"},
        "version": _TEXT,
        "state": _named("State"),
    }
    detailed = {"failed_files": _list({"type": "object"}), "exclusions": _list(_list(_TEXT))}
    return _object({**parts, **detailed}, optional=tuple(detailed))


def _of_away() -> dict[str, Any]:
    return get_type_hints(AwayFolder)
