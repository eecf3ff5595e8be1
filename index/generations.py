"""Index files in vectors/, made from the catalog: which one is current, and making the next.

A file is written under a passing name, put in place, and only then recorded in the catalog;
files that the catalog does not name are litter. So a crash at any step leaves the former file in
use, and at worst there is none: the catalog alone answers every search, only slower.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clipsearch.errors import LibraryError
from clipsearch.index.database import Database
from clipsearch.index.durable import in_words, make_folder, put_in_place
from clipsearch.index.embeddings import embeddings_after, removed_after
from clipsearch.index.records import utc_now
from clipsearch.index.vector_index import KIND, FileStamp, UnusableFile, VectorIndex

# A library up to this many vectors gets a new file after every change (a fraction of a second).
ALWAYS_REBUILT = 20_000
# A larger one when this share of its file is outdated: what is newer is read at every start.
OUTDATED_SHARE = 0.02

# The names of files in vectors/ that this module makes, and so may remove.
_OURS = re.compile(r"model-\d+(\.new|-\d+-[0-9a-f]{8}\.faiss)")


@dataclass(frozen=True)
class Generation:
    """An index file as the catalog records it."""

    file: str  # its name in vectors/
    stamp: FileStamp

    def path(self, folder: Path) -> Path:
        """Return the file; UnusableFile if the catalog names one that can't be ours."""
        if not _OURS.fullmatch(self.file):
            raise UnusableFile("has a name that is none of an index file")
        return folder / self.file

    def open(self, folder: Path, *, verify: bool) -> VectorIndex:
        """Return the index in the file, as `VectorIndex.open` does."""
        return VectorIndex.open(self.path(folder), self.stamp, verify=verify)


@dataclass(frozen=True)
class Coverage:
    """How an index file compares with the catalog."""

    delta: int  # embeddings newer than the file
    removed: int  # embeddings in the file that are no longer in the catalog
    consistent: bool  # file and catalog can have come from each other


def current_generation(db: Database, model_id: int) -> Generation | None:
    """Return the index file recorded for a model."""
    rows = db.rows(
        "SELECT CAST(file AS TEXT), CAST(vectors AS INTEGER), CAST(width AS INTEGER), "
        "CAST(watermark AS INTEGER), CAST(bytes AS INTEGER), checksum FROM vector_indexes "
        "JOIN models ON models.id = model_id WHERE model_id = ?",
        (model_id,),
    )
    return Generation(rows[0][0], FileStamp(*rows[0][1:])) if rows else None


def coverage(db: Database, model_id: int, generation: Generation | None) -> Coverage:
    """Compare an index file's record with the catalog."""
    watermark = generation.stamp.watermark if generation else 0
    count = "SELECT count(*) FROM embeddings WHERE model_id = ? AND id"
    delta = db.value(f"{count} > ?", (model_id, watermark))
    covered = db.value(f"{count} <= ?", (model_id, watermark))
    removed = db.value(
        "SELECT count(*) FROM removed_embeddings WHERE model_id = ? AND embedding_id <= ?",
        (model_id, watermark),
    )
    vectors = generation.stamp.vectors if generation else 0
    return Coverage(delta, removed, consistent=covered + removed == vectors)


def needs_building(db: Database, folder: Path, model_id: int) -> bool:
    """Tell whether the next index file is worth its making, or the current one is no good."""
    generation = current_generation(db, model_id)
    found = coverage(db, model_id, generation)
    if generation is None:
        return found.delta > 0
    outdated = found.delta + found.removed
    size = generation.stamp.vectors + found.delta
    if not found.consistent or outdated > OUTDATED_SHARE * size:
        return True
    if outdated and size <= ALWAYS_REBUILT:
        return True
    try:
        generation.open(folder, verify=True)
    except UnusableFile:
        return True
    return False


def build_generation(db: Database, folder: Path, model_id: int, width: int) -> None:
    """Make the next index file of a model from the catalog; the writer lock must be held."""
    index = VectorIndex.empty(width)
    with db.reading():
        _, last_removed = removed_after(db, model_id, 0)
        for vectors, ids in embeddings_after(db, model_id, width, 0):
            index.add(vectors, ids)
    generation = _put_in_place(index, folder, model_id) if len(index) else None
    _record(db, model_id, generation, last_removed)
    remove_litter(db, folder)


def _put_in_place(index: VectorIndex, folder: Path, model_id: int) -> Generation:
    aside = folder / f"model-{model_id}.new"
    try:
        str(folder).encode()  # FAISS opens no other names
        make_folder(folder)
        stamp = index.save(aside)
        # The checksum in the name: other content never comes under the name of a file in use.
        file = f"model-{model_id}-{stamp.watermark}-{stamp.checksum}.faiss"
        put_in_place(aside, folder / file)
    except (OSError, UnicodeEncodeError) as error:
        with suppress(OSError):
            aside.unlink()
        reason = in_words(error) if isinstance(error, OSError) else "its name is not UTF-8"
        raise LibraryError(f"{folder}: the vector index can't be written: {reason}") from error
    return Generation(file, stamp)


def _record(db: Database, model_id: int, generation: Generation | None, last_removed: int) -> None:
    """Make a generation the current one; it holds none of the removals up to `last_removed`."""
    with db.writing():
        db.write("DELETE FROM vector_indexes WHERE model_id = ?", (model_id,))
        db.write(
            "DELETE FROM removed_embeddings WHERE model_id = ? AND id <= ?",
            (model_id, last_removed),
        )
        if generation is not None:
            stamp = generation.stamp
            db.write(
                "INSERT INTO vector_indexes (model_id, file, watermark, vectors, kind, bytes, "
                "checksum, built_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(model_id, generation.file, stamp.watermark, stamp.vectors, KIND),
                    *(stamp.bytes, stamp.checksum),
                    utc_now(),
                ),
            )


def remove_litter(db: Database, folder: Path) -> None:
    """Remove index files that the catalog does not name, as a crash leaves them."""
    in_use = {row[0] for row in db.rows("SELECT file FROM vector_indexes")}
    with suppress(OSError):
        for file in list(folder.iterdir()):
            if file.name not in in_use and _OURS.fullmatch(file.name):
                with suppress(OSError):  # Windows keeps a file that a reader has mapped
                    file.unlink()
