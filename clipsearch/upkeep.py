"""Checking a library, mending what can be mended, and copies of it in one file and back.

These work on a folder, not on an open `Library`: one that is damaged may not open.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clipsearch.arguments import yes_or_no
from clipsearch.errors import LibraryDamaged, MissingPackages, ModelError
from clipsearch.index.identities import keep_identity
from clipsearch.index.layout import Layout
from clipsearch.index.paths import escape, to_text
from clipsearch.index.upkeep.backup import BackupReport, RestoreReport, back_up, restore
from clipsearch.index.upkeep.checking import (
    NOTHING_TO_SAVE,
    CatalogFindings,
    CheckedPhoto,
    check_catalog,
    leftovers,
)
from clipsearch.index.upkeep.findings import EXAMPLES, Checked, Problem
from clipsearch.index.upkeep.reading import CheckedModel
from clipsearch.index.upkeep.repairing import Repairs, repair_catalog
from clipsearch.light import need_torch
from clipsearch.options import IndexProgress
from clipsearch.photos.away import away_folders, lies_below
from clipsearch.settings import absolute, library_folder

if TYPE_CHECKING:
    from clipsearch.models.text.encoder import TextEncoder

Progress = Callable[[IndexProgress], None]

_AT_ONCE = 256  # files given out to the threads together
_BLOCK = 1 << 20
_TEXTS = ("a dog on a beach", "red")
_UNIT_TOLERANCE = 0.001


@dataclass(frozen=True)
class CheckReport:
    """What a check looked at, found and, if asked, mended."""

    folder: Path
    parts: tuple[Checked, ...]  # as they are now: after the repair, if there was one
    found: tuple[Checked, ...] = ()  # as they were before the repair
    repaired: tuple[str, ...] = ()  # what was done, a line each
    lost: tuple[str, ...] = ()  # what could not be saved, a line each
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; names that are not UTF-8 are escaped as in the catalog."""
        return {
            "library": to_text(self.folder),
            "ok": self.ok,
            "parts": _escaped([asdict(part) for part in self.parts]),
            "found": _escaped([asdict(part) for part in self.found]),
            "repaired": _escaped(self.repaired),
            "lost": _escaped(self.lost),
            "seconds": round(self.seconds, 3),
        }

    @property
    def ok(self) -> bool:
        """Return whether all is well: nothing is wrong, and a repair has lost nothing."""
        return not self.lost and not any(part.problems for part in self.parts)


def check_library(
    folder: str | Path | None = None,
    *,
    files: bool = False,
    hashes: bool = False,
    repair: bool = False,
    progress: Progress | None = None,
) -> CheckReport:
    """Check everything that can go wrong with a library; it may be in use meanwhile.

    Args:
        folder: where it lies; None for CLIPSEARCH_LIBRARY or the platform's user data folder.
        files: compare the size and time of each photo's file with the catalog.
        hashes: compare the SHA-256 of each photo's file, too.
        repair: mend what can be mended without losing anything; a damaged catalog is kept.
        progress: is told how far the photo files are.

    Raises:
        LibraryNotFound: there is none.
        LibraryIncompatible: it was made by a newer clipsearch, or is none of ours.
        LibraryLocked: a repair was asked for, and another process is writing.
    """
    started = time.perf_counter()
    place = library_folder(folder)
    files, hashes = yes_or_no(files, "files"), yes_or_no(hashes, "hashes")
    repair = yes_or_no(repair, "repair")
    look = _Look(place, files or hashes, hashes, progress or (lambda _: None))
    parts = look.at_everything()
    if not repair:
        return CheckReport(place, parts, seconds=time.perf_counter() - started)
    repairs = _repaired(place, parts)
    after = look.at_everything() if repairs.done or repairs.lost else parts
    return CheckReport(
        *(place, after, parts, tuple(repairs.done), tuple(repairs.lost)),
        time.perf_counter() - started,
    )


def _repaired(folder: Path, parts: Sequence[Checked]) -> Repairs:
    if not any(part.problems for part in parts) and not leftovers(folder):
        return Repairs()
    try:
        repairs = repair_catalog(folder)
    except LibraryDamaged as error:
        if any(problem.is_final for part in parts for problem in part.problems):
            return Repairs()  # the check has said so
        return Repairs(lost=[f"nothing can be saved: {error}; {NOTHING_TO_SAVE}"])
    repairs.done.extend(_remade_text_models(folder))
    return repairs


@dataclass(frozen=True)
class _Look:
    """What is to be looked at."""

    folder: Path
    files: bool
    hashes: bool
    progress: Progress

    def at_everything(self) -> tuple[Checked, ...]:
        found = check_catalog(self.folder, photos=self.files)
        parts = [*found.parts]
        if found.models:
            parts.append(_check_text_models(self.folder, found.models))
        if self.files:
            parts.extend(self._at_files(found))
        parts.append(_check_leftovers(self.folder))
        return tuple(parts)

    def _at_files(self, found: CatalogFindings) -> Iterator[Checked]:
        away = away_folders(found.folders, found.mounts)
        here = [photo for photo in found.photos if not lies_below(photo.file.path, away)]
        notes = []
        if len(here) < len(found.photos):
            places = ", ".join(f"{path} {why}" for path, why in away.items())
            notes.append(f"{len(found.photos) - len(here)} photos are away: {places}")
        faults: dict[str, list[str]] = {}
        look = _fault_with_hash if self.hashes else _fault
        phase = "reading photo files" if self.hashes else "looking at photo files"
        for done, (photo, fault) in enumerate(_looked_at(here, look), 1):
            if fault:
                faults.setdefault(fault, []).append(str(photo.file.path))
            self.progress(IndexProgress(phase, done, len(here)))
        problems = [
            problem
            for fault, paths in sorted(faults.items())
            for problem in Problem.of(paths, fault, _remedy(fault))
        ]
        yield Checked("photo files", len(here), "file", tuple(problems), tuple(notes))


# Photo files

_MISSING = "files are missing"
_CHANGED = "files have changed since they were indexed"
_OTHER_CONTENT = "files have other content, though size and time are the same"


def _remedy(fault: str) -> str:
    if fault == _OTHER_CONTENT:
        return (
            "look at them: the disk may have damaged them; if they are as they should be, "
            "`touch` them and run `clipsearch index`"
        )
    if fault in (_MISSING, _CHANGED):
        return "`clipsearch index` brings the library up to date, or says why it can't"
    return "see to the files, and check again"


def _looked_at(
    photos: Sequence[CheckedPhoto], look: Callable[[CheckedPhoto], str | None]
) -> Iterator[tuple[CheckedPhoto, str | None]]:
    """Yield each photo and what is wrong with its file, in order; several are read at once."""
    rest = iter(photos)
    with ThreadPoolExecutor(max_workers=min(8, 2 * (os.cpu_count() or 1))) as threads:
        while some := list(islice(rest, _AT_ONCE)):
            yield from zip(some, threads.map(look, some), strict=True)


def _fault(photo: CheckedPhoto) -> str | None:
    """Return what is wrong with a photo's file as the file system shows it."""
    file = photo.file
    try:
        state = os.stat(file.path)  # noqa: PTH116 - takes any path, and is quick
    except (FileNotFoundError, NotADirectoryError):
        return _MISSING
    except (OSError, ValueError) as error:
        return _cannot_be_read(error)
    mtime_ns = max(-(2**63), min(state.st_mtime_ns, 2**63 - 1))
    return None if (state.st_size, mtime_ns) == (file.size, file.mtime_ns) else _CHANGED


def _fault_with_hash(photo: CheckedPhoto) -> str | None:
    fault = _fault(photo)
    if fault:
        return fault
    digest = hashlib.sha256()
    try:
        with photo.file.path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        return _cannot_be_read(error)
    return None if digest.hexdigest() == photo.content_hash else _OTHER_CONTENT


def _cannot_be_read(error: OSError | ValueError) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"files can't be read: {reason}"


# Text models


def _check_text_models(folder: Path, models: Sequence[CheckedModel]) -> Checked:
    faults: dict[str, list[str]] = {}
    for model in models:
        if fault := text_model_fault(folder, model):
            faults.setdefault(fault, []).append(model.name)
    problems = [
        problem
        for fault, names in faults.items()
        for problem in Problem.of(
            names,
            f"text models: {fault}",
            "`clipsearch check --repair` if the model is on this machine, else the next index run",
        )
    ]
    return Checked("text models", len(models), "model", tuple(problems))


def text_model_fault(folder: Path, model: CheckedModel) -> str | None:
    """Return what is wrong with what encodes text for a model: queries use it without torch."""
    from clipsearch.models.onnx_session import runtime_errors
    from clipsearch.models.text.encoder import TextEncoder

    place = Layout(folder).model(model.fingerprint)
    if not place.is_dir():
        return "missing"
    # NaN is a ValueError; a network that can't run is the runtime's own error
    cannot_run: tuple[type[Exception], ...] = (*runtime_errors(), ValueError)
    try:
        return _encoder_fault(TextEncoder.open(place), model)
    except ModelError:
        return "incomplete or damaged"
    except cannot_run:
        return "damaged: they give no vectors"


def _encoder_fault(encoder: TextEncoder, model: CheckedModel) -> str | None:
    if (encoder.fingerprint, encoder.settings.width) != (model.fingerprint, model.width):
        return "of another model"
    vectors = encoder.encode_text(_TEXTS)
    lengths = np.linalg.norm(vectors, axis=1)
    if vectors.shape != (len(_TEXTS), model.width) or abs(lengths - 1).max() > _UNIT_TOLERANCE:
        return "damaged: they give no unit vectors"
    return "damaged: they give every text the same vector" if _all_alike(vectors) else None


def _all_alike(vectors: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bool:
    return bool(np.array_equal(vectors[0], vectors[1]))


def _remade_text_models(folder: Path) -> Iterator[str]:
    """Make anew the text models that are damaged, where their models are on this machine."""
    from clipsearch.index.lock import writer_lock

    for model in check_catalog(folder).models:
        if text_model_fault(folder, model) is None:
            continue
        with writer_lock(Layout(folder).lock):
            try:
                _remake(folder, model)
            except (ModelError, MissingPackages):
                continue  # the next index run makes it, or says why it can't; the check says so
        yield f"made the text model of {model.name} anew"


def _remake(folder: Path, model: CheckedModel) -> None:
    """Export a model's text tower again; ModelError where its weights are not at hand."""
    from clipsearch.models import shipped, tower_cache
    from clipsearch.models.loaded import exported_settings
    from clipsearch.models.names import named_models, resolve_model

    place = Layout(folder).model(model.fingerprint)
    for ready in (shipped.write_shipped_text_tower, tower_cache.copy_text_tower):
        if ready(model.fingerprint, place):
            exported = exported_settings(model.fingerprint)
            if exported is not None:
                keep_identity(place, replace(exported.identity, name=model.name))
            return
    source = resolve_model(model.name)
    named = {known.name: known.on_machine for known in named_models()}
    if source.folder is None and not named.get(model.name, False):
        raise ModelError(f"{model.name} is not on this machine")
    need_torch(f"loading the model {model.name}")
    from clipsearch.models.encoder import load_encoder

    encoder = load_encoder(source, device="cpu", exact=True)
    if encoder.identity.fingerprint != model.fingerprint:
        raise ModelError(f"{model.name} has other weights now")
    encoder.export_text_encoder(place)
    keep_identity(place, encoder.identity)


# Leftovers


def _check_leftovers(folder: Path) -> Checked:
    found = leftovers(folder)
    notes = []
    if found:
        names = ", ".join(str(path.relative_to(folder)) for path in found[:EXAMPLES])
        more = " and more" if len(found) > EXAMPLES else ""
        notes.append(
            f"nothing uses {names}{more}: left by a run that was stopped, or still in the making; "
            "--repair removes what is left"
        )
    kept = sorted(path.name for path in folder.glob("catalog-damaged-*.sqlite"))
    if kept:
        notes.append(f"kept from a repair: {', '.join(kept)}; delete them when all is as it was")
    return Checked("leftovers", len(found), "file", notes=tuple(notes))


def backup_library(
    folder: str | Path | None, file: str | Path, *, replace: bool = False
) -> BackupReport:
    """Copy a library (None: the user's own) into one file, while it may be in use.

    The file appears whole or not at all; one that is there is replaced only if `replace`.

    Raises:
        InvalidInput: no backup can be at that place, or one is there already.
        LibraryDamaged: the library should be repaired first.
        LibraryError: there is no library, or the disk refuses.
    """
    return back_up(library_folder(folder), absolute(file), replace=yes_or_no(replace, "replace"))


def restore_library(file: str | Path, folder: str | Path | None) -> RestoreReport:
    """Make a library from a backup in a folder (None: the user's own) that is empty or missing.

    It appears whole or not at all. Photos are not embedded again; `Library.index()` brings it up
    to date with the files.

    Raises:
        InvalidInput: the file is no backup or is damaged, or the folder holds something.
        LibraryIncompatible: the backup was made by a newer clipsearch.
    """
    return restore(absolute(file), library_folder(folder))


def _escaped(value: Any) -> Any:
    """Return the value with each text as JSON can hold it."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, dict):
        return {name: _escaped(item) for name, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, (list, tuple)) else value
