"""Which XMP files lie beside which photos: `a.xmp` and `a.jpg.xmp` beside `a.jpg`, in any case.

A folder's listing tells; a file that is looked at alone is asked for by its names.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from clipsearch.index.changes import SeenFile, SeenSidecar
from clipsearch.index.paths import escape
from clipsearch.photos.formats import is_image_name

_SUFFIX = ".xmp"


def is_sidecar_name(name: str) -> bool:
    """Tell whether a file of this name would say something of a photo beside it."""
    return name[-len(_SUFFIX) :].lower() == _SUFFIX and len(name) > len(_SUFFIX)


def matched(
    photos: Iterable[SeenFile], sidecars: Sequence[os.DirEntry[str]]
) -> Iterator[SeenSidecar]:
    """Yield the sidecars in a folder, each for every photo there that it speaks of."""
    by_name: dict[str, list[SeenFile]] = defaultdict(list)
    for photo in photos:
        name = os.path.basename(photo.path).lower()  # noqa: PTH119 - a Path takes longer
        by_name[name].append(photo)
        by_name[_stem(name)].append(photo)
    for entry in sidecars:
        for photo in by_name.get(entry.name[: -len(_SUFFIX)].lower(), ()):
            try:
                state = entry.stat()
            except OSError:  # gone again, or a broken link
                break
            if stat.S_ISREG(state.st_mode):
                path = escape(entry.path)
                yield SeenSidecar(photo.path, path, state.st_size, state.st_mtime_ns)


def beside(photo: str) -> Iterator[SeenSidecar]:
    """Yield the sidecars of one photo, of which its folder has not been listed."""
    for base in dict.fromkeys((os.path.splitext(photo)[0], photo)):  # noqa: PTH122
        for suffix in (_SUFFIX, _SUFFIX.upper()):
            try:
                state = os.stat(base + suffix)  # noqa: PTH116
            except (OSError, ValueError):
                continue
            if stat.S_ISREG(state.st_mode):
                path = escape(base + suffix)
                yield SeenSidecar(escape(photo), path, state.st_size, state.st_mtime_ns)


def photos_in_place_of_sidecars(paths: Iterable[Path]) -> list[Path]:
    """Return the paths, in place of sidecars, there or not, the photos that they speak of."""
    found: dict[Path, None] = {}
    names: dict[Path, list[str]] = {}
    for path in paths:
        if not is_sidecar_name(path.name) or path.is_dir():
            found[path] = None
            continue
        if path.parent not in names:
            names[path.parent] = _listed(path.parent)
        base = path.name[: -len(_SUFFIX)].lower()
        for name in names[path.parent]:
            if base in (name.lower(), _stem(name.lower())):
                found[path.with_name(name)] = None
    return list(found)


def _listed(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if is_image_name(name)]  # noqa: PTH208
    except OSError:
        return []


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122
