"""What was exported of models that need torch, kept for every library of this user.

    CACHE/towers/FINGERPRINT/image/     an image tower, as `ImageEncoder.open` reads it
                             text/      a text tower, as `TextEncoder.open` reads it
                             source.json  which files the model was loaded from

Only this user can enter the folder, and each tower has its digests beside it, which are compared
when it is opened: of a file that was written to since the last time, which its change time tells,
for hashing a large tower takes longer than a query. All of it can be made anew: where it can't be
kept, that costs time alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clipsearch.errors import ModelError
from clipsearch.index.identities import FILE as IDENTITY_NAME
from clipsearch.index.records import ModelIdentity
from clipsearch.machine import is_private
from clipsearch.models import files
from clipsearch.models.image.encoder import ImageEncoder, read_settings
from clipsearch.models.names import ModelSource
from clipsearch.models.onnx_export import put_in_place
from clipsearch.models.text.encoder import TextEncoder
from clipsearch.settings import cache_folder

IMAGE, TEXT = "image", "text"
MOST_BYTES = 8 << 30  # of all towers; those not used for longest make room
SOURCE_NAME = "source.json"
DIGESTS_NAME = "sha256.json"
SEEN_NAME = "compared.json"  # in which state the files were when their digests were compared


@dataclass(frozen=True)
class CachedTowers:
    """The towers of one model in the cache."""

    model: str  # its name, as the user asked for it
    fingerprint: str
    folder: Path
    bytes: int


def towers_folder(*, make: bool = False) -> Path | None:
    """Return the folder of all towers; None where there is none that is this user's alone."""
    cache = cache_folder()
    if cache is None:
        return None
    folder = cache / "towers"
    if make:
        with suppress(OSError):
            cache.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
    return folder if is_private(os.fspath(folder)) else None


def image_tower_folder(fingerprint: str) -> Path | None:
    """Return where the image tower of a model lies, if the cache has it whole."""
    return _whole(fingerprint, IMAGE)


def open_image_tower(fingerprint: str) -> ImageEncoder | None:
    """Return the image tower of a model, if the cache has it whole."""
    folder = _whole(fingerprint, IMAGE)
    if folder is None:
        return None
    try:
        encoder = ImageEncoder.open(folder)
    except ModelError:  # written for another version of the runtime, say
        return None
    with suppress(OSError):
        os.utime(folder.parent)  # used just now
    return encoder if encoder.identity.fingerprint == fingerprint else None


def holds(fingerprint: str, kind: str) -> bool:
    """Say whether the cache has the image or the text tower of a model, whole."""
    return _whole(fingerprint, kind) is not None


def keep(fingerprint: str, kind: str, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder, and keep it as the image or text tower of a model.

    Where it can't be written, nothing is kept. Raises what else `write` raises.
    """
    folder = towers_folder(make=True)
    if folder is None:
        return
    entry = folder / fingerprint
    aside = entry / f".{kind}.{os.getpid()}"
    try:
        entry.mkdir(mode=0o700, exist_ok=True)
        for leftover in entry.glob(f".{kind}.*"):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        write(aside)
        digests = {file.name: _sha256(file) for file in sorted(aside.iterdir())}
        (aside / DIGESTS_NAME).write_text(json.dumps(digests, indent=1), encoding="utf-8")
        put_in_place(aside, entry / kind)
        _make_room(entry)
    except OSError:
        pass
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):  # it holds something, or was never made
            entry.rmdir()


def _make_room(newest: Path) -> None:
    """Remove what was not used for longest, but not the newest, while all is too much."""
    held = sorted(cached_towers(), key=lambda towers: towers.folder.stat().st_mtime)
    total = sum(towers.bytes for towers in held)
    for towers in held:
        if total <= MOST_BYTES:
            break
        if towers.folder != newest:
            shutil.rmtree(towers.folder, ignore_errors=True)
            total -= towers.bytes


def open_text_tower(fingerprint: str) -> TextEncoder | None:
    """Return the text tower of a model, if the cache has it whole."""
    folder = _whole(fingerprint, TEXT)
    if folder is None:
        return None
    try:
        return TextEncoder.open(folder)
    except ModelError:
        return None


def keep_text_tower(fingerprint: str, folder: Path) -> None:
    """Keep a copy of a text tower that was exported to a folder, beside the model's image tower."""
    if holds(fingerprint, IMAGE):
        keep(fingerprint, TEXT, lambda aside: _copy(folder, aside))


def _copy(folder: Path, aside: Path) -> None:
    """Copy the files of a tower alone; unlike `copytree`, which goes on, the first error ends it.

    Raises OSError that says what the system does, such as a full disk.
    """
    aside.mkdir(parents=True)
    for file in sorted(folder.iterdir()):
        if file.name not in (IDENTITY_NAME, DIGESTS_NAME, SEEN_NAME):
            shutil.copyfile(file, aside / file.name)


def copy_text_tower(fingerprint: str, folder: Path) -> bool:
    """Copy a model's text tower to a folder that appears whole; False if the cache has none.

    Raises OSError where it can't be written.
    """
    kept = _whole(fingerprint, TEXT)
    if kept is None:
        return False
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    for leftover in folder.parent.glob(f".{folder.name}.*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        _copy(kept, aside)
        put_in_place(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return True


def _whole(fingerprint: str, kind: str) -> Path | None:
    """Return the folder of a tower if all of it is as it was written."""
    folder = towers_folder()
    if folder is None:
        return None
    folder = folder / fingerprint / kind
    try:
        digests = json.loads((folder / DIGESTS_NAME).read_text(encoding="utf-8"))
        there = {file.name for file in folder.iterdir()} - {SEEN_NAME}
        if there != {*digests, DIGESTS_NAME}:
            return None
        return folder if _unchanged_since_written(folder, digests) else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _unchanged_since_written(folder: Path, digests: dict[str, str]) -> bool:
    """Compare the digests of the files that changed since they were compared last."""
    states = {name: _state(folder / name) for name in digests}
    seen: object = None
    with suppress(OSError, ValueError):
        seen = json.loads((folder / SEEN_NAME).read_text(encoding="utf-8"))
    compared = seen.get("states", {}) if isinstance(seen, dict) else {}
    if isinstance(seen, dict) and seen.get("digests") != digests:
        compared = {}
    for name, digest in digests.items():
        if compared.get(name) != states[name] and _sha256(folder / name) != digest:
            return False
    if compared != states:
        aside = folder.with_name(f".{SEEN_NAME}.{os.getpid()}")
        with suppress(OSError):
            aside.write_text(json.dumps({"digests": digests, "states": states}), encoding="utf-8")
            aside.replace(folder / SEEN_NAME)
    return True


def _state(path: Path) -> list[int]:
    """Return what differs once anything was written to a file, even with its old time set back."""
    state = path.stat()
    return [state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Which model a name stands for, told from its files alone


def remember_source(identity: ModelIdentity, source: ModelSource, read: Sequence[Path]) -> None:
    """Note from which files a model was loaded, so that it is known again without torch."""
    folder = towers_folder()
    if folder is None or not (folder / identity.fingerprint / IMAGE).is_dir():
        return
    digests = {os.fspath(path): files.file_sha256(path) for path in read}
    content = {"name": source.name, "open_clip": _open_clip_version(), "files": digests}
    path = folder / identity.fingerprint / SOURCE_NAME
    aside = path.with_name(f".{SOURCE_NAME}.{os.getpid()}")
    with suppress(OSError):
        aside.write_text(json.dumps(content, indent=1), encoding="utf-8")
        aside.replace(path)


def find(source: ModelSource) -> ModelIdentity | None:
    """Return the identity of the model that a name stands for, if the cache has its towers.

    That is so while every file that it was loaded from is there and the same.
    """
    for entry in _entries():
        content = _read_source(entry)
        if content.get("name") == source.name and _unchanged(source, content):
            with suppress(ModelError):
                identity = read_settings(entry / IMAGE).identity
                if identity.fingerprint == entry.name:
                    return ModelIdentity(
                        source.name,
                        identity.architecture,
                        identity.weights_sha256,
                        identity.preprocessing,
                        identity.width,
                    )
    return None


def _read_source(entry: Path) -> dict[str, object]:
    try:
        content = json.loads((entry / SOURCE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _unchanged(source: ModelSource, content: dict[str, object]) -> bool:
    recorded = content.get("files")
    version = _open_clip_version()
    if (version and content.get("open_clip") != version) or not isinstance(recorded, dict):
        return False
    if source.folder is not None:
        weights = files.weights_in_folder(source.folder)
        if weights is None or os.fspath(weights) not in recorded:
            return False
    elif not all(files.is_current_snapshot(Path(name)) for name in recorded):
        return False
    try:
        return all(files.file_sha256(Path(name)) == digest for name, digest in recorded.items())
    except OSError:
        return False


def _open_clip_version() -> str:
    """Return the version of open_clip, whose architectures a name may mean; "" without it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("open_clip_torch")
    except PackageNotFoundError:
        return ""


# What `clipsearch models` shows and empties


def cached_towers() -> list[CachedTowers]:
    """Return what the cache holds, by model."""
    found = []
    for entry in _entries():
        size = sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())
        name = str(_read_source(entry).get("name") or "unknown")
        found.append(CachedTowers(name, entry.name, entry, size))
    return sorted(found, key=lambda towers: (towers.model, towers.fingerprint))


def empty() -> int:
    """Remove all towers; return how many bytes that were."""
    freed = 0
    for towers in cached_towers():
        shutil.rmtree(towers.folder, ignore_errors=True)
        freed += towers.bytes
    return freed


def _entries() -> Iterator[Path]:
    folder = towers_folder()
    if folder is not None:
        with suppress(OSError):
            yield from sorted(entry for entry in folder.iterdir() if entry.is_dir())
