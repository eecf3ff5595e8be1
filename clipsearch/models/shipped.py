"""The built-in model's towers, which ship as ONNX graphs, so that it never needs torch.

The graphs hold no weights: they name places in the model's one file of weights, where those lie in
half precision. `python -m clipsearch.training.builtin.graphs` writes them.
"""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from pathlib import Path

from clipsearch.errors import ModelError
from clipsearch.index.records import ModelIdentity
from clipsearch.models.files import file_sha256
from clipsearch.models.image.encoder import ImageEncoder, read_settings
from clipsearch.models.names import BUILTIN_FOLDER, ModelSource, local_weights, resolve_model
from clipsearch.models.onnx_export import put_in_place
from clipsearch.models.onnx_session import make_ready
from clipsearch.models.text.encoder import SETTINGS_NAME, TOWER_NAME, WEIGHTS_NAME, TextEncoder


def shipped_identity(source: ModelSource) -> ModelIdentity | None:
    """Return the identity of the built-in model; None for another, or with other weights."""
    return _identity() if source.folder == BUILTIN_FOLDER else None


@lru_cache(maxsize=1)
def _identity() -> ModelIdentity | None:
    try:
        identity = read_settings(BUILTIN_FOLDER).identity
        weights = file_sha256(local_weights(resolve_model("builtin")))
    except (ModelError, OSError):
        return None
    return identity if identity.weights_sha256 == weights else None


def is_shipped(fingerprint: str) -> bool:
    """Say whether a model is the built-in one as it ships."""
    identity = _identity()
    return identity is not None and identity.fingerprint == fingerprint


def image_tower_folder(fingerprint: str) -> Path | None:
    """Return where the built-in image tower lies, if that is the model."""
    return BUILTIN_FOLDER if is_shipped(fingerprint) else None


def open_shipped_image_tower(fingerprint: str) -> ImageEncoder | None:
    """Return the built-in image tower, if that is the model and the runtime can read it."""
    try:
        return ImageEncoder.open(BUILTIN_FOLDER) if is_shipped(fingerprint) else None
    except ModelError:
        return None


def open_shipped_text_tower(fingerprint: str) -> TextEncoder | None:
    """Return the built-in text tower, if that is the model; it starts slower than one written."""
    try:
        return TextEncoder.open(BUILTIN_FOLDER) if is_shipped(fingerprint) else None
    except ModelError:
        return None


def write_shipped_text_tower(fingerprint: str, folder: Path) -> bool:
    """Write the built-in text tower, with its weights in float32, as an export would.

    The folder appears whole or not at all. False if that is not the model, or it can't be read.
    Raises OSError where it can't be written.
    """
    if not is_shipped(fingerprint):
        return False
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    for leftover in folder.parent.glob(f".{folder.name}.*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        raw = BUILTIN_FOLDER / TOWER_NAME
        make_ready(raw, aside / TOWER_NAME, "text tower", WEIGHTS_NAME)
        for name in (SETTINGS_NAME, "merges.txt"):
            shutil.copyfile(BUILTIN_FOLDER / name, aside / name)
        put_in_place(aside, folder)
    except ModelError:
        return False
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return True
