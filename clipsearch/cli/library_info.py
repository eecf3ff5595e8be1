"""What `clipsearch info` shows."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from clipsearch.cli.output import json_line, write_json, write_out, write_rows, write_text
from clipsearch.cli.printable import ago, printable, shown_count, size_in_words

if TYPE_CHECKING:
    from pathlib import Path

    from clipsearch.index.records import Folder, IndexInfo, ModelRow
    from clipsearch.results import LibraryInfo

_LEFT_OUT_SHOWN = 5  # of each kind, unless all is asked for


def show_info(
    library: Path | None, *, failures: bool = False, json: bool = False, verbose: bool = False
) -> None:
    """Show the library, or the files that could not be indexed."""
    from clipsearch.library import Library
    from clipsearch.serving.client import server_process, server_status

    with Library(library, read_only=True) as lib:
        about = lib.info()
    if failures and json:
        write_out(b"".join(json_line(failure.to_dict()) for failure in about.failures))
    elif failures:
        write_rows((failure.file.path, failure.reason) for failure in about.failures)
    elif json:
        page = (server_status(about.folder) or {}).get("web")
        served = {"served_by": server_process(about.folder), "page": page}
        write_json({**about.to_dict(), **served})
    else:
        _show(about, _server_line(about.folder), verbose=verbose)


def _server_line(folder: Path) -> str | None:
    """Return what there is to say of the server of a library, None where none runs."""
    from clipsearch.serving.client import server_process, server_status

    server = server_process(folder)
    if server is None:
        return None
    page = (server_status(folder) or {}).get("web")
    shows = f", and shows the page {page}" if page else ""
    return f"process {server} answers searches{shows}; `clipsearch serve --stop` ends it"


def _show(about: LibraryInfo, server: str | None, *, verbose: bool) -> None:
    lines = _lines(about, server, verbose=verbose)
    if not sys.stdout.isatty():
        write_rows(lines)
        return
    text = "\n".join(
        printable(f"{name + ':' if name else '':<10} {value}") for name, value in lines
    )
    write_text(text)


def _lines(about: LibraryInfo, server: str | None, *, verbose: bool) -> Iterator[tuple[str, str]]:
    yield "library", str(about.folder)
    yield "photos", f"{about.photos:,}"
    if about.incomplete:
        count = f"{about.incomplete:,}"
        yield "", f"of {count}, words and copies are not known yet: run `clipsearch index`"
    for number, folder in enumerate(about.folders):
        yield "" if number else "folders", f"{folder.path}, {_scanned(folder, verbose=verbose)}"
    for number, away in enumerate(about.away):
        photos = shown_count(away.photos, "photo")
        yield "" if number else "away", f"{away.path} {away.reason}: {photos} kept"
    for number, line in enumerate(_left_out(about, verbose=verbose)):
        yield "" if number else "left out", line
    more = " (listed by --failures)" if about.failures else ""
    yield "failures", f"{shown_count(len(about.failures), 'file')}{more}"
    for model in sorted(about.models, key=lambda row: not row.is_current):
        yield "model" if model.is_current else "", _model_line(model)
        if verbose:
            yield "", f"weights SHA-256 {model.identity.weights_sha256}"
    if verbose and about.model:
        yield "encoding", _encoding_line(about.model)
    if about.index:
        yield "index", _index_line(about.index)
    disk = ", ".join(f"{part} {size_in_words(size)}" for part, size in about.disk_bytes.items())
    yield "disk", f"{size_in_words(sum(about.disk_bytes.values()))}: {disk}"
    if server is not None:
        yield "server", server


def _scanned(folder: Folder, *, verbose: bool) -> str:
    if not folder.scanned_at:
        return "not yet scanned to its end"
    try:
        since = ago(datetime.fromisoformat(folder.scanned_at), datetime.now(UTC))
    except (TypeError, ValueError):  # edited by hand
        verbose = True
    return f"scanned {folder.scanned_at if verbose else since}"


def _left_out(about: LibraryInfo, *, verbose: bool) -> Iterator[str]:
    """Yield what runs leave out; behind the first of a kind, what takes it in again."""
    kinds = (
        ("path", "{}", "`clipsearch index PATH` takes it in again"),
        ("pattern", "--exclude {}", "`clipsearch index --no-exclude GLOB` takes it back"),
        ("ignore file", "what {} says", "edit it"),
    )
    for kind, form, remedy in kinds:
        there = about.excluded(kind)
        shown = there if verbose else there[:_LEFT_OUT_SHOWN]
        for number, what in enumerate(shown):
            said = shlex.quote(what) if kind == "pattern" else what
            yield form.format(said) + ("" if number else f" ({remedy})")
        if len(there) > len(shown):
            yield f"and {len(there) - len(shown):,} more (--verbose lists all)"


def _encoding_line(model: ModelRow) -> str:
    """Return where, and how precisely, photos would be encoded now."""
    from clipsearch.errors import ClipsearchError
    from clipsearch.light import need_torch
    from clipsearch.models.devices import torch_pays
    from clipsearch.models.loaded import exported_settings

    exported = exported_settings(model.identity.fingerprint)
    try:
        if exported is None:
            need_torch("encoding photos with this model")
            return f"photos go through torch, {_torch_line()}"
        most = exported.torch_pays_from
        if not torch_pays(most, most):
            return "photos go without torch, on the processor in float32"
        line = f"up to {most:,} photos go without torch, on the processor in float32; more"
        return f"{line} through torch, {_torch_line()}"
    except ClipsearchError as error:
        return str(error)


def _torch_line() -> str:
    from clipsearch.models.devices import choose_device, fast_precisions

    device = choose_device()
    return f"on {device.type} in {' or '.join((*fast_precisions(device), 'float32'))}"


def _model_line(model: ModelRow) -> str:
    identity = model.identity
    # A model from a folder has its whole configuration in place of a name.
    named = "" if identity.architecture.startswith("{") else f", {identity.architecture}"
    state = "" if model.is_current else ", not the one that queries use"
    photos = shown_count(model.photos, "photo")
    return f"{identity.name}{named}, embedding width {identity.width}, {photos}{state}"


def _index_line(index: IndexInfo) -> str:
    found = ""
    if index.recall is not None:
        found = f", finds {index.recall:.1%} of the ten nearest (--exact finds all)"
    note = f" ({index.note})" if index.note else ""
    return (
        f"{index.kind}{found}, {shown_count(index.vectors, 'vector')} in "
        f"{shown_count(index.files, 'file')}, {index.delta:,} newer, "
        f"{size_in_words(index.bytes)}{note}"
    )
