"""A model's identity once more, in a file beside its text model.

Without its row in the catalog, no embedding of a model means anything. A file that says the same,
and that its own fingerprint vouches for, lets a repair make the row again.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from clipsearch.index.durable import replace_text
from clipsearch.index.records import ModelIdentity

FILE = "identity.json"


def keep_identity(folder: Path, identity: ModelIdentity) -> None:
    """Write the file, unless it is there; where it can't be written, a repair has less to go by."""
    if kept_identity(folder) == identity:
        return
    with suppress(OSError):
        replace_text(folder / FILE, json.dumps(asdict(identity), indent=1))


def kept_identity(folder: Path) -> ModelIdentity | None:
    """Return the identity kept in a folder that is named by its fingerprint."""
    try:
        fields = json.loads((folder / FILE).read_text(encoding="utf-8"))
        identity = ModelIdentity(**fields)
        return identity if identity.fingerprint == folder.name else None
    except (OSError, ValueError, TypeError):
        return None
