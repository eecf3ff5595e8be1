"""Where photos and captions come from: shards, tables, folders and libraries, by random access."""

from __future__ import annotations

import glob
import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import as_list, texts_given
from clipsearch.errors import InvalidInput
from clipsearch.near_names import did_you_mean, near_path
from clipsearch.settings import given_path
from clipsearch.training.data.samples import NO_CAPTION, BadSample, Sample
from clipsearch.training.data.source_folders import FolderSource, LibrarySource
from clipsearch.training.data.source_shards import (
    ShardSource,
    matching_shards,
    read_shard,
    read_shards,
    shard_paths,
)
from clipsearch.training.data.source_tables import TableSource
from clipsearch.training.data.text_lines import read_lines
from clipsearch.training.run_config import DataConfig

__all__ = [
    "BadSample",
    "JoinedSource",
    "Sample",
    "Source",
    "SubsetSource",
    "hold_out",
    "notes_of",
    "open_data",
    "open_source",
    "open_sources",
    "read_lines",
    "read_shard",
    "read_shards",
    "shard_paths",
    "with_labels",
]

_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
_TABLES_IN_FOLDERS = ("metadata.csv", "metadata.jsonl")  # as Hugging Face's image folders have it
_LIBRARY = "library:"
_VALIDATION = "validation:"
_MOST_TRIED = 10_000  # samples, spread over the source, to find a good one before the work starts
_WHERE_CAPTIONS_LIE = (
    "; a caption lies beside its picture (photo.txt, .json or .xmp), in it (XMP or IPTC), in a "
    "table, or in a shard's json or txt"
)


class Source(Protocol):
    """Samples by number; cheap to open in a worker process, so picklable."""

    @property
    def notes(self) -> Sequence[str]:
        """Return what was left out or doubtful when it was opened, a line for people each."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Sample:
        """Return a sample; raises BadSample for one that can't be learned from."""

    def key(self, number: int) -> str:
        """Return a sample's key without reading it."""

    def neighbourhoods(self) -> Sequence[range]:
        """Return the numbers, in order, in ranges that lie together on disk."""


def open_source(
    spec: str | Path, *, image_key: str | None = None, caption_key: str | None = None
) -> Source:
    """Open what a word of the configuration names.

    Args:
        spec: a .tar, a pattern of them (`*`, `{000..012}`) or a folder of them; a .csv, .tsv or
            .jsonl; a folder of pictures with captions beside or in them; `library:FOLDER`, or
            `library:` for the user's own; `validation:FOLDER`, what a run measured itself on.
        image_key: the column of a table with the pictures' paths; None tries the usual names.
        caption_key: the column of a table, or the key in a shard's JSON, with the captions;
            None tries the usual names.

    Returns:
        The samples; its `notes` say which lines of a table were left out or are doubtful.

    Raises:
        InvalidInput: nothing is there, or it can't be read, or it holds nothing to learn from.
        LibraryError: the library can't be opened.
    """
    source = _opened(str(spec), image_key, caption_key)
    _require_a_good_one(source, str(spec))
    return source


def _opened(text: str, image_key: str | None, caption_key: str | None) -> Source:
    if text.startswith(_LIBRARY):
        return LibrarySource(text[len(_LIBRARY) :])
    if text.startswith(_VALIDATION):
        return _validation_of(given_path(text[len(_VALIDATION) :]))
    path = given_path(text)
    if path.is_dir():
        return _open_folder(path, image_key, caption_key)
    if path.suffix.lower() in _TABLES:
        return TableSource(path, image_key, caption_key)
    if path.suffix.lower() == ".tar" and path.exists():
        return ShardSource([path], caption_key)
    if "{" in text or glob.has_magic(text):
        return ShardSource(matching_shards(text), caption_key)
    if not path.exists():
        near = did_you_mean(near_path(path))
        raise InvalidInput(f"there is no file or folder {text}{near}")
    raise InvalidInput(f"{text} is no .tar, .csv, .tsv, .jsonl or folder")


def _open_folder(path: Path, image_key: str | None, caption_key: str | None) -> Source:
    if any(path.glob("*.tar")):
        return ShardSource(shard_paths(path), caption_key)
    for name in _TABLES_IN_FOLDERS:
        if (path / name).is_file():
            return TableSource(path / name, image_key, caption_key)
    return FolderSource(path)


def _require_a_good_one(source: Source, spec: str) -> None:
    """Raise InvalidInput if no sample can be learned from: the first good one ends the search."""
    failure: BadSample | None = None
    for number in range(0, len(source), max(len(source) // _MOST_TRIED, 1)):
        try:
            source[number]
        except BadSample as error:
            failure = failure or error
            continue
        return
    why = f"{failure.reason} ({failure.key}, for one)" if failure else "it is empty"
    hint = _WHERE_CAPTIONS_LIE if failure and failure.reason == NO_CAPTION else ""
    raise InvalidInput(f"nothing in {spec} can be learned from: {why}{hint}")


def _validation_of(run: Path) -> Source:
    """Return the photos that a run did not learn from: it named them, or held them back."""
    from clipsearch.training.config_file import read_config

    if not (run / "config.toml").is_file():
        raise InvalidInput(f"{run} is no folder of a training run (it has no config.toml)")
    _, validation = open_data(read_config(run / "config.toml").data)
    if validation is None:
        raise InvalidInput(f"the run in {run} had no validation data")
    return validation


def open_sources(
    specs: str | Path | Iterable[str | Path],
    *,
    image_key: str | None = None,
    caption_key: str | None = None,
    labels: str | Iterable[str] = (),
) -> Source:
    """Open several, or one, and join them; with `labels`, only the samples with one of these.

    Raises InvalidInput as `open_source`, and where no sample has such a label.
    """
    specs, labels = as_list(specs), as_list(labels)
    if not specs:
        raise InvalidInput("no data is named: give photos with captions by --data")
    parts = [open_source(spec, image_key=image_key, caption_key=caption_key) for spec in specs]
    joined = parts[0] if len(parts) == 1 else JoinedSource(parts)
    return with_labels(joined, labels) if labels else joined


def open_data(config: DataConfig) -> tuple[Source, Source | None]:
    """Open what a configuration names: to train on, and to validate on if anything is left for it.

    Raises InvalidInput as `open_sources`.
    """
    usual = DataConfig()
    image = None if config.image_column == usual.image_column else config.image_column
    caption = None if config.caption_column == usual.caption_column else config.caption_column

    def opened(specs: Sequence[str]) -> Source:
        return open_sources(specs, image_key=image, caption_key=caption, labels=config.labels)

    train = opened(config.train)
    if config.validation:
        return train, opened(config.validation)
    return hold_out(train, config.held_out) if config.held_out else (train, None)


def notes_of(*sources: Source | None) -> list[str]:
    """Return what there is to say of some sources, each thing once: they may be parts of one."""
    return list(
        dict.fromkeys(note for source in sources if source is not None for note in source.notes)
    )


class JoinedSource:
    """Several sources, one after the other.

    Keys of the first are as they were; those of the others begin with the number of their source.
    """

    def __init__(self, parts: Sequence[Source]) -> None:
        self.notes = notes_of(*parts)
        self._parts = list(parts)
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def key(self, number: int) -> str:
        """Return a sample's key without reading it."""
        part, inner = self._place(number)
        key = self._parts[part].key(inner)
        return f"{part}:{key}" if part else key

    def __getitem__(self, number: int) -> Sample:
        part, inner = self._place(number)
        return replace(self._parts[part][inner], key=self.key(number))

    def neighbourhoods(self) -> Sequence[range]:
        """Return those of all sources."""
        starts = [0, *self._ends]
        return [
            range(start + block.start, start + block.stop)
            for start, part in zip(starts, self._parts, strict=False)
            for block in part.neighbourhoods()
        ]

    def _place(self, number: int) -> tuple[int, int]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        part = bisect_right(self._ends, number)
        return part, number - self._ends[part] + len(self._parts[part])


class SubsetSource:
    """Some samples of a source, in their order there."""

    def __init__(self, whole: Source, numbers: Iterable[int]) -> None:
        self.notes = whole.notes
        self._whole = whole
        self._numbers: NDArray[np.int64] = np.array(sorted(numbers), np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    def key(self, number: int) -> str:
        """Return the sample's key in the whole source."""
        return self._whole.key(int(self._numbers[number]))

    def __getitem__(self, number: int) -> Sample:
        return self._whole[int(self._numbers[number])]

    def neighbourhoods(self) -> Sequence[range]:
        """Return what is left of those of the whole source."""
        blocks = self._whole.neighbourhoods()
        borders = np.searchsorted(self._numbers, [0, *(block.stop for block in blocks)])
        return [range(int(a), int(b)) for a, b in pairwise(borders) if a < b]


def with_labels(source: Source, labels: str | Iterable[str]) -> SubsetSource:
    """Return the samples whose label is one of these, case aside; reads the whole source once.

    "" stands for samples without a label. Raises InvalidInput for a label that no sample has.
    """
    wanted = {label.strip().casefold(): label for label in texts_given(labels)}
    numbers, found = [], set()
    for number in range(len(source)):
        try:
            label = (source[number].label or "").casefold()
        except BadSample:
            continue
        if label in wanted:
            numbers.append(number)
            found.add(label)
    if missing := [name for label, name in wanted.items() if label not in found]:
        raise InvalidInput(f"no sample has the label {', '.join(map(repr, missing[:5]))}")
    return SubsetSource(source, numbers)


def hold_out(source: Source, share: float) -> tuple[SubsetSource, SubsetSource]:
    """Split a source into what is trained on and what is held back for validation.

    Which samples are held back depends on their keys alone, so it is the same in every run, and
    nearly the same after new samples were added. Raises InvalidInput where a part would be empty.
    """
    digests = [_digest(source.key(number)) for number in range(len(source))]
    by_digest = np.argsort(np.array(digests, np.uint64), kind="stable")
    held = round(share * len(source))
    if not 0 < held < len(source):
        raise InvalidInput(
            f"can't hold back {share:g} of {len(source)} photos for validation: name validation "
            "data, or set held_out to 0"
        )
    first, rest = by_digest[:held].tolist(), by_digest[held:].tolist()
    return SubsetSource(source, rest), SubsetSource(source, first)


def _digest(key: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=8).digest(), "big"
    )
