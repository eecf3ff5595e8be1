"""What a library is on the disk: the one file that names its parts.

catalog.sqlite        the one source of truth; SQLite keeps -wal and -shm beside it
vectors/              index files, derived from the catalog
models/FINGERPRINT/   what encodes text for a model, and the model's identity once more
thumbnails/           small pictures of the photos, made when they are first looked at
lock                  held by the process that writes
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

CATALOG = "catalog.sqlite"
VECTORS = "vectors"
MODELS = "models"
THUMBNAILS = "thumbnails"
LOCK = "lock"


class Layout:
    """The parts of the library in a folder, whether they are there or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def catalog(self) -> Path:
        """The file of the catalog."""
        return self.folder / CATALOG

    @property
    def vectors(self) -> Path:
        """The folder of the index files."""
        return self.folder / VECTORS

    @property
    def models(self) -> Path:
        """The folder of what encodes text, a folder for each model."""
        return self.folder / MODELS

    @property
    def thumbnails(self) -> Path:
        """The folder of the small pictures, which anybody may remove."""
        return self.folder / THUMBNAILS

    @property
    def lock(self) -> Path:
        """The file that the writer holds."""
        return self.folder / LOCK

    def model(self, fingerprint: str) -> Path:
        """Return the folder of what encodes text for a model."""
        return self.models / fingerprint

    def has_remains(self) -> bool:
        """Tell whether there is what only a library has beside its catalog."""
        return any(self.vectors.glob("model-*.faiss")) or any(self.models.glob("*/text.onnx"))

    def bytes_of_parts(self) -> dict[str, int]:
        """Return how many bytes the catalog with its log, the index files and the models take.

        So for the thumbnails, if there are any.
        """
        files = {
            "catalog": self.folder.glob(f"{CATALOG}*"),
            "vectors": self.vectors.rglob("*"),
            "models": self.models.rglob("*"),
        }
        parts = {
            part: sum(path.stat().st_size for path in paths if path.is_file())
            for part, paths in files.items()
        }
        thumbnails = _bytes_below(self.thumbnails)
        return {**parts, "thumbnails": thumbnails} if thumbnails else parts


def _bytes_below(folder: str | Path) -> int:
    """Return how many bytes the files below a folder take; quick, for they may be many."""
    size = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    size += _bytes_below(entry.path)
                else:
                    size += entry.stat(follow_symlinks=False).st_size
    return size
