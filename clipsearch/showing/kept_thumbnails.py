"""Small pictures kept beside a library, by the content of the photos they show.

They are worth nothing but time: whatever is wrong with one, or with the disk, it is made anew. How
many bytes they take is bounded, and those that were not looked at for longest go first.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from clipsearch.index.layout import Layout

DEFAULT_BYTES = 2_000_000_000  # of all that is kept for a library

_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME = re.compile(r"([0-9a-f]{64})-[0-9]{1,5}\.webp", re.ASCII)
_OWN = re.compile(rf"(?:{_NAME.pattern}|\.{_NAME.pattern}\.[0-9a-f]+)\Z", re.ASCII)
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
_KEPT_AT_LEAST = 0.9  # of the budget, once something had to go
_LOOKED_AT_BETWEEN = 0.05  # of the budget that may be written before the disk is looked at anew
_SEEN_EVERY = 3600  # seconds: how exactly it is known when a picture was last looked at
_LEFT_BEHIND_AFTER = 3600  # seconds, of a file that was begun
_ASKED_AT_ONCE = 500


class _File(NamedTuple):
    path: str
    bytes: int
    seen: float  # when it was last looked at, seconds since 1970


class KeptThumbnails:
    """The small pictures of a library's photos on its disk; for many threads and processes.

    Nothing here raises for a disk that refuses: then nothing is kept.
    """

    def __init__(self, library: Path, most_bytes: int = DEFAULT_BYTES) -> None:
        self._folder = Layout(library).thumbnails
        self._most = most_bytes
        self._lock = threading.Lock()
        self._unseen: int | None = None  # bytes written since the disk was looked at; None: never

    def get(self, content_hash: str, side: int) -> bytes | None:
        """Return the picture of a photo's content whose longer side has `side` pixels, if kept."""
        path = self._path(content_hash, side)
        if path is None:
            return None
        try:
            data = path.read_bytes()
            if not _is_whole(data):  # the power went while it was written
                path.unlink()
                return None
            if time.time() - path.stat().st_mtime > _SEEN_EVERY:
                os.utime(path)
        except OSError:
            return None
        return data

    def has(self, content_hash: str, side: int) -> bool:
        """Tell whether a picture is kept; it is not looked at."""
        path = self._path(content_hash, side)
        return path is not None and path.is_file()

    def put(self, content_hash: str, side: int, data: bytes) -> bool:
        """Keep a picture, at the cost of others if need be; return whether it is kept."""
        path = self._path(content_hash, side)
        if path is None or len(data) > self._most or not self._folder.parent.is_dir():
            return False
        aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            for folder in (self._folder, path.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(aside, _FLAGS, 0o600), "wb") as stream:
                stream.write(data)
            aside.replace(path)
        except OSError:  # a full or read-only disk
            with suppress(OSError):
                aside.unlink()
            return False
        self._written(len(data))
        return True

    def has_room(self) -> bool:
        """Tell whether more can be kept at nobody's cost; looks at the disk."""
        return sum(file.bytes for file in self._files()) < self._most * _KEPT_AT_LEAST

    def forget(self, content_hash: str) -> None:
        """Remove the pictures of a content."""
        if _HASH.fullmatch(content_hash):
            for path in (self._folder / content_hash[:2]).glob(f"{content_hash}-*.webp"):
                _remove(os.fspath(path))

    def forget_all_but(self, known: Callable[[Sequence[str]], set[str]]) -> None:
        """Remove the pictures of all content that is not in the library any more.

        `known` is given hashes, and returns those of them that are. It is asked after the photos
        have gone.
        """
        hashes: dict[str, list[str]] = {}
        for entry in self._own():
            if named := _NAME.fullmatch(entry.name):
                hashes.setdefault(named.group(1), []).append(entry.path)
            else:
                _remove_left_behind(entry)
        left = list(hashes)
        for start in range(0, len(left), _ASKED_AT_ONCE):
            some = left[start : start + _ASKED_AT_ONCE]
            for gone in set(some) - known(some):
                for path in hashes[gone]:
                    _remove(path)

    def _path(self, content_hash: str, side: int) -> Path | None:
        """Return where a picture lies; None for what is no hash, in a damaged catalog."""
        if not _HASH.fullmatch(content_hash):
            return None
        return self._folder / content_hash[:2] / f"{content_hash}-{side}.webp"

    def _written(self, size: int) -> None:
        """Look at the disk now and then, and see to it that no more is kept than may be."""
        with self._lock:
            if self._unseen is not None:
                self._unseen += size
                if self._unseen < self._most * _LOOKED_AT_BETWEEN:
                    return
            self._unseen = 0
            self._shrink()

    def _shrink(self) -> None:
        files = sorted(self._files(), key=lambda file: file.seen)
        total = sum(file.bytes for file in files)
        if total <= self._most:
            return
        for file in files:
            if total <= self._most * _KEPT_AT_LEAST:
                return
            _remove(file.path)
            total -= file.bytes

    def _files(self) -> Iterator[_File]:
        for entry in self._own():
            with suppress(OSError):
                state = entry.stat(follow_symlinks=False)
                yield _File(entry.path, state.st_size, state.st_mtime)

    def _own(self) -> Iterator[os.DirEntry[str]]:
        """Yield all pictures, and what was begun; no other file that lies there is touched."""
        for shard in _entries(self._folder):
            if len(shard.name) == 2:
                yield from (one for one in _entries(shard.path) if _OWN.match(one.name))


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _remove_left_behind(begun: os.DirEntry[str]) -> None:
    """Remove a file that was begun long ago: by a process that was killed."""
    with suppress(OSError):
        if time.time() - begun.stat(follow_symlinks=False).st_mtime > _LEFT_BEHIND_AFTER:
            _remove(begun.path)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108


def _is_whole(data: bytes) -> bool:
    return data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 == len(data)
