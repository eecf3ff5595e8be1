"""Comparing a library's vectors: the embeddings in its catalog and their copies in index files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.paths import to_path
from clipsearch.index.upkeep.findings import REMADE_BY_INDEX, REPAIR, Checked, Problem
from clipsearch.index.upkeep.reading import DAMAGE, CheckedModel, Reading
from clipsearch.index.vectors.vector_files import FileStamp, UnusableFile
from clipsearch.index.vectors.vector_index import VectorIndex

# A unit vector rounded to float16 is off by less than 0.0005; a broken one is far off.
UNIT_TOLERANCE = 0.002


@dataclass(frozen=True)
class IndexFile:
    """An index file of a model, open, or why it is no good."""

    name: str
    stamp: FileStamp
    after: int  # it holds the embeddings with ids above this one, up to its watermark
    index: VectorIndex | None
    fault: str = ""


@dataclass
class VectorFindings:
    """What is wrong with the vectors of one model."""

    looked_at: int = 0
    bad: dict[int, tuple[int, str]] = field(default_factory=dict)  # embedding -> photo, why
    differing: dict[int, int] = field(default_factory=dict)  # embedding -> photo: file is right
    # By file: embeddings in the catalog, not in the file that should cover them; and in the file,
    # neither in the catalog nor known as removed.
    missing: Counter[str] = field(default_factory=Counter)
    surplus: Counter[str] = field(default_factory=Counter)


def open_index_files(state: Reading, folder: Path) -> dict[int, list[IndexFile]]:
    """Open the files that the catalog names, by model, in the state in which it names them.

    A writer may replace a file between the two; then a newer state names another.
    """
    try:
        named = _named_files(state)
        while True:
            files = _open_files(named, folder)
            if all(file.index for some in files.values() for file in some):
                return files
            before = named
            state.again()
            named = _named_files(state)
            if named == before:
                return files
    except DAMAGE as error:
        if "locked" in str(error):
            raise
        return {}  # the damage is reported where the catalog itself is looked at


def _named_files(state: Reading) -> list[tuple[Any, ...]]:
    known = {row[1] for row in state.rows("PRAGMA table_info(vector_indexes)")}
    lists = "lists, probes" if "lists" in known else "0, 0"  # of schema 1
    return state.rows(
        f"SELECT model_id, file, vectors, width, watermark, bytes, checksum, {lists} "
        "FROM vector_indexes JOIN models ON models.id = model_id ORDER BY model_id, watermark"
    )


def _open_files(named: Sequence[tuple[Any, ...]], folder: Path) -> dict[int, list[IndexFile]]:
    files: dict[int, list[IndexFile]] = {}
    for model_id, name, *stamp in named:
        of_model = files.setdefault(model_id, [])
        after = of_model[-1].stamp.watermark if of_model else 0
        of_model.append(_open_file(folder, name, FileStamp(*stamp), after))
    return files


def _open_file(folder: Path, name: str, stamp: FileStamp, after: int) -> IndexFile:
    """Open an index file, all of it compared with its checksum."""
    if Path(name).name != name or not name:
        return IndexFile(name, stamp, after, None, "has a name that is no file name")
    try:
        index = VectorIndex.open(folder / name, stamp, verify=True)
        return IndexFile(name, stamp, after, index)
    except (UnusableFile, ValueError, MemoryError) as error:  # the stamp may be damaged, too
        return IndexFile(name, stamp, after, None, str(error) or "can't be read")


def compare_vectors(
    state: Reading, model: CheckedModel, files: Sequence[IndexFile]
) -> VectorFindings:
    """Look at every embedding of a model, and compare it with its row in the index files."""
    found = VectorFindings()
    in_catalog = {file.name: np.zeros(len(file.index), dtype=bool) for file in files if file.index}
    sql = "SELECT id, photo_id, vector FROM embeddings WHERE model_id = ? ORDER BY id"
    for rows in state.batches(sql, (model.id,)):
        found.looked_at += len(rows)
        good, vectors = _look_at(rows, model.width, found)
        ids = np.array([row[:2] for row in rows], dtype=np.int64)
        for file in files:
            if file.index:
                covered = (ids[:, 0] > file.after) & (ids[:, 0] <= file.stamp.watermark)
                at, same = _found_in(file.index.ids, ids, covered)
                in_catalog[file.name][at[same]] = True
                found.missing[file.name] += int((covered & ~same).sum())
                _compare(file.index, at, same & good, vectors, ids, found)
    removed = [
        row[0]
        for row in state.rows(
            "SELECT embedding_id FROM removed_embeddings WHERE model_id = ?", (model.id,)
        )
    ]
    for file in files:
        if file.index:
            known = in_catalog[file.name] | np.isin(file.index.ids[:, 0], removed)
            found.surplus[file.name] = int((~known).sum())
    return found


def _found_in(
    file_ids: NDArray[np.int64], ids: NDArray[np.int64], covered: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return at which rows of a file these ids should stand, and whether they do."""
    at = np.searchsorted(file_ids[:, 0], ids[:, 0]).clip(max=len(file_ids) - 1)
    return at, covered & (file_ids[at] == ids).all(axis=1)


def _look_at(
    rows: Sequence[tuple[Any, ...]], width: int, found: VectorFindings
) -> tuple[NDArray[np.bool_], NDArray[np.float16]]:
    """Return which rows hold unit vectors, and the vectors of all (zeros where there is none)."""
    zeros = bytes(2 * width)
    fits = np.array([type(row[2]) is bytes and len(row[2]) == 2 * width for row in rows])
    blobs = [row[2] if fit else zeros for row, fit in zip(rows, fits, strict=True)]
    vectors = np.frombuffer(b"".join(blobs), dtype="<f2").reshape(len(rows), width)
    good: NDArray[np.bool_] = fits & are_unit(vectors)
    for i in np.flatnonzero(~good).tolist():
        why = "not unit length" if np.isfinite(vectors[i]).all() else "not finite"
        found.bad[rows[i][0]] = (rows[i][1], why if fits[i] else "wrong size")
    return good, vectors


def are_unit(vectors: NDArray[np.float16]) -> NDArray[np.bool_]:
    """Return which vectors (n, width) are finite and of unit length, as far as float16 goes."""
    numbers = vectors.astype(np.float32)
    squares = np.einsum("ij,ij->i", numbers, numbers)
    unit: NDArray[np.bool_] = np.abs(np.sqrt(squares) - 1) <= UNIT_TOLERANCE  # NaN is not
    return unit


def _compare(
    index: VectorIndex,
    at: NDArray[np.intp],
    which: NDArray[np.bool_],
    vectors: NDArray[np.float16],
    ids: NDArray[np.int64],
    found: VectorFindings,
) -> None:
    """Note the rows, of those chosen, whose vector in the file differs; both are in id order."""
    chosen = np.flatnonzero(which)
    if not len(chosen):
        return
    first, last = int(at[chosen[0]]), int(at[chosen[-1]])
    stored = index.vectors(first, last - first + 1)
    differs = (stored[at[chosen] - first] != vectors[chosen]).any(axis=1)
    found.differing.update({int(id_): int(photo) for id_, photo in ids[chosen[differs]]})


def check_vectors(
    state: Reading, models: Sequence[CheckedModel], files: dict[int, list[IndexFile]]
) -> Iterator[Checked]:
    """Yield what is wrong with the embeddings, and what with the index files.

    `files` are those of `open_index_files`, by model.
    """
    embeddings: list[Problem] = []
    index: list[Problem] = []
    looked_at = in_files = 0
    for model in models:
        if not model.intact:
            continue  # its width may be any number; said where the rows are looked at
        of_model = files.get(model.id, [])
        found = compare_vectors(state, model, of_model)
        looked_at += found.looked_at
        in_files += sum(file.stamp.vectors for file in of_model)
        embeddings += _embedding_problems(state, found)
        for file in of_model:
            index += _file_problems(file, found)
    yield Checked("embeddings", looked_at, "vector", tuple(embeddings))
    yield Checked("vector index", in_files, "vector", tuple(index))


def _embedding_problems(state: Reading, found: VectorFindings) -> Iterator[Problem]:
    for why in sorted({why for _, why in found.bad.values()}):
        photos = [photo for photo, said in found.bad.values() if said == why]
        yield from Problem.of(_names(state, photos), f"embeddings: {why}", REMADE_BY_INDEX)
    yield from Problem.of(
        _names(state, list(found.differing.values())),
        "embeddings differ from their copies in the index file, which is intact",
        REPAIR,
    )


def _names(state: Reading, photo_ids: Sequence[int]) -> list[str]:
    """Return the paths of the first few photos; of the rest only that they are there."""
    names = [""] * len(photo_ids)
    for i, photo_id in enumerate(photo_ids[:10]):
        path = state.value("SELECT path FROM photos WHERE id = ?", (photo_id,))
        names[i] = str(to_path(path)) if path is not None else f"photo {photo_id}"
    return names


def _file_problems(file: IndexFile, found: VectorFindings) -> Iterator[Problem]:
    if file.fault:
        yield Problem(f"vectors/{file.name} {file.fault}", REPAIR)
    for count, what in (
        (found.missing[file.name], "vectors/{} lacks embeddings that it should hold"),
        (found.surplus[file.name], "vectors/{} holds embeddings that the catalog does not"),
    ):
        if count:
            yield Problem(what.format(file.name), REPAIR, count)
