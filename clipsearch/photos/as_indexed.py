"""A photo's file as the library knows it: the very bytes that were indexed, or nothing.

Whoever is shown a photo sees what the library holds and nothing else. A file that was changed,
replaced, or turned into a link to something else since then is not given out.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict

from clipsearch.errors import UnreadableImage
from clipsearch.index.records import PhotoRecord
from clipsearch.photos.file_reading import opened_file, read_whole
from clipsearch.photos.opening import LARGEST_FILE, in_plain_words

CHANGED = "the file was changed since it was indexed: `clipsearch index` takes it in anew"

_BLOCK = 1 << 20
_MOST_REMEMBERED = 4096

_State = tuple[int, int, int, int, int]


def read_as_indexed(photo: PhotoRecord) -> bytes:
    """Return the content of a photo's file; raises UnreadableImage, the reason in one line."""
    with in_plain_words():
        data, status = read_whole(photo.file.path, LARGEST_FILE)
    if status.st_size != photo.file.size or hashlib.sha256(data).hexdigest() != photo.content_hash:
        raise UnreadableImage(CHANGED)
    return data


class IndexedFiles:
    """Opens photos' files after a look at all their bytes, which are not looked at twice.

    For many threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[_State, str] = OrderedDict()  # and the hash of each

    def open(self, photo: PhotoRecord) -> int:
        """Return a descriptor of a photo's file, to be closed by whoever asks.

        Raises UnreadableImage, the reason in one line, for one that is not as it was indexed.
        """
        with in_plain_words():
            descriptor, status = opened_file(photo.file.path)
            try:
                if status.st_size != photo.file.size:
                    raise UnreadableImage(CHANGED)
                if self._hash(descriptor, status) != photo.content_hash:
                    raise UnreadableImage(CHANGED)
            except BaseException:
                os.close(descriptor)
                raise
        return descriptor

    def _hash(self, descriptor: int, status: os.stat_result) -> str:
        state = (
            *(status.st_dev, status.st_ino, status.st_size),
            *(status.st_mtime_ns, status.st_ctime_ns),
        )
        with self._lock:
            if state in self._seen:
                self._seen.move_to_end(state)
                return self._seen[state]
        found = _hash_of(descriptor)
        with self._lock:
            self._seen[state] = found
            if len(self._seen) > _MOST_REMEMBERED:
                self._seen.popitem(last=False)
        return found


def _hash_of(descriptor: int) -> str:
    content = hashlib.sha256()
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        while block := file.read(_BLOCK):
            content.update(block)
    return content.hexdigest()
