"""What a library holds, read with sqlite3 and numpy alone, and whether that is as it should be."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch import Library

COLUMNS = (
    "content_hash, size, mtime_ns, width, height, format, orientation, taken_at, camera, lens, "
    "latitude, longitude"
)
ROUNDING = 0.01  # of a unit vector's numbers, in whatever precision it was made
MAY_STAND = ("catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm", "lock")


@dataclass(frozen=True)
class Snapshot:
    """The photos of a library by path, without ids and times of its own."""

    rows: dict[str, tuple[object, ...]]
    vectors: dict[str, bytes]
    problems: list[str]

    @functools.cached_property
    def by_content(self) -> dict[str, bytes]:
        return {str(self.rows[path][0]): vector for path, vector in self.vectors.items()}


def snapshot(library: Path) -> Snapshot:
    """Read a library; there may be none yet."""
    if not (library / "catalog.sqlite").exists():
        return Snapshot({}, {}, [])
    db = sqlite3.connect(f"{(library / 'catalog.sqlite').as_uri()}?mode=ro", uri=True)
    try:
        problems = [row[0] for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
        problems += [f"foreign key: {row}" for row in db.execute("PRAGMA foreign_key_check")]
        photos = db.execute(f"SELECT path, {COLUMNS} FROM photos").fetchall()
        joined = "FROM embeddings JOIN photos ON photos.id = photo_id"
        vectors = db.execute(f"SELECT path, vector {joined}").fetchall()
    finally:
        db.close()
    rows = {path: tuple(rest) for path, *rest in photos}
    problems += ["a path stands twice"] if len(rows) < len(photos) else []
    problems += ["an embedding stands twice"] if len(dict(vectors)) < len(vectors) else []
    return Snapshot(rows, dict(vectors), problems)


def differences(one: Snapshot, other: Snapshot) -> list[str]:
    """Return in what two libraries of the same folder differ: paths, columns, vectors."""
    found = [*one.problems, *other.problems]
    for path in sorted(one.rows.keys() | other.rows.keys()):
        mine, theirs = one.rows.get(path), other.rows.get(path)
        if mine != theirs:
            found.append(f"row of {path}: {mine!r} and {theirs!r}")
    for path in sorted(one.vectors.keys() | other.vectors.keys()):
        vector, its = one.vectors.get(path, b""), other.vectors.get(path, b"")
        if not alike(vector, its):
            found.append(f"vector of {path}: {vector!r} and {its!r}")
    return found


def alike(one: bytes, other: bytes) -> bool:
    """Tell whether two vectors are of one photo, whichever tower made them: torch's or ONNX's.

    Those that the tiny model makes of two photos differ by twice as much, and mostly by far more.
    """
    return one == other or (
        len(one) == len(other)
        and np.allclose(np.frombuffer(one, "<f2"), np.frombuffer(other, "<f2"), atol=ROUNDING)
    )


def not_in_step(now: Snapshot, hashes: Mapping[Path, str]) -> list[str]:
    """Return in what a library differs from the folder that it was brought in step with."""
    expected = {str(path): content for path, content in hashes.items()}
    held = {path: row[0] for path, row in now.rows.items()}
    found = [f"lost: {path}" for path in expected.keys() - held.keys()]
    found += [f"not forgotten: {path}" for path in held.keys() - expected.keys()]
    found += [f"outdated: {path}" for path in held if held[path] != expected.get(path, held[path])]
    found += [f"not embedded: {path}" for path in held.keys() - now.vectors.keys()]
    return now.problems + found


def lost(before: Snapshot, now: Snapshot, hashes: Mapping[Path, str]) -> list[str]:
    """Return what was committed before, is still in the folder, and is in the library no more.

    A content may have to be embedded again if other content came to every place where it was: two
    photos swapped names, say, and the run was killed with only the first of them committed.
    """
    here, found = set(hashes.values()), list(now.problems)
    for path, row in before.rows.items():
        in_place = hashes.get(Path(path))
        content = str(row[0])
        if in_place == content and now.rows.get(path, (None,))[0] != content:
            found.append(f"the row of {path} was lost")
        if content not in here or in_place not in (content, None) or path not in before.vectors:
            continue
        if now.by_content.get(content) != before.vectors[path]:
            found.append(f"the embedding of {content} was lost or changed")
    return found


def unanswered(library: Path, now: Snapshot, *, away: Path | None = None) -> list[str]:
    """Open a library for reading, ask it, and compare with brute force over what it holds.

    Photos below the folder `away` must be no hits.
    """
    k = 10
    if not (library / "catalog.sqlite").exists():
        return []
    found = []
    with Library(library, read_only=True, device="cpu") as reader:
        if not now.vectors:
            return []
        here = [away is None or away not in Path(path).parents for path in now.vectors]
        vectors = matrix(now)[here]
        paths = [path for path, is_here in zip(now.vectors, here, strict=True) if is_here]
        queries = unit(vectors[:: max(1, len(vectors) // 4)][:4])
        scores, ids = reader.search_vectors(queries, k=len(paths) + 3)
        for row, query in enumerate(queries):
            hits = ids[row][ids[row] >= 0]
            expected = np.sort(query @ vectors.T)[::-1]
            if len(hits) != len(paths) or len(set(hits.tolist())) != len(hits):
                found.append(f"{len(hits)} hits of {len(paths)} photos")
            elif not np.allclose(scores[row][: len(hits)], expected, atol=1e-5):
                found.append("scores other than brute force gives")
        hits = reader.query("a dog on a beach", k=k)
        if len(hits) != min(k, len(paths)) or {str(hit.path) for hit in hits} - set(paths):
            found.append(f"a text found {len(hits)} photos")
    return found


def unfinished(library: Path, now: Snapshot) -> list[str]:
    """Return what a run to its end should have settled: the FAISS file, and nothing left lying."""
    with Library(library, read_only=True) as reader:
        info = reader.info()
    assert info.index is not None
    found = []
    covered = (info.index.vectors, info.index.delta, info.index.removed, info.index.note)
    if covered != (len(now.vectors), 0, 0, None):
        found.append(f"the index file covers {covered} of {len(now.vectors)}")
    files = [path.relative_to(library) for path in library.rglob("*")]
    known = {row.identity.fingerprint for row in info.models}
    for file in files:
        top, *below = file.parts
        expected = (
            (top in MAY_STAND and not below)
            or (top == "vectors" and (not below or library / file == info.index.path))
            or (top == "models" and (not below or below[0] in known))
        )
        if not expected:
            found.append(f"left lying: {file}")
    return found


def matrix(now: Snapshot) -> NDArray[np.float32]:
    """Return the vectors [n, width] in the order of `now.vectors`."""
    joined = b"".join(now.vectors.values())
    return np.frombuffer(joined, "<f2").reshape(len(now.vectors), -1).astype(np.float32)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors of unit length."""
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
