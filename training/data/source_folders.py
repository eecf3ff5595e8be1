"""Pictures in folders, and those of a clipsearch library, with what is said about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from clipsearch.errors import InvalidInput
from clipsearch.index.records import FileState
from clipsearch.photos.captions import PhotoCaptions, UnreadableCaptions, captions_of
from clipsearch.photos.scanning import find_photos
from clipsearch.settings import absolute, library_folder
from clipsearch.training.data.samples import BadSample, Sample, captions_about, make_sample
from clipsearch.training.data.source_tables import blocks, read_picture

# Folders named by cameras and programs, which say nothing of what is in them.
_NO_ALBUM = re.compile(
    r"dcim|\d{3}[a-z_\d]{5}|camera( ?roll| uploads?)?|uploads?|downloads?|pictures?|photos?|images?"
    r"|pics|media|originals?|masters|edited|exports?|raw|jpe?g|misc|new folder|untitled|unsorted"
    r"|imports?|inbox|backups?|archive|data|home|tmp|temp|train|val|test",
    re.IGNORECASE,
)


class FolderSource:
    """The pictures at any depth of a folder, by path, with captions beside them or in them."""

    notes: Sequence[str] = ()

    def __init__(self, folder: Path) -> None:
        """Find the pictures; raises InvalidInput where there is none."""
        self._folder = absolute(folder)
        found = (item.path for item in find_photos(self._folder) if isinstance(item, FileState))
        self._names = [path.relative_to(self._folder).as_posix() for path in found]
        if not self._names:
            raise InvalidInput(f"no .tar shard and no picture in {folder}")

    def __len__(self) -> int:
        return len(self._names)

    def neighbourhoods(self) -> Sequence[range]:
        """Return blocks of pictures."""
        return blocks(len(self))

    def key(self, number: int) -> str:
        """Return the picture's path in the folder."""
        return self._names[number]

    def __getitem__(self, number: int) -> Sample:
        key = self._names[number]
        path = self._folder / key
        image = read_picture(key, path)
        found = _captions(key, path, image)
        return _sample(key, image, found.captions, found.names)


class LibrarySource:
    """The photos of a clipsearch library, by path: its people, pets and places.

    A photo's captions are those that it or a file beside it has. Where it has none, they are made
    of its people, keywords and albums: the folders that it lies in, below and with those that the
    library was told to index.
    """

    notes: Sequence[str] = ()

    def __init__(self, library: str) -> None:
        """List the photos of the library in that folder; of the user's own for an empty name."""
        from clipsearch.index.store import Store

        folder = library_folder(library or None)
        store = Store.open(folder, read_only=True)
        try:
            self._paths = sorted(store.catalog.known_files(None))
            self._roots = [folder.path for folder in store.catalog.folders()]
        finally:
            store.close()
        if not self._paths:
            raise InvalidInput(f"the library {folder} holds no photos")

    def __len__(self) -> int:
        return len(self._paths)

    def neighbourhoods(self) -> Sequence[range]:
        """Return blocks of photos."""
        return blocks(len(self))

    def key(self, number: int) -> str:
        """Return the photo's path."""
        return str(self._paths[number])

    def __getitem__(self, number: int) -> Sample:
        path = self._paths[number]
        key = str(path)
        image = read_picture(key, path)
        found = _captions(key, path, image)
        return _sample(key, image, found.captions, found.names + albums(path, self._roots))


def _captions(key: str, path: Path, image: bytes) -> PhotoCaptions:
    try:
        return captions_of(path, image)
    except UnreadableCaptions as error:
        raise BadSample(key, str(error)) from error


def _sample(key: str, image: bytes, captions: tuple[str, ...], names: tuple[str, ...]) -> Sample:
    """Return the sample, with captions made of the names where there are no others.

    The names are its label then: photos with the same names are not each other's negatives.
    """
    if captions or not names:
        return make_sample(key, image, captions, None)
    return make_sample(key, image, captions_about(names), ", ".join(names))


def albums(path: PurePath, roots: Sequence[PurePath]) -> tuple[str, ...]:
    """Return the names of the folders that a photo lies in, from the innermost, that say something.

    Dates and the folders that cameras and programs make say nothing.
    """
    root = max((r for r in roots if r in path.parents), key=lambda r: len(r.parts), default=None)
    if root is None:
        return ()
    inner = path.relative_to(root).parts[:-1]
    names = (_album_name(part) for part in reversed((root.name, *inner)))
    return tuple(dict.fromkeys(name for name in names if name))


def _album_name(folder: str) -> str:
    """Return the folder's name in words, without a date before or after it; empty if none is left.

    `2019-07-21_Rome trip` becomes `Rome trip`.
    """
    words = " ".join(re.split(r"[\s_]+", folder)).strip()
    date = r"\d{2,4}([-. ]?\d{1,2}){0,2}"
    words = re.sub(rf"^{date}\b[-. ]*|[-. ]*\b{date}$", "", words).strip()
    if _NO_ALBUM.fullmatch(words) or sum(c.isalpha() for c in words) < 2:
        return ""
    return words
