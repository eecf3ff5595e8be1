"""The values of a library out of what its server writes."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.filters import EVERYTHING
from clipsearch.index.filters import to_json as filters_to_json
from clipsearch.index.paths import to_path, unescape
from clipsearch.index.records import (
    Exclusion,
    Failure,
    FileState,
    Folder,
    IndexInfo,
    ModelIdentity,
    ModelRow,
    PhotoMetadata,
    PhotoRecord,
    Word,
)
from clipsearch.options import SearchOptions
from clipsearch.results import AwayFolder, Hit, Hits, LibraryInfo

_SAID = [one.name for one in fields(PhotoMetadata)]
_HIT = {"source": "path", "taken_text": "taken_at"}  # as JSON names the fields of a hit


def hits(given: Mapping[str, Any]) -> Hits:
    """Return the hits of an answer."""
    return Hits(
        map(_hit, given["hits"]),
        [AwayFolder(**{**one, "path": to_path(one["path"])}) for one in given["left_out"]],
        weak=given["weak"],
        notes=given["notes"],
    )


def _hit(given: Mapping[str, Any]) -> Hit:
    return Hit.from_fields({one.name: given[_HIT.get(one.name, one.name)] for one in fields(Hit)})


def record(given: Mapping[str, Any]) -> PhotoRecord:
    """Return what the catalog says of a photo."""
    return PhotoRecord(
        id=given["id"],
        file=FileState(to_path(given["path"]), given["size"], given["mtime_ns"]),
        content_hash=given["content_hash"],
        metadata=PhotoMetadata(**{name: given[name] for name in _SAID}),
        indexed_at=given["indexed_at"],
        moment=given["moment"],
        moment_from=given["moment_from"],
    )


def words(given: Sequence[Mapping[str, Any]]) -> tuple[Word, ...]:
    """Return the words of a photo."""
    return tuple(Word(one["kind"], one["text"]) for one in given)


def info(given: Mapping[str, Any]) -> LibraryInfo:
    """Return the state of a library; `detailed` must have been asked for."""
    models = tuple(map(_model, given["models"]))
    return LibraryInfo(
        folder=to_path(given["library"]),
        folders=tuple(Folder(**{**one, "path": to_path(one["path"])}) for one in given["folders"]),
        exclusions=tuple(Exclusion(kind, unescape(what)) for kind, what in given["exclusions"]),
        away=tuple(AwayFolder(**{**one, "path": to_path(one["path"])}) for one in given["away"]),
        photos=given["photos"],
        incomplete=given["incomplete"],
        failures=tuple(map(_failure, given["failed_files"])),
        model=next((one for one in models if one.is_current), None),
        models=models,
        index=_index(given["index"]),
        disk_bytes=dict(given["disk_bytes"]),
    )


def _model(given: Mapping[str, Any]) -> ModelRow:
    return ModelRow(**{**given, "identity": ModelIdentity(**given["identity"])})


def _failure(given: Mapping[str, Any]) -> Failure:
    file = FileState(to_path(given["path"]), given["size"], given["mtime_ns"])
    return Failure(file, given["reason"], given["failed_at"])


def _index(given: Mapping[str, Any] | None) -> IndexInfo | None:
    if given is None:
        return None
    values = {one.name: given[one.name] for one in fields(IndexInfo)}
    path = values.pop("path")
    return IndexInfo(**values, path=to_path(path) if path else None)


def options(asked: SearchOptions) -> dict[str, Any]:
    """Return options as a body has them, all that count by name; `model` and `where` are none."""
    named = {
        one.name.replace("_", "-"): getattr(asked, one.name)
        for one in fields(asked)
        if one.name not in ("filters", "model", "where")
    }
    if asked.filters != EVERYTHING:
        named["filters"] = filters_to_json(asked.filters)
    return {name: value for name, value in named.items() if value is not None}


def array(given: Mapping[str, Any], name: str, kind: str) -> NDArray[Any]:
    """Return an array (n, m) that is written in base64; ValueError for what is none."""
    data = np.frombuffer(b64decode(given[name], validate=True), kind)
    rows, width = given["shape"]
    return data.reshape(rows, width).astype(kind[1:])


def text_of(data: bytes) -> str:
    """Return bytes as base64."""
    return b64encode(data).decode("ascii")
