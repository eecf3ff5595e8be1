"""A model's files: in a folder, in the Hugging Face cache, or on the hub."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clipsearch import consent
from clipsearch.errors import ModelError, WeightsUnavailable, one_line
from clipsearch.privacy import hub
from clipsearch.settings import cache_folder

CONFIG_NAME = "open_clip_config.json"
TOKENIZER_NAME = "tokenizer.json"
WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
HUB_WEIGHTS = (  # the names that open_clip gives weights on the hub, safe ones first
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
FOLDER_WEIGHTS = (  # in open_clip's own order; other names come after these
    *HUB_WEIGHTS,
    "open_clip_pytorch_model.pth",
    "model.safetensors",  # often the same model as transformers lays it out
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
REACH_SECONDS = 2.0
LARGEST_JSON = 16 << 20  # bytes of a configuration


def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's open_clip_config.json, or raise ModelError."""
    return read_json(folder / CONFIG_NAME)


def read_json(path: Path) -> dict[str, Any]:
    """Return a file's JSON object, or raise ModelError."""
    data = read_file(path, LARGEST_JSON)
    try:
        content = json.loads(data.decode("utf-8"))
    except ValueError as error:
        raise ModelError(f"can't read {path}: {one_line(error)}") from error
    except RecursionError as error:
        raise ModelError(f"can't read {path}: it is nested too deep") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object")
    return content


def read_file(path: Path, most: int) -> bytes:
    """Return the bytes of a model's file, or raise ModelError if it has more than `most`."""
    if regular_size(path) > most:
        raise ModelError(f"can't read {path}: larger than {most >> 20} MB")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"can't read {path}: {error.strerror or error}") from error


def regular_size(path: Path) -> int:
    """Return a file's size; ModelError for what is no file: a pipe or a device might never end."""
    try:
        state = path.stat()
    except OSError as error:
        raise ModelError(f"can't read {path}: {error.strerror or error}") from error
    if not stat.S_ISREG(state.st_mode):
        raise ModelError(f"can't read {path}: not a regular file")
    return state.st_size


def weights_in_folder(folder: Path) -> Path | None:
    """Return the weights file that a model folder is loaded from, as open_clip chooses it."""
    if not folder.is_dir():
        return None
    found = [path for path in folder.iterdir() if path.suffix in WEIGHTS_SUFFIXES]
    found = sorted(path for path in found if path.is_file())
    return min(found, key=_preference, default=None)


def _preference(path: Path) -> tuple[int, int, str]:
    known = path.name in FOLDER_WEIGHTS
    place = FOLDER_WEIGHTS.index(path.name) if known else len(FOLDER_WEIGHTS)
    return place, WEIGHTS_SUFFIXES.index(path.suffix), path.name


def hub_weights_names(file_name: str = "") -> tuple[str, ...]:
    """Return the names to try for a repository's weights, safetensors first."""
    if not file_name:
        return HUB_WEIGHTS
    return (str(Path(file_name).with_suffix(".safetensors")), file_name)


def cached_weights(repository: str, file_name: str = "") -> Path | None:
    """Return a hub model's weights if the Hugging Face cache holds them."""
    for name in hub_weights_names(file_name):
        if path := cached_file(repository, name):
            return path
    return None


def cached_file(repository: str, name: str) -> Path | None:
    """Return a hub file from the cache; the layout is read directly, without the hub's client."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    try:
        revision = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    path = folder / "snapshots" / revision / name
    return path if path.is_file() else None


def is_current_snapshot(path: Path) -> bool:
    """Say whether a file of the hub's cache is of the revision that a name stands for now."""
    snapshot = path.parent
    try:
        revision = (snapshot.parents[1] / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, IndexError):
        return False
    return snapshot.name == revision and path.is_file()


def fetch_file(repository: str, *names: str) -> Path:
    """Return the first of the named files that a hub repository has, fetching it if need be.

    A cached file is used without asking the network. Raises WeightsUnavailable in one line.
    """
    for name in names:
        if path := cached_file(repository, name):
            return path
    if not hub_is_reachable():
        why = "HF_HUB_OFFLINE is set" if is_offline() else "the network is out of reach"
        raise WeightsUnavailable(f"{repository} is not on this machine and {why}")
    return _download(repository, names)


def _download(repository: str, names: tuple[str, ...]) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    if constants.HF_HUB_CACHE.startswith("~"):  # it would make a folder of that name here
        raise WeightsUnavailable(f"{repository} can't be kept: no home folder; set HF_HOME")
    # the bases are the errors of the client's HTTP library, whichever it is in this version
    transfer_errors: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, OSError)
    transfer_errors += (ValueError, RuntimeError)
    for name in names:
        try:
            _ask_for(repository, name)
            return Path(hub().hf_hub_download(repository, name))
        except LocalEntryNotFoundError as error:  # no answer; also a kind of EntryNotFoundError
            raise WeightsUnavailable(f"{name} of {repository} can't be reached") from error
        except GatedRepoError as error:
            raise WeightsUnavailable(
                f"{repository} asks for consent on its page and a login (hf auth login)"
            ) from error
        except RepositoryNotFoundError as error:
            raise WeightsUnavailable(f"the hub has no public repository {repository}") from error
        except EntryNotFoundError:
            continue
        except transfer_errors as error:
            raise WeightsUnavailable(
                f"{name} of {repository} can't be fetched: {one_line(error)}"
            ) from error
    raise WeightsUnavailable(f"{repository} has none of {', '.join(names)}")


def _ask_for(repository: str, name: str) -> None:
    """Ask before weights are fetched, where somebody can be asked; WeightsUnavailable for a no."""
    if consent.ask is None or Path(name).suffix not in WEIGHTS_SUFFIXES:
        return
    client = hub()
    size = client.get_hf_file_metadata(client.hf_hub_url(repository, name)).size or 0
    if size >= consent.MUCH and not consent.ask(repository, size):
        raise WeightsUnavailable(f"{repository} was not fetched; --model builtin needs nothing")


def is_offline() -> bool:
    """Say whether HF_HUB_OFFLINE forbids the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def hub_is_reachable() -> bool:
    """Say within a few seconds whether the hub (or the proxy before it) answers."""
    if is_offline():
        return False
    from huggingface_hub import constants

    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    address = urlsplit(proxy or constants.ENDPOINT)
    host, port = address.hostname, address.port or (443 if address.scheme == "https" else 80)
    answers: list[bool] = []
    # in a thread, because a broken name server can hold the look-up far beyond any timeout
    caller = threading.Thread(target=lambda: answers.append(_connects(host, port)), daemon=True)
    caller.start()
    caller.join(REACH_SECONDS + 0.5)
    return any(answers)


def _connects(host: str | None, port: int) -> bool:
    import socket

    try:
        with socket.create_connection((host, port), timeout=REACH_SECONDS):
            return True
    except OSError:
        return False


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256, remembered in the user's cache by path, size and mtime."""
    state = path.stat()
    key = f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}"
    remembered = _remembered_hashes()
    if key not in remembered:
        remembered[key] = _hash(path)
        _remember(remembered)
    return remembered[key]


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _hash_file() -> Path | None:
    folder = cache_folder()
    return folder / "weights_sha256.json" if folder is not None else None


def _remembered_hashes() -> dict[str, str]:
    path = _hash_file()
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(hashes: dict[str, str]) -> None:
    path = _hash_file()
    if path is None:
        return
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(hashes, indent=1), encoding="utf-8")
        aside.replace(path)
    except OSError:
        return  # a cache that can't be written costs a hash next time, nothing else
