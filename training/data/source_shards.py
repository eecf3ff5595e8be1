"""WebDataset shards: tar files whose members with one stem are one sample.

A tar is indexed once, by its headers alone; samples are then read from where they lie.
"""

from __future__ import annotations

import glob
import re
import tarfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import as_list
from clipsearch.errors import InvalidInput
from clipsearch.photos.file_reading import in_words
from clipsearch.photos.formats import is_image_name
from clipsearch.photos.opening import LARGEST_FILE
from clipsearch.photos.plain_texts import decoded, lines_in, read_json, texts_in
from clipsearch.settings import expanded
from clipsearch.training.data.samples import BadSample, Sample, make_sample

_IMAGE, _JSON, _TEXT, _CLASS = range(4)  # what a sample can hold
_KINDS = {"json": _JSON, "txt": _TEXT, "cls": _CLASS}
_CAPTION_KEYS = ("captions", "caption", "text")  # of a sample's json, in this order
_LABEL_KEYS = ("label", "class_name", "class")


class _Index(NamedTuple):
    """Where the samples of one shard lie."""

    path: Path
    keys: tuple[str, ...]
    places: NDArray[np.int64]  # [samples, kinds, (offset, size)]; offset 0: not there


class ShardSource:
    """The samples of some shards, in the order of the shards and of the members in them."""

    notes: Sequence[str] = ()

    def __init__(
        self,
        paths: Path | Iterable[Path],
        caption_key: str | None = None,
        *,
        a_label_is_enough: bool = False,
    ) -> None:
        """Index the shards, or the one; raises InvalidInput if one is absent, damaged or cut short.

        `caption_key` names the captions in a sample's json; by default the usual names are tried.
        With `a_label_is_enough` a sample may have a label and no captions, for classification.
        """
        paths = as_list(paths)
        self._a_label_is_enough = a_label_is_enough
        self._caption_keys = (caption_key,) if caption_key else _CAPTION_KEYS
        self._shards = [_indexed(path) for path in paths]
        self._ends = list(accumulate(len(shard.keys) for shard in self._shards))
        if not len(self):
            raise InvalidInput(f"no picture in {', '.join(str(path) for path in paths[:3])}")

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def neighbourhoods(self) -> Sequence[range]:
        """Return the numbers of each shard."""
        ends = self._ends
        return [range(a, b) for a, b in zip([0, *ends], ends, strict=False) if a < b]

    def key(self, number: int) -> str:
        """Return the key, which begins with the shard's name where there are several."""
        shard, row = self._place(number)
        key = shard.keys[row]
        return key if len(self._shards) == 1 else f"{shard.path.stem}/{key}"

    def __getitem__(self, number: int) -> Sample:
        key = self.key(number)
        shard, row = self._place(number)
        size = int(shard.places[row][:, 1].max())
        if size > LARGEST_FILE:
            raise BadSample(key, f"too large: {in_words(size)}, limit {in_words(LARGEST_FILE)}")
        try:
            parts = _read_parts(shard.path, shard.places[row])
        except OSError as error:
            raise BadSample(key, f"{shard.path}: {error.strerror or error}") from error
        if parts is None:
            raise BadSample(key, f"{shard.path} has changed since training began")
        facts = _facts(parts[_JSON])
        captions = _first_texts(facts or {}, self._caption_keys) or lines_in(parts[_TEXT])
        label = _first_texts(facts or {}, _LABEL_KEYS) or texts_in(decoded(parts[_CLASS]))
        if facts is None and not (captions or label):
            raise BadSample(key, "its json can't be read")
        if self._a_label_is_enough and label and not captions:
            return Sample(key, parts[_IMAGE], (), label[0])
        return make_sample(key, parts[_IMAGE], captions, label[0] if label else None)

    def _place(self, number: int) -> tuple[_Index, int]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        at = bisect_right(self._ends, number)
        shard = self._shards[at]
        return shard, number - self._ends[at] + len(shard.keys)


def _read_parts(path: Path, places: NDArray[np.int64]) -> list[bytes] | None:
    """Return the bytes of each kind, empty where it is not there; None if the file is shorter."""
    parts = []
    with path.open("rb") as file:
        for offset, size in places.tolist():
            file.seek(offset)
            parts.append(file.read(size) if offset else b"")
            if len(parts[-1]) < size:
                return None
    return parts


def _facts(text: bytes) -> dict[str, Any] | None:
    """Return what a sample's json says; None where it can't be read."""
    if not text:
        return {}
    try:
        facts = read_json(text)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else {"captions": facts}


def _first_texts(facts: dict[str, Any], keys: Iterable[str]) -> tuple[str, ...]:
    return next((texts for name in keys if (texts := texts_in(facts.get(name)))), ())


# The index of a tar


def _indexed(path: Path) -> _Index:
    samples: dict[str, NDArray[np.int64]] = {}
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while member := tar.next():
                _note(samples, member)
                tar.members = []  # type: ignore[attr-defined]  # else it keeps every header
            # tarfile takes a damaged header after the first for the end.
            file.seek(tar.offset)
            end = file.read(tarfile.BLOCKSIZE)
    except FileNotFoundError as error:
        raise InvalidInput(f"there is no {path}") from error
    except tarfile.TarError as error:
        raise InvalidInput(_why_unreadable(path, error)) from error
    except OSError as error:
        raise InvalidInput(f"can't read {path}: {error.strerror or error}") from error
    if len(end) < tarfile.BLOCKSIZE:
        raise InvalidInput(f"{path} is cut short: fetch or make it again, or leave it out")
    if any(end):
        raise InvalidInput(f"{path} is damaged at byte {tar.offset:,}: fetch or make it again")
    whole = {key: places for key, places in samples.items() if places[_IMAGE, 0]}
    places = np.stack(list(whole.values())) if whole else np.zeros((0, 4, 2), np.int64)
    return _Index(path, tuple(whole), places)


def _note(samples: dict[str, NDArray[np.int64]], member: tarfile.TarInfo) -> None:
    """Add a member to its sample; the key ends at the first dot of the name, as in webdataset."""
    folder, _, name = member.name.rpartition("/")
    stem, _, extension = name.partition(".")
    if not (member.isreg() and stem and extension):  # no stem: hidden, or a shadow from macOS
        return
    kind = _KINDS.get(extension.lower().rpartition(".")[2])
    if kind is None:
        if not is_image_name(name):
            return
        kind = _IMAGE
    key = f"{folder}/{stem}" if folder else stem
    if key not in samples:
        samples[key] = np.zeros((4, 2), np.int64)
    samples[key][kind] = member.offset_data, member.size


def _why_unreadable(path: Path, error: tarfile.TarError) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"\x1f\x8b" or start[:3] == b"BZh" or start == b"\xfd7zX":
        return f"{path} is compressed: unpack it to a plain .tar, which can be read at any place"
    if "unexpected end" in str(error) or "truncated" in str(error):
        return f"{path} is cut short: fetch or make it again, or leave it out"
    return f"{path} is no tar file, or damaged: {error}"


# Which shards


def shard_paths(folder: Path) -> list[Path]:
    """Return the shards of a folder in order; raises InvalidInput where there is none."""
    paths = sorted(folder.glob("*.tar"))
    if not paths:
        raise InvalidInput(f"no .tar shard in {folder}")
    return paths


def matching_shards(pattern: str) -> list[Path]:
    """Return the files of a pattern with `*`, `?`, `[a-z]`, `{000..012}` and `{a,b}`, in order.

    Raises InvalidInput where nothing fits, or where one that braces name is not there.
    """
    paths: list[str] = []
    for part in _without_braces(pattern):
        found = sorted(glob.glob(part)) if glob.has_magic(part) else [part]  # noqa: PTH207
        if not found:
            raise InvalidInput(f"no file fits {part}")
        paths += found
    return [expanded(path) for path in dict.fromkeys(paths)]


def _without_braces(pattern: str) -> list[str]:
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        return [pattern]
    before, inside, after = pattern[: found.start()], found.group(1), pattern[found.end() :]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if numbers:
        first, last = numbers.groups()
        choices = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    else:
        choices = inside.split(",")
    return [whole for choice in choices for whole in _without_braces(before + choice + after)]


# Whole shards at once


def read_shards(paths: Path | Iterable[Path]) -> Iterator[Sample]:
    """Yield the samples of several shards, or of one, one shard after the other."""
    for path in as_list(paths):
        yield from read_shard(path)


def read_shard(path: Path) -> Iterator[Sample]:
    """Yield the samples of one shard; raises BadSample for a photo without captions."""
    source = ShardSource([path])
    for number in range(len(source)):
        yield source[number]
