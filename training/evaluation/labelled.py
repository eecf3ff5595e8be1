"""Labelled photos: a folder for each class, or any source whose samples have a label."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import as_list
from clipsearch.errors import InvalidInput
from clipsearch.index.records import FileState
from clipsearch.photos.scanning import find_photos
from clipsearch.settings import absolute, given_path
from clipsearch.training.data.samples import Sample
from clipsearch.training.data.source_shards import ShardSource, matching_shards, shard_paths
from clipsearch.training.data.source_tables import read_picture
from clipsearch.training.data.sources import JoinedSource, Source, notes_of, open_source
from clipsearch.training.evaluation.embedding import EmbeddedPhotos, Photos

_NO_FOLDERS = (".tar", ".csv", ".tsv", ".jsonl")  # what lies in folders of other kinds
_TRAINING, _HELD_OUT = ("train", "training"), ("val", "valid", "validation", "test")
HELD_OUT_SHARE = 0.2


@dataclass(frozen=True)
class LabelledData:
    """What classifiers learn from, if that is given apart, and what they are measured on."""

    train: Photos | None  # None: a part of `test` is to be taken
    test: Photos
    notes: Sequence[str] = ()  # of the sources: what was left out or doubtful


class ClassFolders:
    """Pictures in folders named by their class; those deeper down belong to the outermost."""

    notes: Sequence[str] = ()

    def __init__(self, folder: Path) -> None:
        """Find the pictures; raises InvalidInput where there is none."""
        self._root = absolute(folder)
        found = (item.path for item in find_photos(folder) if isinstance(item, FileState))
        inner = (path.relative_to(self._root) for path in found)
        self._names = sorted(path.as_posix() for path in inner if len(path.parts) > 1)
        if not self._names:
            raise InvalidInput(
                f"no folder of {folder} holds pictures: put those of each class into a folder of "
                "its name"
            )

    def __len__(self) -> int:
        return len(self._names)

    def neighbourhoods(self) -> Sequence[range]:
        """Return all numbers as one range."""
        return [range(len(self))]

    def key(self, number: int) -> str:
        """Return the picture's path in the folder."""
        return self._names[number]

    def __getitem__(self, number: int) -> Sample:
        name = self._names[number]
        return Sample(name, read_picture(name, self._root / name), (), name.partition("/")[0])


def open_labelled(specs: str | Iterable[str], train: str | Iterable[str] = ()) -> LabelledData:
    """Open what `--data` and `--train` name, for classification; several sources, or one.

    A folder with `train` and `val` (or `test`) in it gives both. Raises InvalidInput as
    `open_source` does.
    """
    specs, train = as_list(specs), as_list(train)
    if not train and len(specs) == 1:
        folder = given_path(specs[0])
        parts = [_named(folder, names) for names in (_TRAINING, _HELD_OUT)]
        if all(parts):
            inner, outer = (_open([str(part)]) for part in parts)
            return LabelledData(inner, outer, notes_of(inner, outer))
    learned, measured = _open(train) if train else None, _open(specs)
    return LabelledData(learned, measured, notes_of(learned, measured))


def _named(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _open(specs: Sequence[str]) -> Source:
    parts = [_open_one(spec) for spec in specs]
    return parts[0] if len(parts) == 1 else JoinedSource(parts)


def _open_one(spec: str) -> Source:
    """Open folders of classes, shards whose samples need no caption, or any other source."""
    path = given_path(spec)
    if path.is_dir() and not any(p.suffix.lower() in _NO_FOLDERS for p in path.iterdir()):
        return ClassFolders(path)
    if path.is_dir() and any(path.glob("*.tar")):
        return ShardSource(shard_paths(path), a_label_is_enough=True)
    if spec.lower().endswith(".tar"):
        return ShardSource(matching_shards(spec), a_label_is_enough=True)
    return open_source(spec)


def with_labels(embedded: EmbeddedPhotos) -> EmbeddedPhotos:
    """Leave out photos without a label; raises InvalidInput where none has one."""
    rows = [row for row, facts in enumerate(embedded.facts) if facts.label]
    lacking = [f"{facts.key}: no label" for facts in embedded.facts if not facts.label]
    if not rows:
        raise InvalidInput(
            "no photo has a label: give a folder with one folder a class, or shards whose "
            "samples have a label"
        )
    if not lacking:
        return embedded
    kept = embedded.only(rows)
    kept.skipped.extend(lacking)
    return kept


def labels_of(embedded: EmbeddedPhotos) -> list[str]:
    """Return the label of each photo, all of which have one."""
    return [facts.label or "" for facts in embedded.facts]


def split(
    keys: Sequence[str], numbers: NDArray[np.int64], share: float = HELD_OUT_SHARE
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows to learn from and those held out: a share of each class, at least one.

    `numbers`, int64 (photos,), are the photos' classes, `keys` their keys. Both answers are int64
    (n,), ascending. They depend on the keys alone, so they are the same every time. A class of one
    photo is not split.
    """
    of_class: dict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(numbers.tolist()):
        of_class[number].append(row)
    held: list[int] = []
    for rows in of_class.values():
        ordered = sorted(
            rows, key=lambda row: hashlib.sha256(keys[row].encode(errors="surrogatepass")).digest()
        )
        held += ordered[: max(1, round(share * len(rows)))] if len(rows) > 1 else []
    is_held = np.isin(np.arange(len(numbers)), held)
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)
