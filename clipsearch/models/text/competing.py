"""The competing words of a model: names of a thousand things as its unit vectors, in one file.

A photo is judged by a question (searching/relevance.py) against words that might describe it as
well. They are embedded once for each model, when photos are indexed, never for a query. The file is
derived: what is lost, damaged, or of another list is made anew by the next run.

A model that was never trained tells nothing apart, so no word competes: its file has none.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.durable import put_in_place
from clipsearch.models.names import BUILTIN_FOLDER

if TYPE_CHECKING:
    from clipsearch.models.text.encoder import TextEncoder

NAME = "competing_words.bin"
# A line of JSON, then float16 (words, width), little endian. One more with each change of it, of
# words/class_names.txt, or of how the words are put to a model.
FORMAT = 1
_UNTRAINED = 1 / 0.07  # the logit scale that CLIP's training starts from, and soon leaves
_LARGEST = 1000 * 8192 * 2  # bytes of vectors: no model that we know is wider


def read_competing(folder: Path, fingerprint: str) -> NDArray[np.float32] | None:
    """Return the unit vectors, float32 (words, width), of a model; None until they are made.

    Those of the built-in model ship with it; of others they lie beside the text tower.
    """
    found = _read(folder / NAME, fingerprint)
    return _read(BUILTIN_FOLDER / NAME, fingerprint) if found is None else found


def write_competing(folder: Path, tower: TextEncoder) -> None:
    """Embed the words and keep them in a model's folder; raises ModelError or OSError."""
    from clipsearch.words.lists import class_names

    trained = not math.isclose(tower.logit_scale or 0.0, _UNTRAINED, rel_tol=1e-5)
    vectors = tower.encode_text(class_names() if trained else ()).astype("<f2")
    body = vectors.tobytes()
    head = {
        "format": FORMAT,
        "fingerprint": tower.fingerprint,
        "shape": vectors.shape,
        "crc32": zlib.crc32(body),
    }
    aside = folder / f".{NAME}.{os.getpid()}"
    try:
        with aside.open("wb") as file:
            file.write(json.dumps(head).encode() + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(aside, folder / NAME)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def _read(path: Path, fingerprint: str) -> NDArray[np.float32] | None:
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline(1000))
            body = file.read(_LARGEST + 1)
        words, width = head["shape"]
        if (head["format"], head["fingerprint"]) != (FORMAT, fingerprint):
            return None
        if zlib.crc32(body) != head["crc32"]:
            return None
        return np.frombuffer(body, "<f2").reshape(words, width).astype(np.float32)
    except (OSError, ValueError, KeyError, TypeError):  # none there, or damaged
        return None
